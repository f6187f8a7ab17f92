/*
 * cors.c: a browser takes one origin or "*", so of several that are allowed a reply names the page's own (see
 * cors.h).
 */
#include "front/cors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATORS ", \t"
#define MAX_ORIGIN 400

struct cors
{
	unsigned n;
	char **origins;
	char **headers; /* of replies to each */
};

/* Makes room for so many origins; false: out of memory. */
static bool reserve(struct cors *cors, size_t n)
{
	cors->origins = calloc(n, sizeof(*cors->origins));
	cors->headers = calloc(n, sizeof(*cors->headers));
	return cors->origins != NULL && cors->headers != NULL;
}

static bool add(struct cors *cors, const char *origin, size_t len)
{
	int length = len < MAX_ORIGIN ? (int)len : MAX_ORIGIN;
	const char *vary = len == 1 && origin[0] == '*' ? "" : "Vary: Origin\r\n";
	unsigned at = cors->n++;

	cors->origins[at] = strndup(origin, len);
	if (asprintf(&cors->headers[at], "Access-Control-Allow-Origin: %.*s\r\n%s" CORS_EXPOSE, length, origin,
				 vary) < 0)
		cors->headers[at] = NULL;
	return cors->origins[at] != NULL && cors->headers[at] != NULL;
}

struct cors *cors_new(const char *origins)
{
	struct cors *cors = calloc(1, sizeof(*cors));
	const char *at = origins;

	if (cors != NULL && !reserve(cors, strlen(origins) + 1)) /* there are not more than bytes */
	{
		cors_free(cors);
		return NULL;
	}
	while (cors != NULL && *(at += strspn(at, SEPARATORS)) != '\0')
	{
		size_t len = strcspn(at, SEPARATORS);
		size_t origin = len;

		/* An address that was copied may end with one; an origin never does. */
		while (origin > 1 && at[origin - 1] == '/')
			origin--;
		if (!add(cors, at, origin))
		{
			cors_free(cors);
			return NULL;
		}
		at += len;
	}
	return cors;
}

void cors_free(struct cors *cors)
{
	if (cors == NULL)
		return;
	for (unsigned i = 0; i < cors->n; i++)
	{
		free(cors->origins[i]);
		free(cors->headers[i]);
	}
	free(cors->origins);
	free(cors->headers);
	free(cors);
}

static int find(const struct cors *cors, struct slice origin)
{
	for (unsigned i = 0; i < cors->n; i++)
	{
		if (slice_is(origin, cors->origins[i]))
			return (int)i;
	}
	return -1;
}

const char *cors_headers(const struct cors *cors, struct slice origin)
{
	int found;

	if (cors == NULL || cors->n == 0)
		return NULL;
	if (cors->n == 1)
		return cors->headers[0];
	found = origin.bytes == NULL ? -1 : find(cors, origin);
	if (found < 0)
		found = find(cors, slice_of("*"));
	return found >= 0 ? cors->headers[found] : "Vary: Origin\r\n";
}

bool cors_allows(const struct cors *cors, struct slice origin)
{
	return cors != NULL && (find(cors, origin) >= 0 || find(cors, slice_of("*")) >= 0);
}
