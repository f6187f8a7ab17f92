/*
 * url_query.c: finds and decodes a parameter (see url_query.h).  What is no escape stands for itself.
 */
#include "base/url_query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "extension/hex.h"
#include "extension/protocol.h"
#include "base/json.h"
#include "base/spelling.h"

#define MAX_JSON 16384 /* the same is in README.md, "Limits" */
#define MAX_INTEGER 30 /* bytes */

char url_query_take(struct slice *text, bool plus)
{
	const char *bytes = text->bytes;
	size_t used = 1;
	char c = bytes[0];

	if (c == '+' && plus)
		c = ' ';
	else if (c == '%' && text->len > 2 && hex_value(bytes[1]) >= 0 && hex_value(bytes[2]) >= 0)
	{
		c = (char)(hex_value(bytes[1]) << 4 | hex_value(bytes[2]));
		used = 3;
	}
	text->bytes += used;
	text->len -= used;
	return c;
}

static void decode(struct slice value, struct buf *out)
{
	while (value.len > 0)
	{
		char c = url_query_take(&value, true);

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

bool url_query_check_names(struct slice query, const char *const known[], char problem[200])
{
	struct slice name;

	while (url_query_next(&query, &name))
	{
		const char *near = spelling_nearest(name, known);

		if (near == NULL)
			continue;
		snprintf(problem, 200, "%.*s is not known; did you mean %s?", (int)(name.len < 80 ? name.len : 80),
				 name.bytes, near);
		return false;
	}
	return true;
}

bool url_query_integer(struct slice value, int64_t *number)
{
	char text[MAX_INTEGER + 1] = "";
	char *end;

	if (value.len == 0 || value.len > MAX_INTEGER)
		return false;
	memcpy(text, value.bytes, value.len);
	if (text[0] != '-' && (text[0] < '0' || text[0] > '9'))
		return false;
	errno = 0;
	*number = strtoll(text, &end, 10);
	return errno == 0 && end == text + value.len && end[-1] != '-';
}

const char *url_query_check_json(struct slice value)
{
	struct json_verdict verdict;

	if (value.len > MAX_JSON)
		return "at most " LIMIT_TEXT(MAX_JSON) " bytes of JSON";
	if (!json_check(value, &verdict))
		return "JSON";
	return verdict.unsupported != NULL ? "JSON that jsonb can hold" : NULL;
}
