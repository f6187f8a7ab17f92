/*
 * append.c: stream.write, stream.append and streams.append.
 *
 * The arguments are checked and written into the batch that is gathering in one pass: a request that turns
 * out to be wrong half way is abandoned, and the batch is as before.  data and metadata are copied there byte
 * for byte.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/idempotency.h"
#include "methods/internal.h"
#include "base/stats.h"

/* A request being written. */
struct writer
{
	struct method_call *call;
	struct buf *frame;
	size_t count_at; /* where the count that is not known yet goes */
	unsigned nparts;
	unsigned nmessages;
	bool given_ids; /* some id is the client's, or made of its key */
};

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
	method_answer_error(call);
	return false;
}

static void on_written(void *arg, const struct db_append_reply *reply)
{
	struct method_call *call = arg;
	char text[100];
	int len;

	if (!check_reply(call, reply))
		return;
	len = snprintf(text, sizeof(text), "{\"position\":%" PRId64 ",\"globalPosition\":%" PRId64 "}",
				   reply->parts[0].position, reply->parts[0].global_position);
	method_answer_text(call, text, (size_t)len);
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

/* Writes a number over four bytes that are there already. */
static void patch_u32(struct buf *frame, size_t at, uint32_t value)
{
	if (frame->failed)
		return;
	for (int i = 0; i < 4; i++)
		frame->data[at + (size_t)i] = (char)(value >> (24 - 8 * i));
}

/* A name or a type: not empty, not too long. */
static bool write_name(struct writer *writer, const char *field, struct slice value)
{
	struct buf *frame = writer->frame;
	size_t at = frame->len;
	size_t len;
	char wanted[60];

	buf_add_u32(frame, 0);
	if (!args_decode(writer->call, field, value, frame, &len))
		return false;
	if (len > MAX_NAME || (len == 0 && !frame->failed))
	{
		snprintf(wanted, sizeof(wanted), "a string of 1 to %d bytes", MAX_NAME);
		return args_reject(writer->call, field, value, wanted);
	}
	buf_add(frame, "", 1);
	patch_u32(frame, at, (uint32_t)len);
	return true;
}

/* Of the request's key there may be messages already. */
static bool make_id(struct writer *writer, struct uuid *id)
{
	struct method_call *call = writer->call;

	if (call->key == NULL)
		*id = uuid_new(&call->methods->ids);
	else if (idempotency_message(call->key, call->index, writer->nmessages, id))
		writer->given_ids = true;
	else
		return method_fail(call, ERROR_INTERNAL_ERROR, "%s", IDEMPOTENCY_NO_SHA1);
	return true;
}

static bool write_id(struct writer *writer, const char *field, struct slice id)
{
	struct uuid uuid;
	bool string = json_kind(id) == JSON_STRING;

	if (id.bytes == NULL || (string && json_string_is(id, "")))
	{
		if (!make_id(writer, &uuid))
			return false;
	}
	else if (!string || !uuid_parse((struct slice){id.bytes + 1, id.len - 2}, &uuid))
		return args_reject(writer->call, field, id, "a UUID");
	else
		writer->given_ids = true;
	buf_add(writer->frame, uuid.bytes, sizeof(uuid.bytes));
	return true;
}

static bool has_member(struct slice object, const char *name)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, name))
			return true;
	}
	return false;
}

/* Metadata with the request's traceparent as its first member. */
static void write_traced(struct writer *writer, struct slice metadata)
{
	struct buf *frame = writer->frame;
	struct slice trace = writer->call->trace;
	struct json_iterator iterator;
	struct slice key, value;
	size_t at = frame->len;

	buf_add_u32(frame, 0);
	buf_add_str(frame, "{\"traceparent\":\"");
	buf_add(frame, trace.bytes, trace.len);
	json_iterate(&iterator, metadata);
	buf_add_str(frame, json_next_member(&iterator, &key, &value) ? "\"," : "\"");
	buf_add(frame, metadata.bytes + 1, metadata.len - 1);
	patch_u32(frame, at, (uint32_t)(frame->len - at - 4));
	buf_add(frame, "", 1);
}

static bool write_metadata(struct writer *writer, struct slice metadata)
{
	bool traced = writer->call->trace.bytes != NULL;

	if (metadata.bytes != NULL && !args_object(writer->call, "metadata", metadata))
		return false;
	if (metadata.bytes == NULL && traced)
		write_traced(writer, slice_of("{}"));
	else if (metadata.bytes == NULL)
		buf_add_frame_null(writer->frame);
	else if (traced && !has_member(metadata, "traceparent"))
		write_traced(writer, metadata);
	else
		buf_add_frame_string(writer->frame, metadata.bytes, metadata.len);
	return true;
}

enum message_member
{
	MESSAGE_TYPE,
	MESSAGE_DATA,
	MESSAGE_METADATA,
	MESSAGE_ID,
	MESSAGE_MEMBERS
};

