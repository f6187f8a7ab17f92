/*
 * fuzz_import_record.c: a line becomes a record that Postgres can hold, with the values that json-c finds in
 * the line, or is refused with a code and leaves the frame as it was.
 */
#include <inttypes.h>

#include "frame_reader.h"
#include "base/archive.h"
#include "bulk/record.h"
#include "base/timestamp.h"
#include "base/uuid.h"

#include "extension/protocol.h"

struct record
{
	struct uuid id;
	struct slice stream, type, data, meta;
	int64_t pos, gpos, time;
};

static struct record read_record(struct slice frame)
{
	struct frame_reader reader = {frame};
	struct record record;

	require(frame_bytes(&reader, 1).bytes[0] == IMPORT_MESSAGE);
	memcpy(record.id.bytes, frame_bytes(&reader, 16).bytes, 16);
	record.stream = frame_name(&reader);
	record.type = frame_name(&reader);
	record.pos = (int64_t)frame_number(&reader, 8);
	record.gpos = (int64_t)frame_number(&reader, 8);
	record.time = (int64_t)frame_number(&reader, 8);
	record.data = frame_object(&reader, true);
	record.meta = frame_object(&reader, false);
	require(reader.rest.len == 0);
	require(record.pos >= 0 && record.gpos >= 1);
	return record;
}

static struct json_object *member(struct json_object *line, const char *name, enum json_type type)
{
	struct json_object *value;

	require(json_object_object_get_ex(line, name, &value) && json_object_get_type(value) == type);
	return value;
}

static struct slice text_of(struct json_object *line, const char *name)
{
	struct json_object *value = member(line, name, json_type_string);

	return (struct slice){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
}

static void require_integer(struct json_object *line, const char *name, int64_t expected)
{
	struct json_object *value;

	require(json_object_object_get_ex(line, name, &value));
	if (json_object_is_type(value, json_type_int))
		require(json_object_get_int64(value) == expected);
	else
		require(json_object_get_double(value) == (double)expected);
}

static void require_object(struct json_object *line, const char *name, struct slice text)
{
	struct json_object *value, *again;

	require(json_object_object_get_ex(line, name, &value) || text.bytes == NULL);
	require(oracle_parse(text.bytes != NULL ? text : slice_of("null"), &again));
	require(text.bytes == NULL ? value == NULL : json_object_equal(value, again));
	json_object_put(again);
}

static void compare(const struct record *record, struct json_object *line)
{
	struct uuid id;
	int64_t time;

	require(uuid_parse(text_of(line, "id"), &id) && memcmp(&id, &record->id, sizeof(id)) == 0);
	require(fuzz_equal(text_of(line, "stream"), record->stream));
	require(fuzz_equal(text_of(line, "type"), record->type));
	require_integer(line, "pos", record->pos);
	require_integer(line, "gpos", record->gpos);
	require(timestamp_parse(text_of(line, "time"), &time) && time == record->time);
	require_object(line, "data", record->data);
	require_object(line, "meta", record->meta);
}

/* The record as a line of our export makes the same record. */
static void check_round_trip(const struct record *record, struct slice frame, struct slice time)
{
	struct import_fault fault;
	struct buf line = {0};
	struct buf again = {0};
	char id[UUID_TEXT_LEN + 1];

	uuid_format(&record->id, id);
	buf_printf(&line, "{\"id\":\"%s\",\"stream\":", id);
	json_add_string(&line, record->stream.bytes, record->stream.len);
	buf_add_str(&line, ",\"type\":");
	json_add_string(&line, record->type.bytes, record->type.len);
	buf_printf(&line, ",\"pos\":%" PRId64 ",\"gpos\":%" PRId64 ",\"data\":", record->pos, record->gpos);
	buf_add(&line, record->data.bytes, record->data.len);
	buf_add_str(&line, ",\"meta\":");
	if (record->meta.bytes == NULL)
		buf_add_str(&line, "null");
	buf_add(&line, record->meta.bytes, record->meta.len);
	buf_add_str(&line, ",\"time\":\"");
	buf_add(&line, time.bytes, time.len);
	buf_add_str(&line, "\"}");
	require(import_record_encode((struct slice){line.data, line.len}, true, &again, &fault));
	require(fuzz_equal((struct slice){again.data, again.len}, frame));
	buf_free(&line);
	buf_free(&again);
}

/* A line that is no message. */
static void check_mark(struct slice frame)
{
	struct frame_reader reader = {frame};
	char kind = frame_bytes(&reader, 1).bytes[0];
	bool floor = kind == IMPORT_FLOOR;

	require(floor || kind == IMPORT_LAST);
	if (floor)
		frame_bytes(&reader, IMPORT_FLOOR_KEY_LEN);
	require((int64_t)frame_number(&reader, 8) >= !floor);
	if (floor)
		require((frame_bytes(&reader, 1).bytes[0] & ~(IMPORT_FLOOR_CLOSED | IMPORT_FLOOR_RESTORED)) == 0);
	require(reader.rest.len == 0);
}

/* A key of U+0000 and such is another one for json-c. */
static bool has_odd_keys(struct slice line)
{
	struct json_verdict verdict;

	return json_check(line, &verdict) && verdict.unsupported != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice line = fuzz_slice(data, size);
	struct import_fault fault = {0};
	struct json_verdict verdict;
	struct json_object *object;
	struct record record = {0};
	struct slice frame;
	struct buf buf = {0};

	buf_add_str(&buf, "before");
	if (!import_record_encode(line, true, &buf, &fault))
	{
		require(buf.len == 6 && memcmp(buf.data, "before", 6) == 0);
		require(fault.code != NULL && fault.message[0] != '\0' &&
				strlen(fault.message) < sizeof(fault.message));
		require(json_check(line, &verdict) == (strcmp(fault.code, "INVALID_RECORD") == 0));
	}
	else
	{
		require(memcmp(buf.data, "before", 6) == 0);
		frame = (struct slice){buf.data + 6, buf.len - 6};
		if (archive_is_mark(line))
			check_mark(frame);
		else
			record = read_record(frame);
		if (!archive_is_mark(line) && !has_odd_keys(line))
		{
			require(oracle_parse(line, &object));
			compare(&record, object);
			check_round_trip(&record, frame, text_of(object, "time"));
			json_object_put(object);
		}
	}
	buf_free(&buf);
	return 0;
}
