/*
 * record.c: checks a line and writes its record of the import frame (see record.h).
 */
#include "bulk/record.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/archive.h"
#include "base/json.h"
#include "base/timestamp.h"
#include "base/uuid.h"

#include "extension/hex.h"
#include "extension/protocol.h"

#define MAX_TIME_TEXT 64

enum field
{
	FIELD_ID,
	FIELD_STREAM,
	FIELD_TYPE,
	FIELD_POS,
	FIELD_GPOS,
	FIELD_DATA,
	FIELD_META,
	FIELD_TIME,
	/* Of a floor, or the last position. */
	FIELD_VERSION,
	FIELD_CLOSED,
	FIELD_RESTORED,
	FIELDS
};

static const char *const names[FIELDS] = {"id",	  "stream", "type",	   "pos",	 "gpos",	"data",
										  "meta", "time",	"version", "closed", "restored"};

struct record
{
	struct slice values[FIELDS];
	struct buf *frame;
	struct import_fault *fault;
	bool redacted;	  /* a message may say that it was */
	bool unsupported; /* somewhere in the line is what Postgres cannot hold */
};

__attribute__((format(printf, 3, 4))) static bool fail(struct import_fault *fault, const char *code,
													   const char *format, ...)
{
	va_list args;

	fault->code = code;
	va_start(args, format);
	vsnprintf(fault->message, sizeof(fault->message), format, args);
	va_end(args);
	return false;
}

static bool refuse(struct record *record, enum field field, const char *wanted)
{
	if (record->values[field].bytes == NULL)
		return fail(record->fault, FAULT_INVALID_RECORD, "\"%s\" is missing", names[field]);
	return fail(record->fault, FAULT_INVALID_RECORD, "\"%s\" must be %s", names[field], wanted);
}

/* ---- finding the fields --------------------------------------------------------- */

/* Finds the known members; of duplicates the last wins. */
static bool find_fields(struct record *record, struct slice line)
{
	struct json_iterator iterator;
	struct slice key, value;

	if (json_kind(line) != JSON_OBJECT)
		return fail(record->fault, FAULT_INVALID_RECORD, "the line is not an object but %s",
					json_kind_name(json_kind(line)));
	json_iterate(&iterator, line);
	while (json_next_member(&iterator, &key, &value))
	{
		for (enum field field = FIELD_ID; field < FIELDS; field++)
		{
			if (json_string_is(key, names[field]))
			{
				record->values[field] = value;
				break;
			}
		}
	}
	return true;
}

/* ---- writing them ---------------------------------------------------------------- */

static bool add_id(struct record *record)
{
	struct slice value = record->values[FIELD_ID];
	struct uuid id;

	if (json_kind(value) != JSON_STRING || !uuid_parse((struct slice){value.bytes + 1, value.len - 2}, &id))
		return refuse(record, FIELD_ID, "a UUID");
	buf_add(record->frame, id.bytes, sizeof(id.bytes));
	return true;
}

static bool add_name(struct record *record, enum field field)
{
	struct slice value = record->values[field];
	struct buf *frame = record->frame;
	size_t mark = frame->len;
	const char *unsupported;
	uint32_t len;

	if (json_kind(value) != JSON_STRING)
		return refuse(record, field, "a string");
	buf_add_u32(frame, 0);
	unsupported = json_decode(value, frame);
	if (unsupported != NULL)
		return fail(record->fault, FAULT_INVALID_RECORD, "\"%s\": %s", names[field], unsupported);
	if (frame->failed)
		return false;
	len = (uint32_t)(frame->len - mark - sizeof(len));
	if (len == 0)
		return refuse(record, field, "a string that is not empty");
	if (len > MAX_NAME)
		return refuse(record, field, "at most " LIMIT_TEXT(MAX_NAME) " bytes long");
	len = htonl(len);
	memcpy(frame->data + mark, &len, sizeof(len));
	buf_add_u8(frame, 0);
	return true;
}

static bool add_integer(struct record *record, enum field field, int64_t min, const char *wanted)
{
	struct slice value = record->values[field];
	int64_t number;

	if (json_kind(value) != JSON_NUMBER || !json_integer(value, &number) || number < min)
		return refuse(record, field, wanted);
	buf_add_i64(record->frame, number);
	return true;
}

static bool add_time(struct record *record)
{
	struct slice value = record->values[FIELD_TIME];
	int64_t microseconds;

	if (json_kind(value) != JSON_STRING || value.len > MAX_TIME_TEXT ||
		!timestamp_parse((struct slice){value.bytes + 1, value.len - 2}, &microseconds))
		return refuse(record, FIELD_TIME, "a time like 2025-01-31T12:00:00.123456Z (RFC 3339)");
	buf_add_i64(record->frame, microseconds);
	return true;
}

