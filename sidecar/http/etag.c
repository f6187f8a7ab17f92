/*
 * etag.c: entity tags (see etag.h).
 */
#include "http/etag.h"

#include <inttypes.h>
#include <stdio.h>

#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

void http_etag_make(struct slice bytes, char etag[HTTP_ETAG_LEN + 1])
{
	uint64_t hash = FNV_BASIS;

	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ (unsigned char)bytes.bytes[i]) * FNV_PRIME;
	snprintf(etag, HTTP_ETAG_LEN + 1, "W/\"%016" PRIx64 "\"", hash);
}

/* Weak or not is no matter (RFC 9110, 8.8.3.2). */
static struct slice opaque_part(struct slice tag)
{
	if (tag.len > 2 && memcmp(tag.bytes, "W/", 2) == 0)
		return (struct slice){tag.bytes + 2, tag.len - 2};
	return tag;
}

/* The length of the tag that stands in front; 0: none does.  It may have commas of its own. */
static size_t tag_length(struct slice text)
{
	struct slice quoted = opaque_part(text);
	const char *end = quoted.len > 1 ? memchr(quoted.bytes + 1, '"', quoted.len - 1) : NULL;

	if (end == NULL || quoted.bytes[0] != '"')
		return 0;
	return (size_t)(end + 1 - text.bytes);
}

bool http_etag_matches(struct slice if_none_match, const char *etag)
{
	struct slice wanted = opaque_part(slice_of(etag));
	struct slice left = if_none_match;
	size_t len;

	if (left.len == 1 && left.bytes[0] == '*')
		return true;
	while (left.len > 0)
	{
		if (memchr(" \t,", left.bytes[0], 3) != NULL)
			len = 1;
		else if ((len = tag_length(left)) == 0)
			return false;
		else
		{
			struct slice opaque = opaque_part((struct slice){left.bytes, len});

			if (opaque.len == wanted.len && memcmp(opaque.bytes, wanted.bytes, wanted.len) == 0)
				return true;
		}
		left = (struct slice){left.bytes + len, left.len - len};
	}
	return false;
}
