/*
 * json_write.c: strings become JSON (see json.h).
 */
#include "base/json_internal.h"

static void add_special(struct buf *out, char c)
{
	static const char letters[] = "btnfr";
	static const char meanings[] = "\b\t\n\f\r";
	const char *meaning = memchr(meanings, c, sizeof(meanings) - 1);
	char escape[2] = {'\\', c};

	if (c == '"' || c == '\\')
		buf_add(out, escape, 2);
	else if (meaning != NULL)
	{
		escape[1] = letters[meaning - meanings];
		buf_add(out, escape, 2);
	}
	else
		buf_printf(out, "\\u%04x", (unsigned)(unsigned char)c);
}

void json_add_string(struct buf *out, const char *bytes, size_t len)
{
	const char *p = bytes;
	const char *end = bytes + len;

	buf_add(out, "\"", 1);
	while (p < end)
	{
		const char *plain = p;

		p = json_skip_plain(p, end);
		buf_add(out, plain, (size_t)(p - plain));
		if (p == end)
			break;
		if ((unsigned char)*p < 0x80)
			add_special(out, *p++);
		else
		{
			size_t n = json_utf8_len((const unsigned char *)p, (const unsigned char *)end);

			if (n == 0)
				buf_add(out, "\xEF\xBF\xBD", 3);
			else
				buf_add(out, p, n);
			p += n == 0 ? 1 : n;
		}
	}
	buf_add(out, "\"", 1);
}
