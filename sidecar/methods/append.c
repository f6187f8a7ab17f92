/*
 * append.c: stream.write, stream.append and streams.append.
 *
 * The arguments are checked and written into the batch that is gathering in one pass: a request that turns
 * out to be wrong half way is abandoned, and the batch is as before.  data and metadata are copied there byte
 * for byte.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "methods/append_internal.h"
#include "base/stats.h"

/* What the stream of a request that names none is called; behind it is the id of its first message. */
#define UNNAMED_STREAM "tagged-"

/* ---- replies --------------------------------------------------------------- */

static void add_part(struct buf *out, const struct db_part *part)
{
	buf_printf(out,
			   "{\"position\":%" PRId64 ",\"lastPosition\":%" PRId64 ",\"globalPosition\":%" PRId64
			   ",\"lastGlobalPosition\":%" PRId64 "}",
			   part->position, part->last_position, part->global_position, part->last_global_position);
}

static void count_messages(const struct method_call *call, const struct db_append_reply *reply)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < reply->nparts; i++)
		count += (uint64_t)(reply->parts[i].last_position - reply->parts[i].position + 1);
	stats_add(&call->methods->stats->messages_appended, count);
}

/* Counts what was appended; or answers the error, and returns false. */
static bool check_reply(struct method_call *call, const struct db_append_reply *reply)
{
	if (reply->status == DB_OK && reply->nparts > 0)
	{
		count_messages(call, reply);
		return true;
	}
	method_fail_status(call, reply->status, &reply->error);
	if (call->error.code == ERROR_STREAM_VERSION_CONFLICT)
		error_set_versions(&call->error, reply->expected, reply->actual);
	else if (call->error.code == ERROR_APPEND_CONDITION_FAILED && reply->stream != NULL)
		error_set_match(&call->error, reply->expected, reply->actual, reply->stream, reply->type);
	method_answer_error(call);
	return false;
}

static char *put(char *out, const char *text)
{
	size_t len = strlen(text);

	memcpy(out, text, len);
	return out + len;
}

static void on_written(void *arg, const struct db_append_reply *reply)
{
	struct method_call *call = arg;
	char text[100];
	char *next;

	if (!check_reply(call, reply))
		return;
	next = decimal_write(put(text, "{\"position\":"), reply->parts[0].position);
	next = decimal_write(put(next, ",\"globalPosition\":"), reply->parts[0].global_position);
	next = put(next, "}");
	method_answer_text(call, text, (size_t)(next - text));
}

static void answer_built(struct method_call *call, const struct buf *text)
{
	if (text->failed)
	{
		method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
		method_answer_error(call);
	}
	else
		method_answer_text(call, text->data, text->len);
}

static void on_appended(void *arg, const struct db_append_reply *reply)
{
	struct method_call *call = arg;
	struct buf text = {0};

	if (!check_reply(call, reply))
		return;
	add_part(&text, &reply->parts[0]);
	answer_built(call, &text);
	buf_free(&text);
}

static void on_streams_appended(void *arg, const struct db_append_reply *reply)
{
	struct method_call *call = arg;
	struct buf text = {0};

	if (!check_reply(call, reply))
		return;
	buf_add_str(&text, "[");
	for (unsigned i = 0; i < reply->nparts; i++)
	{
		if (i > 0)
			buf_add_str(&text, ",");
		add_part(&text, &reply->parts[i]);
	}
	buf_add_str(&text, "]");
	answer_built(call, &text);
	buf_free(&text);
}

/* ---- writing the frame -------------------------------------------------------- */

static unsigned count_elements(struct slice array)
{
	struct json_iterator iterator;
	struct slice element;
	unsigned count = 0;

	json_iterate(&iterator, array);
	while (json_next_element(&iterator, &element))
		count++;
	return count;
}

/* Checks as much of a condition as must be known here; the rest Postgres does. */
static bool check_condition(struct method_call *call, const char *field, struct slice condition,
							unsigned *count)
{
	enum json_kind kind = json_kind(condition);

	*count = kind == JSON_ARRAY ? count_elements(condition) : kind == JSON_OBJECT;
	if (condition.bytes == NULL || (*count > 0 && *count <= MAX_CONDITIONS))
		return true;
	return args_reject(call, field, condition,
					   "an object, or an array of 1 to " LIMIT_TEXT(MAX_CONDITIONS) " of them");
}

/*
 * Begins a request, with the condition in `field`, which may be absent; its number of parts is put in at the
 * end.
 */
static bool begin(struct writer *writer, struct method_call *call, const char *field, struct slice condition)
{
	enum db_status why = DB_OVERLOADED;
	unsigned nconditions;

	if (!check_condition(call, field, condition, &nconditions))
		return false;
	*writer =
		(struct writer){.call = call, .frame = db_append_begin(call->db, &why), .nconditions = nconditions};
	if (writer->frame == NULL)
		return method_fail_status(call, why, NULL);
	buf_add_frame_string(writer->frame, call->namespace_name, strlen(call->namespace_name));
	writer->count_at = writer->frame->len;
	buf_add_u32(writer->frame, 0);
	if (nconditions > 0)
		buf_add_frame_string(writer->frame, condition.bytes, condition.len);
	return true;
}

