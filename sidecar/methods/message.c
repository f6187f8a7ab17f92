/*
 * message.c: a message of an append is checked, and written into the frame; see append.c.
 */
#include <stdio.h>

#include "base/idempotency.h"
#include "methods/append_internal.h"

#define MAX_TAGS 64 /* of a message */
#define MAX_TAG 500 /* bytes */
#define TAGS_WANTED "an array of 1 to " LIMIT_TEXT(MAX_TAGS) " strings of 1 to " LIMIT_TEXT(MAX_TAG) " bytes"

/* Writes a number over four bytes that are there already. */
void write_u32_at(struct buf *frame, size_t at, uint32_t value)
{
	if (frame->failed)
		return;
	for (int i = 0; i < 4; i++)
		frame->data[at + (size_t)i] = (char)(value >> (24 - 8 * i));
}

/* A name or a type: not empty, not too long. */
bool write_name(struct writer *writer, const char *field, struct slice value)
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
	write_u32_at(frame, at, (uint32_t)len);
	return true;
}

/* Of the request's key there may be messages already. */
static bool make_id(struct writer *writer, struct uuid *id)
{
	struct method_call *call = writer->call;

	if (call->key == NULL)
		*id = uuid_behind(method_request(call), writer->nmessages);
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

/* Metadata with further members in front: the request's traceparent, and tags; .bytes NULL: not that one. */
static void write_extended(struct writer *writer, struct slice metadata, struct slice trace,
						   struct slice tags)
{
	struct buf *frame = writer->frame;
	struct json_iterator iterator;
	struct slice key, value;
	size_t at = frame->len;

	buf_add_u32(frame, 0);
	buf_add_str(frame, "{");
	if (trace.bytes != NULL)
	{
		buf_add_str(frame, "\"traceparent\":\"");
		buf_add(frame, trace.bytes, trace.len);
		buf_add_str(frame, tags.bytes != NULL ? "\"," : "\"");
	}
	if (tags.bytes != NULL)
	{
		buf_add_str(frame, "\"tags\":");
		buf_add(frame, tags.bytes, tags.len);
	}
	json_iterate(&iterator, metadata);
	buf_add_str(frame, json_next_member(&iterator, &key, &value) ? "," : "");
	buf_add(frame, metadata.bytes + 1, metadata.len - 1);
	write_u32_at(frame, at, (uint32_t)(frame->len - at - 4));
	buf_add(frame, "", 1);
}

/* Checks a message's tags, which there may be none of. */
static bool check_tags(struct writer *writer, struct slice tags, struct slice metadata)
{
	struct method_call *call = writer->call;
	struct json_iterator iterator;
	struct slice tag;
	struct buf decoded = {0};
	size_t len;
	unsigned n = 0;
	bool ok = true;

	if (tags.bytes == NULL)
		return true;
	if (json_kind(tags) != JSON_ARRAY)
		return args_reject(call, "tags", tags, TAGS_WANTED);
	json_iterate(&iterator, tags);
	while (ok && json_next_element(&iterator, &tag))
	{
		n++;
		ok = args_decode(call, "tags", tag, &decoded, &len);
		if (ok && (len == 0 || len > MAX_TAG))
			ok = args_reject(call, "tags", tag, TAGS_WANTED);
		buf_clear(&decoded);
	}
	buf_free(&decoded);
	if (ok && (n == 0 || n > MAX_TAGS))
		return args_reject(call, "tags", tags, TAGS_WANTED);
	if (ok && metadata.bytes != NULL && json_has_member(metadata, "tags"))
		return method_fail(call, ERROR_INVALID_REQUEST, "tags are given twice: beside metadata, and in it");
	return ok;
}

static bool write_metadata(struct writer *writer, struct slice metadata, struct slice tags)
{
	struct slice trace = writer->call->trace;

	if ((metadata.bytes != NULL && !args_object(writer->call, "metadata", metadata)) ||
		!check_tags(writer, tags, metadata))
		return false;
	if (trace.bytes != NULL && metadata.bytes != NULL && json_has_member(metadata, "traceparent"))
		trace.bytes = NULL;
	if (trace.bytes != NULL || tags.bytes != NULL)
		write_extended(writer, metadata.bytes != NULL ? metadata : slice_of("{}"), trace, tags);
	else if (metadata.bytes == NULL)
		buf_add_frame_null(writer->frame);
	else
		buf_add_frame_string(writer->frame, metadata.bytes, metadata.len);
	return true;
}

enum message_member
{
	MESSAGE_TYPE,
	MESSAGE_DATA,
	MESSAGE_METADATA,
	MESSAGE_TAGS,
	MESSAGE_ID,
	MESSAGE_MEMBERS
};

/* `id` is what to use in place of the message's own; .bytes NULL: its own, if `own_id`. */
bool write_message(struct writer *writer, struct slice message, const char *id_field, struct slice id)
{
	struct method_call *call = writer->call;
	struct member members[MESSAGE_MEMBERS] = {
		[MESSAGE_TYPE] = {.name = "type"},
		[MESSAGE_DATA] = {.name = "data"},
		[MESSAGE_METADATA] = {.name = "metadata"},
		[MESSAGE_TAGS] = {.name = "tags"},
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
	if (!write_metadata(writer, members[MESSAGE_METADATA].value, members[MESSAGE_TAGS].value))
		return false;
	call->inside = NULL;
	writer->tagged |= members[MESSAGE_TAGS].value.bytes != NULL;
	writer->nmessages++;
	return true;
}

/* The messages of one part, with their count in front. */
bool write_messages(struct writer *writer, struct slice messages)
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
	write_u32_at(writer->frame, count_at, count);
	return true;
}
