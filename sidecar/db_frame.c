/*
 * db_frame: which streams a request of the batch format appends to (extension/README.md, "The batch format").
 *
 * Asked only while some request waits for a locked stream.  What the front wrote is sound, but nothing
 * here reads past the end if it isn't.
 */
#include "db_internal.h"

#include <arpa/inet.h>
#include <string.h>

#define NO_STRING UINT32_MAX
#define ID_LEN 16
#define VERSION_LEN 8

struct cursor
{
	const char *at, *end;
	uint32_t parts; /* not yet read */
};

struct name
{
	const char *bytes;
	uint32_t len;
};

static bool skip(struct cursor *cursor, size_t len)
{
	if (len > (size_t)(cursor->end - cursor->at))
		return false;
	cursor->at += len;
	return true;
}

static bool read_u32(struct cursor *cursor, uint32_t *value)
{
	const char *at = cursor->at;

	if (!skip(cursor, sizeof(*value)))
		return false;
	memcpy(value, at, sizeof(*value));
	*value = ntohl(*value);
	return true;
}

static bool read_name(struct cursor *cursor, struct name *name)
{
	if (!read_u32(cursor, &name->len))
		return false;
	name->bytes = cursor->at;
	return name->len == NO_STRING || skip(cursor, (size_t)name->len + 1);
}

static bool open_request(struct cursor *cursor, struct frame_request request, struct name *space)
{
	*cursor = (struct cursor){.at = request.bytes, .end = request.bytes + request.len};
	return read_name(cursor, space) && read_u32(cursor, &cursor->parts);
}

/* Reads the stream of the next part and steps over its messages; false: there is none. */
static bool next_stream(struct cursor *cursor, struct name *stream)
{
	struct name ignored;
	uint32_t messages;

	if (cursor->parts == 0 || !read_name(cursor, stream) || !skip(cursor, VERSION_LEN) ||
		!read_u32(cursor, &messages))
		return false;
	cursor->parts--;
	for (; messages > 0; messages--)
	{
		if (!skip(cursor, ID_LEN) || !read_name(cursor, &ignored) || !read_name(cursor, &ignored) ||
			!read_name(cursor, &ignored))
			return false;
	}
	return true;
}

static bool same_name(struct name a, struct name b)
{
	return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

bool frame_share_stream(struct frame_request a, struct frame_request b)
{
	struct cursor of_a, of_b;
	struct name space_a, space_b, stream_a, stream_b;

	if (!open_request(&of_a, a, &space_a) || !open_request(&of_b, b, &space_b) ||
		!same_name(space_a, space_b))
		return false;
	while (next_stream(&of_a, &stream_a))
	{
		open_request(&of_b, b, &space_b);
		while (next_stream(&of_b, &stream_b))
		{
			if (same_name(stream_a, stream_b))
				return true;
		}
	}
	return false;
}
