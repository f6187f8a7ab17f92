/*
 * url_query.c: finds and decodes a parameter (see url_query.h).  What is no escape stands for itself.
 */
#include "base/url_query.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void decode(struct slice value, struct buf *out)
{
	for (size_t i = 0; i < value.len; i++)
	{
		char c = value.bytes[i];

		if (c == '+')
			c = ' ';
		else if (c == '%' && value.len - i > 2 && hex_digit(value.bytes[i + 1]) >= 0 &&
				 hex_digit(value.bytes[i + 2]) >= 0)
		{
			c = (char)(hex_digit(value.bytes[i + 1]) << 4 | hex_digit(value.bytes[i + 2]));
			i += 2;
		}
		buf_add(out, &c, 1);
	}
}

bool url_query_next(struct slice *query, struct slice *name)
{
	const char *stop, *equals;
	size_t len;

	if (query->len == 0)
		return false;
	stop = memchr(query->bytes, '&', query->len);
	len = stop != NULL ? (size_t)(stop - query->bytes) : query->len;
	equals = memchr(query->bytes, '=', len);
	*name = (struct slice){query->bytes, equals != NULL ? (size_t)(equals - query->bytes) : len};
	if (stop != NULL)
		len++;
	query->bytes += len;
	query->len -= len;
	return true;
}

bool url_query_find(struct slice query, const char *name, struct buf *out)
{
	const char *p = query.bytes;
	const char *end = query.bytes + query.len;
	size_t len = strlen(name);

	while (p < end)
	{
		const char *stop = memchr(p, '&', (size_t)(end - p));
		const char *equals;
		struct slice key;

		if (stop == NULL)
			stop = end;
		equals = memchr(p, '=', (size_t)(stop - p));
		key = (struct slice){p, (size_t)((equals != NULL ? equals : stop) - p)};
		if (key.len == len && memcmp(key.bytes, name, len) == 0)
		{
			if (equals != NULL)
				decode((struct slice){equals + 1, (size_t)(stop - equals - 1)}, out);
			return true;
		}
		p = stop < end ? stop + 1 : end;
	}
	return false;
}
