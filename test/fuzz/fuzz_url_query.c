/*
 * fuzz_url_query.c: a parameter is found and decoded as a plainer reader does it; any bytes come back when
 * they were escaped.
 */
#include <ctype.h>

#include "fuzz.h"
#include "base/url_query.h"

/* Byte by byte, into a buffer that is large enough. */
static bool oracle(struct slice query, struct slice name, char *out, size_t *len)
{
	for (size_t start = 0; start <= query.len;)
	{
		size_t end = start;
		size_t key = start;

		while (end < query.len && query.bytes[end] != '&')
			end++;
		while (key < end && query.bytes[key] != '=')
			key++;
		if (end > start && fuzz_equal((struct slice){query.bytes + start, key - start}, name))
		{
			*len = 0;
			for (size_t i = key + 1; i < end; i++)
			{
				char digits[3] = {0};

				if (query.bytes[i] == '%' && end - i > 2)
					memcpy(digits, query.bytes + i + 1, 2);
				if (isxdigit((unsigned char)digits[0]) && isxdigit((unsigned char)digits[1]))
				{
					out[(*len)++] = (char)strtol(digits, NULL, 16);
					i += 2;
				}
				else
					out[(*len)++] = (char)(query.bytes[i] == '+' ? ' ' : query.bytes[i]);
			}
			return true;
		}
		start = end + 1;
	}
	return false;
}

static void check(struct slice query, const char *name)
{
	char *expected = malloc(query.len + 1);
	struct buf found = {0};
	size_t len = 0;
	bool any = url_query_find(query, name, &found);

	require(any == oracle(query, slice_of(name), expected, &len));
	require(fuzz_equal((struct slice){found.data, found.len}, (struct slice){expected, any ? len : 0}));
	buf_free(&found);
	free(expected);
}

static void check_escaped(struct slice value)
{
	struct buf query = {0};
	struct buf found = {0};

	buf_add_str(&query, "token&x=1&v=");
	for (size_t i = 0; i < value.len; i++)
		buf_printf(&query, i % 2 == 0 ? "%%%02x" : "%%%02X", (unsigned)(unsigned char)value.bytes[i]);
	buf_add_str(&query, "&v=2");
	require(url_query_find((struct slice){query.data, query.len}, "v", &found));
	require(fuzz_equal((struct slice){found.data, found.len}, value));
	buf_free(&query);
	buf_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"token", "stream", "all", "a"};
	struct slice query = fuzz_slice(data, size);
	char name[16] = "";
	size_t len = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check(query, names[i]);
	/* And what the query itself begins with. */
	while (len < size && len < sizeof(name) - 1 && strchr("&=", (char)data[len]) == NULL)
	{
		name[len] = (char)data[len];
		len++;
	}
	if (name[0] != '\0')
		check(query, name);
	check_escaped(query);
	return 0;
}