/* Hands the request over when `ok`, else abandons it. */
static bool end(struct writer *writer, bool ok, db_append_done done)
{
	struct method_call *call = writer->call;
	struct db_append append;

	if (!ok)
	{
		db_append_abandon(call->db);
		return false;
	}
	write_u32_at(writer->frame, writer->count_at,
				 writer->nparts | (writer->nconditions > 0 ? FRAME_CONDITIONS : 0));
	append = (struct db_append){.nparts = writer->nparts,
								.nmessages = writer->nmessages,
								.nconditions = writer->nconditions,
								.new_ids = !writer->given_ids && !call->again,
								.namespace_name = call->namespace_name,
								.done = done,
								.arg = call};
	if (!db_append_end(call->db, &append))
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	return true;
}

/* ---- the methods ------------------------------------------------------------ */

/* Room for the name of a stream that has none yet. */
static void reserve_name(struct writer *writer)
{
	static const char unnamed[sizeof(UNNAMED_STREAM) - 1 + UUID_TEXT_LEN] = UNNAMED_STREAM;

	buf_add_frame_string(writer->frame, unnamed, sizeof(unnamed));
}

/* Writes it, by the message's id, which stands behind it, the expected version and the number of messages. */
static void patch_name(struct writer *writer, size_t at)
{
	char *name = writer->frame->data + at + sizeof(uint32_t) + strlen(UNNAMED_STREAM);
	struct uuid id;

	memcpy(id.bytes, name + UUID_TEXT_LEN + 1 + sizeof(int64_t) + sizeof(uint32_t), sizeof(id.bytes));
	uuid_format(&id, name);
}

static bool write_single(struct writer *writer, int64_t expected, struct slice id)
{
	struct method_call *call = writer->call;
	bool unnamed = call->args[0].bytes == NULL || json_kind(call->args[0]) == JSON_NULL;
	size_t at = writer->frame->len;

	if (unnamed)
		reserve_name(writer);
	else if (!write_name(writer, "stream", call->args[0]))
		return false;
	buf_add_i64(writer->frame, expected);
	buf_add_u32(writer->frame, 1);
	writer->nparts = 1;
	if (!write_message(writer, call->args[1], "options.id", id))
		return false;
	if (unnamed && !writer->tagged)
		return args_reject(call, "stream", call->args[0], "a string where the message has no tags");
	if (unnamed && !writer->frame->failed)
		patch_name(writer, at);
	return true;
}

bool method_stream_write(struct method_call *call)
{
	struct member options[] = {{.name = "expectedVersion"}, {.name = "id"}, {.name = "condition"}};
	int64_t expected = EXPECT_ANY;
	struct writer writer;

	if (!args_options(call, call->args[2], options, 3) ||
		!args_integer(call, "options.expectedVersion", options[0].value, -1, INT64_MAX, &expected) ||
		!begin(&writer, call, "options.condition", options[2].value))
		return false;
	return end(&writer, write_single(&writer, expected, options[1].value), on_written);
}

static bool write_part(struct writer *writer, struct slice stream, struct slice messages, int64_t expected)
{
	if (!write_name(writer, "stream", stream))
		return false;
	buf_add_i64(writer->frame, expected);
	writer->nparts++;
	return write_messages(writer, messages);
}

bool method_stream_append(struct method_call *call)
{
	struct member options[] = {{.name = "expectedVersion"}, {.name = "condition"}};
	int64_t expected = EXPECT_ANY;
	struct writer writer;

	if (!args_options(call, call->args[2], options, 2) ||
		!args_integer(call, "options.expectedVersion", options[0].value, -1, INT64_MAX, &expected) ||
		!begin(&writer, call, "options.condition", options[1].value))
		return false;
	return end(&writer, write_part(&writer, call->args[0], call->args[1], expected), on_appended);
}

static bool write_stream(struct writer *writer, struct slice stream)
{
	struct member members[] = {{.name = "stream"}, {.name = "messages"}, {.name = "expectedVersion"}};
	int64_t expected = EXPECT_ANY;

	return args_members(writer->call, stream, "append", members, 3) &&
		   args_integer(writer->call, "expectedVersion", members[2].value, -1, INT64_MAX, &expected) &&
		   write_part(writer, members[0].value, members[1].value, expected);
}

static bool write_streams(struct writer *writer, struct slice streams)
{
	struct method_call *call = writer->call;
	struct json_iterator iterator;
	struct slice stream;

	json_iterate(&iterator, streams);
	while (json_next_element(&iterator, &stream))
	{
		call->stream_index = (int)writer->nparts;
		if (!write_stream(writer, stream))
			return false;
	}
	call->stream_index = -1;
	if (writer->nparts == 0)
		return args_reject(call, "streams", streams, "an array of at least one append");
	return true;
}

bool method_streams_append(struct method_call *call)
{
	struct writer writer;
	unsigned count;

	if (json_kind(call->args[0]) != JSON_ARRAY)
		return args_reject(call, "streams", call->args[0], "an array of appends");
	count = count_elements(call->args[0]);
	if (count > MAX_STREAMS)
		return method_fail(call, ERROR_INVALID_REQUEST, "%u streams in one append; at most %d are allowed",
						   count, MAX_STREAMS);
	return begin(&writer, call, "condition", call->args[1]) &&
		   end(&writer, write_streams(&writer, call->args[0]), on_streams_appended);
}