/* `id` is what to use in place of the message's own; .bytes NULL: its own, if `own_id`. */
static bool write_message(struct writer *writer, struct slice message, const char *id_field, struct slice id)
{
	struct method_call *call = writer->call;
	struct member members[MESSAGE_MEMBERS] = {
		[MESSAGE_TYPE] = {.name = "type"},
		[MESSAGE_DATA] = {.name = "data"},
		[MESSAGE_METADATA] = {.name = "metadata"},
		[MESSAGE_ID] = {.name = "id"},
	};

	/* The id is the last: where it is among the options, a message has none. */
	if (!args_members(call, message, "message", members, id_field != NULL ? MESSAGE_ID : MESSAGE_MEMBERS))
		return false;
	if (id_field != NULL)
	{
		if (!write_id(writer, id_field, id))
			return false;
		call->inside = "message.";
	}
	else if (!write_id(writer, "id", members[MESSAGE_ID].value))
		return false;
	if (!write_name(writer, "type", members[MESSAGE_TYPE].value) ||
		!args_object(call, "data", members[MESSAGE_DATA].value))
		return false;
	buf_add_frame_string(writer->frame, members[MESSAGE_DATA].value.bytes, members[MESSAGE_DATA].value.len);
	if (!write_metadata(writer, members[MESSAGE_METADATA].value))
		return false;
	call->inside = NULL;
	writer->nmessages++;
	return true;
}

/* The messages of one part, with their count in front. */
static bool write_messages(struct writer *writer, struct slice messages)
{
	struct method_call *call = writer->call;
	struct json_iterator iterator;
	struct slice message;
	size_t count_at = writer->frame->len;
	uint32_t count = 0;

	if (json_kind(messages) != JSON_ARRAY)
		return args_reject(call, "messages", messages, "an array of messages");
	buf_add_u32(writer->frame, 0);
	json_iterate(&iterator, messages);
	while (json_next_element(&iterator, &message))
	{
		call->message_index = (int)count++;
		if (!write_message(writer, message, NULL, (struct slice){NULL, 0}))
			return false;
	}
	call->message_index = -1;
	if (count == 0)
		return method_fail(call, ERROR_INVALID_REQUEST, "messages must hold at least one message");
	patch_u32(writer->frame, count_at, count);
	return true;
}

/* Begins a request; its number of parts is put in at the end. */
static bool begin(struct writer *writer, struct method_call *call)
{
	enum db_status why = DB_OVERLOADED;

	*writer = (struct writer){.call = call, .frame = db_append_begin(call->methods->db, &why)};
	if (writer->frame == NULL)
		return method_fail_status(call, why, NULL);
	buf_add_frame_string(writer->frame, call->namespace_name, strlen(call->namespace_name));
	writer->count_at = writer->frame->len;
	buf_add_u32(writer->frame, 0);
	return true;
}

/* Hands the request over when `ok`, else abandons it. */
static bool end(struct writer *writer, bool ok, db_append_done done)
{
	struct method_call *call = writer->call;
	struct db_append append;

	if (!ok)
	{
		db_append_abandon(call->methods->db);
		return false;
	}
	patch_u32(writer->frame, writer->count_at, writer->nparts);
	append = (struct db_append){.nparts = writer->nparts,
								.nmessages = writer->nmessages,
								.new_ids = !writer->given_ids,
								.namespace_name = call->namespace_name,
								.done = done,
								.arg = call};
	if (!db_append_end(call->methods->db, &append))
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	return true;
}

/* ---- the methods ------------------------------------------------------------ */

static bool write_single(struct writer *writer, int64_t expected, struct slice id)
{
	struct method_call *call = writer->call;

	if (!write_name(writer, "stream", call->args[0]))
		return false;
	buf_add_i64(writer->frame, expected);
	buf_add_u32(writer->frame, 1);
	writer->nparts = 1;
	return write_message(writer, call->args[1], "options.id", id);
}

bool method_stream_write(struct method_call *call)
{
	struct member options[] = {{.name = "expectedVersion"}, {.name = "id"}};
	int64_t expected = EXPECT_ANY;
	struct writer writer;

	if (!args_options(call, call->args[2], options, 2) ||
		!args_integer(call, "options.expectedVersion", options[0].value, -1, INT64_MAX, &expected) ||
		!begin(&writer, call))
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
	struct member options[] = {{.name = "expectedVersion"}};
	int64_t expected = EXPECT_ANY;
	struct writer writer;

	if (!args_options(call, call->args[2], options, 1) ||
		!args_integer(call, "options.expectedVersion", options[0].value, -1, INT64_MAX, &expected) ||
		!begin(&writer, call))
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

static size_t count_elements(struct slice array)
{
	struct json_iterator iterator;
	struct slice element;
	size_t count = 0;

	json_iterate(&iterator, array);
	while (json_next_element(&iterator, &element))
		count++;
	return count;
}

bool method_streams_append(struct method_call *call)
{
	struct writer writer;
	size_t count;

	if (json_kind(call->args[0]) != JSON_ARRAY)
		return args_reject(call, "streams", call->args[0], "an array of appends");
	count = count_elements(call->args[0]);
	if (count > MAX_STREAMS)
		return method_fail(call, ERROR_INVALID_REQUEST, "%zu streams in one append; at most %d are allowed",
						   count, MAX_STREAMS);
	return begin(&writer, call) && end(&writer, write_streams(&writer, call->args[0]), on_streams_appended);
}
