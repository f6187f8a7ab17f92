/*
 * db_frame: reading frames (extension/protocol.h): which streams a request appends to, and the verdicts.
 *
 * The first is asked only while some request waits for a locked stream.  What the front and Postgres wrote is
 * sound, but nothing here reads past the end if it isn't.
 */
#include "db/frame.h"

#include <arpa/inet.h>
#include <string.h>

struct cursor
{
	const char *at, *end;
	uint32_t parts; /* of a request, not yet read */
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
	return name->len == FRAME_NULL || skip(cursor, (size_t)name->len + 1);
}

static bool read_i64(struct cursor *cursor, int64_t *value)
{
	uint32_t high, low;

	if (!read_u32(cursor, &high) || !read_u32(cursor, &low))
		return false;
	*value = (int64_t)((uint64_t)high << 32 | low);
	return true;
}

/* ---- requests ------------------------------------------------------------- */

static bool open_request(struct cursor *cursor, struct frame_request request, struct name *space)
{
	*cursor = (struct cursor){.at = request.bytes, .end = request.bytes + request.len};
	struct name conditions;

	if (!read_name(cursor, space) || !read_u32(cursor, &cursor->parts))
		return false;
	if ((cursor->parts & FRAME_CONDITIONS) == 0)
		return true;
	cursor->parts &= ~FRAME_CONDITIONS;
	return read_name(cursor, &conditions);
}

/* Reads the stream of the next part and steps over its messages; false: there is none. */
static bool next_stream(struct cursor *cursor, struct name *stream)
{
	struct name ignored;
	uint32_t messages;

	if (cursor->parts == 0 || !read_name(cursor, stream) || !skip(cursor, sizeof(int64_t)) ||
		!read_u32(cursor, &messages))
		return false;
	cursor->parts--;
	for (; messages > 0; messages--)
	{
		if (!skip(cursor, FRAME_ID_LEN) || !read_name(cursor, &ignored) || !read_name(cursor, &ignored) ||
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

/* ---- verdicts ------------------------------------------------------------- */

static bool read_text(struct cursor *cursor, const char **text)
{
	struct name name;

	if (!read_name(cursor, &name) || name.len == FRAME_NULL || name.bytes[name.len] != '\0')
		return false;
	*text = name.bytes;
	return true;
}

static bool read_refusal(struct cursor *cursor, struct frame_verdict *verdict)
{
	const char *sqlstate = cursor->at;

	if (!skip(cursor, SQLSTATE_LEN) || !read_u32(cursor, &verdict->failed_part) ||
		!read_i64(cursor, &verdict->expected) || !read_i64(cursor, &verdict->actual) ||
		!read_text(cursor, &verdict->message))
		return false;
	memcpy(verdict->sqlstate, sqlstate, SQLSTATE_LEN);
	verdict->sqlstate[SQLSTATE_LEN] = '\0';
	return strcmp(verdict->sqlstate, SQLSTATE_APPEND_CONDITION_FAILED) != 0 ||
		   (read_text(cursor, &verdict->stream) && read_text(cursor, &verdict->type));
}

bool frame_next_verdict(struct frame_verdicts *verdicts, struct frame_verdict *verdict)
{
	struct cursor cursor = {.at = verdicts->at, .end = verdicts->end};

	if (!read_u32(&cursor, &verdict->nparts))
		return false;
	verdict->parts = cursor.at;
	if (verdict->nparts == 0 ? !read_refusal(&cursor, verdict)
							 : !skip(&cursor, (size_t)verdict->nparts * FRAME_POSITIONS_LEN))
		return false;
	verdicts->at = cursor.at;
	return true;
}

bool frame_open_verdicts(struct frame_verdicts *verdicts, const char *bytes, size_t len, unsigned count)
{
	struct cursor cursor = {.at = bytes, .end = bytes + len};
	struct frame_verdict verdict;
	struct frame_verdicts rest;
	uint32_t number;

	if (!skip(&cursor, 1) || bytes[0] != VERDICTS_VERSION || !read_u32(&cursor, &number) || number != count)
		return false;
	rest = *verdicts = (struct frame_verdicts){.at = cursor.at, .end = cursor.end};
	for (unsigned i = 0; i < count; i++)
	{
		if (!frame_next_verdict(&rest, &verdict))
			return false;
		verdicts->nrefused += verdict.nparts == 0;
	}
	return rest.at == rest.end;
}

void frame_read_part(const struct frame_verdict *verdict, unsigned part, struct db_part *out)
{
	struct cursor cursor = {.at = verdict->parts + (size_t)part * FRAME_POSITIONS_LEN,
							.end = verdict->parts + (size_t)verdict->nparts * FRAME_POSITIONS_LEN};

	*out = (struct db_part){0};
	(void)(read_i64(&cursor, &out->position) && read_i64(&cursor, &out->last_position) &&
		   read_i64(&cursor, &out->global_position) && read_i64(&cursor, &out->last_global_position));
}