static bool add_payload(struct record *record, enum field field)
{
	struct slice value = record->values[field];
	struct json_verdict verdict;

	if (json_kind(value) != JSON_OBJECT)
		return refuse(record, field, field == FIELD_META ? "an object or null" : "an object");
	/* It matters where it is to be stored, not in a key that is ignored. */
	if (record->unsupported && json_check(value, &verdict) && verdict.unsupported != NULL)
		return fail(record->fault, FAULT_INVALID_RECORD, "\"%s\": %s", names[field], verdict.unsupported);
	buf_add_frame_string(record->frame, value.bytes, value.len);
	return true;
}

static bool add_metadata(struct record *record)
{
	struct slice value = record->values[FIELD_META];
	enum json_kind kind = json_kind(value);

	if (kind == JSON_NONE || kind == JSON_NULL)
	{
		buf_add_frame_null(record->frame);
		return true;
	}
	if (!add_payload(record, FIELD_META))
		return false;
	return record->redacted || !json_has_member(value, REDACTED_MEMBER) ||
		   fail(record->fault, FAULT_INVALID_RECORD,
				"\"meta\" has \"" REDACTED_MEMBER "\": to bring redacted messages takes the right to remove, "
				"which this token does not have");
}

static bool encode_message(struct record *record)
{
	buf_add_u8(record->frame, IMPORT_MESSAGE);
	return add_id(record) && add_name(record, FIELD_STREAM) && add_name(record, FIELD_TYPE) &&
		   add_integer(record, FIELD_POS, 0, "an integer, 0 or more") &&
		   add_integer(record, FIELD_GPOS, 1, "an integer, 1 or more") && add_time(record) &&
		   add_payload(record, FIELD_DATA) && add_metadata(record);
}

/* ---- lines that are no messages ---------------------------------------------------- */

static bool add_floor_key(struct record *record)
{
	struct slice value = record->values[FIELD_STREAM];
	unsigned char key[IMPORT_FLOOR_KEY_LEN];
	bool right = json_kind(value) == JSON_STRING && value.len == 2 * sizeof(key) + 2;

	for (size_t i = 0; right && i < sizeof(key); i++)
	{
		int high = hex_value(value.bytes[2 * i + 1]);
		int low = hex_value(value.bytes[2 * i + 2]);

		right = high >= 0 && low >= 0;
		key[i] = (unsigned char)(high * 16 + low);
	}
	if (!right)
		return refuse(record, FIELD_STREAM, "32 hexadecimal digits");
	buf_add(record->frame, key, sizeof(key));
	return true;
}

static bool read_flag(struct record *record, enum field field, uint8_t flag, uint8_t *flags)
{
	if (json_kind(record->values[field]) != JSON_BOOLEAN)
		return refuse(record, field, "true or false");
	if (slice_is(record->values[field], "true"))
		*flags |= flag;
	return true;
}

static bool encode_floor(struct record *record)
{
	uint8_t flags = 0;

	buf_add_u8(record->frame, IMPORT_FLOOR);
	if (!add_floor_key(record) || !add_integer(record, FIELD_VERSION, 0, "an integer, 0 or more") ||
		!read_flag(record, FIELD_CLOSED, IMPORT_FLOOR_CLOSED, &flags) ||
		!read_flag(record, FIELD_RESTORED, IMPORT_FLOOR_RESTORED, &flags))
		return false;
	buf_add_u8(record->frame, flags);
	return true;
}

static bool encode_mark(struct record *record, struct slice line)
{
	if (archive_is_kind(line, "floor"))
		return encode_floor(record);
	if (!archive_is_kind(line, "last"))
		return fail(record->fault, FAULT_INVALID_RECORD,
					"\"millrace\" is none of archive, archived, floor, last");
	buf_add_u8(record->frame, IMPORT_LAST);
	return add_integer(record, FIELD_GPOS, 1, "an integer, 1 or more");
}

bool import_record_encode(struct slice line, bool redacted, struct buf *frame, struct import_fault *fault)
{
	struct record record = {.frame = frame, .fault = fault, .redacted = redacted};
	struct json_verdict verdict;
	size_t mark = frame->len;

	if (!json_check(line, &verdict))
		return fail(fault, FAULT_INVALID_JSON, "not JSON at byte %zu: %s", verdict.offset + 1,
					verdict.reason);
	record.unsupported = verdict.unsupported != NULL;
	if (find_fields(&record, json_trim(line)) &&
		(archive_is_mark(line) ? encode_mark(&record, line) : encode_message(&record)) && !frame->failed)
		return true;
	if (frame->failed)
		fail(fault, FAULT_IMPORT_FAILED, "out of memory");
	buf_truncate(frame, mark);
	return false;
}
