/*
 * api_batch.c: append_batch(), the many-request form that the HTTP side calls: a refused verdict is a row.
 *
 * The batch is one bytea, so that a request costs no array and no conversion (extension/README.md, "The batch
 * format").  All integers are big-endian.  Strings end in a NUL that is not part of them, so that they are used where they lie.
 *
 *     batch   = u8 version (1), u32 number of requests, request...
 *     request = string namespace, u32 number of parts, part...
 *     part    = string stream, i64 expected version (the smallest int64: any), u32 number of messages, message...
 *     message = 16 bytes id, string type, string data, string metadata
 *     string  = u32 length, bytes, NUL; as metadata also u32 0xFFFFFFFF: none
 *
 * The bytes come from outside: lengths are compared with what is left, strings are checked for their encoding.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "api.h"
#include "append.h"
#include "errors.h"

#define BATCH_VERSION 1
#define NO_STRING PG_UINT32_MAX

PG_FUNCTION_INFO_V1(millrace_append_batch);

extern Datum millrace_append_batch(PG_FUNCTION_ARGS);

typedef struct Reader
{
	const char *next;
	const char *end;
} Reader;

static void
Malformed(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_MALFORMED_BATCH), errmsg("malformed batch: %s", what)));
}

static const char *
ReadBytes(Reader *reader, size_t len)
{
	const char *bytes = reader->next;

	if (len > (size_t)(reader->end - reader->next))
		Malformed("it ends too early");
	reader->next += len;
	return bytes;
}

static uint32
ReadUint32(Reader *reader)
{
	uint32 value;

	memcpy(&value, ReadBytes(reader, sizeof(value)), sizeof(value));
	return pg_ntoh32(value);
}

static int64
ReadInt64(Reader *reader)
{
	uint64 value;

	memcpy(&value, ReadBytes(reader, sizeof(value)), sizeof(value));
	return (int64)pg_ntoh64(value);
}

/* Reads a count of things each of which takes at least `least` bytes, so that a false one can't make us allocate. */
static int
ReadCount(Reader *reader, size_t least)
{
	uint32 count = ReadUint32(reader);

	if (count == 0 || count > (size_t)(reader->end - reader->next) / least)
		Malformed("a count is zero or larger than what follows");
	return (int)count;
}

/* Reads a string, in the server's encoding; NULL for none. */
static const char *
ReadString(Reader *reader)
{
	uint32 len = ReadUint32(reader);
	const char *bytes;

	if (len == NO_STRING)
		return NULL;
	bytes = ReadBytes(reader, (size_t)len + 1);
	if (bytes[len] != '\0' || memchr(bytes, '\0', len) != NULL)
		Malformed("a string holds a NUL, or doesn't end in one");
	return pg_any_to_server(bytes, len, PG_UTF8);
}

static const char *
ReadRequiredString(Reader *reader)
{
	const char *string = ReadString(reader);

	if (!string)
		Malformed("a string is missing");
	return string;
}

static Jsonb *
ReadObject(Reader *reader, const char *what, bool required)
{
	const char *string = required ? ReadRequiredString(reader) : ReadString(reader);
	Jsonb *value;

	if (!string)
		return NULL;
	value = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(string)));
	CheckObject(value, what);
	return value;
}

static text *
ReadName(Reader *reader, const char *what)
{
	text *name = cstring_to_text(ReadRequiredString(reader));

	CheckName(name, what);
	return name;
}

static void
ReadMessage(Reader *reader, AppendMessage *message)
{
	memset(message, 0, sizeof(AppendMessage));
	memcpy(message->id.data, ReadBytes(reader, UUID_LEN), UUID_LEN);
	message->type = ReadName(reader, "type");
	message->data = ReadObject(reader, "data", true);
	message->metadata = ReadObject(reader, "metadata", false);
}

static void
ReadPart(Reader *reader, AppendPart *part)
{
	part->stream = ReadName(reader, "stream");
	part->expected = ReadInt64(reader);
	if (part->expected != EXPECT_ANY)
		CheckExpectedVersion(part->expected);
	part->nmessages = ReadCount(reader, UUID_LEN + 3 * sizeof(uint32));
	part->messages = palloc(sizeof(AppendMessage) * part->nmessages);
	for (int i = 0; i < part->nmessages; i++)
		ReadMessage(reader, &part->messages[i]);
}

static void
ReadRequestFrame(Reader *reader, AppendRequest *request)
{
	request->namespace_name = ReadRequiredString(reader);
	request->nparts = ReadCount(reader, 2 * sizeof(uint32) + sizeof(int64));
	request->parts = palloc0(sizeof(AppendPart) * request->nparts);
	for (int i = 0; i < request->nparts; i++)
		ReadPart(reader, &request->parts[i]);
}

static AppendRequest *
ReadBatch(bytea *batch, int *nrequests)
{
	Reader reader = {VARDATA_ANY(batch), (char *)VARDATA_ANY(batch) + VARSIZE_ANY_EXHDR(batch)};
	AppendRequest *requests;

	if (*ReadBytes(&reader, 1) != BATCH_VERSION)
		Malformed("unknown version");
	*nrequests = ReadCount(&reader, 2 * sizeof(uint32));
	requests = palloc0(sizeof(AppendRequest) * *nrequests);
	for (int i = 0; i < *nrequests; i++)
		ReadRequestFrame(&reader, &requests[i]);
	if (reader.next != reader.end)
		Malformed("bytes are left at its end");
	return requests;
}

/* Columns of a row of verdicts. */
enum
{
	VERDICT_REQUEST,
	VERDICT_PART,
	VERDICT_SQLSTATE,
	VERDICT_POSITION,
	VERDICT_LAST_POSITION,
	VERDICT_GLOBAL_POSITION,
	VERDICT_LAST_GLOBAL_POSITION,
	VERDICT_EXPECTED,
	VERDICT_ACTUAL,
	VERDICT_MESSAGE,
	VERDICT_COLUMNS
};

static void
PutAppended(ResultSet *set, int request, int part_number, AppendPart *part)
{
	Datum values[VERDICT_COLUMNS] = {0};
	bool isnull[VERDICT_COLUMNS] = {
		[VERDICT_EXPECTED] = true, [VERDICT_ACTUAL] = true, [VERDICT_MESSAGE] = true};
	AppendMessage *first = &part->messages[0];
	AppendMessage *last = &part->messages[part->nmessages - 1];

	values[VERDICT_REQUEST] = Int32GetDatum(request);
	values[VERDICT_PART] = Int32GetDatum(part_number);
	values[VERDICT_SQLSTATE] = CStringGetTextDatum("00000");
	values[VERDICT_POSITION] = Int64GetDatum(first->position);
	values[VERDICT_LAST_POSITION] = Int64GetDatum(last->position);
	values[VERDICT_GLOBAL_POSITION] = Int64GetDatum(first->global_position);
	values[VERDICT_LAST_GLOBAL_POSITION] = Int64GetDatum(last->global_position);
	ResultSetPut(set, values, isnull);
}

static void
PutRefused(ResultSet *set, int request, AppendVerdict *verdict)
{
	Datum values[VERDICT_COLUMNS] = {0};
	bool isnull[VERDICT_COLUMNS] = {false};
	bool versions = verdict->sqlerrcode == ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION;

	for (int i = VERDICT_POSITION; i <= VERDICT_LAST_GLOBAL_POSITION; i++)
		isnull[i] = true;
	isnull[VERDICT_EXPECTED] = isnull[VERDICT_ACTUAL] = !versions;
	values[VERDICT_REQUEST] = Int32GetDatum(request);
	values[VERDICT_PART] = Int32GetDatum(verdict->part);
	values[VERDICT_SQLSTATE] = CStringGetTextDatum(unpack_sql_state(verdict->sqlerrcode));
	values[VERDICT_EXPECTED] = Int64GetDatum(verdict->expected);
	values[VERDICT_ACTUAL] = Int64GetDatum(verdict->actual);
	values[VERDICT_MESSAGE] = CStringGetTextDatum(verdict->message);
	ResultSetPut(set, values, isnull);
}

/* append_batch(batch bytea) -> rows of (request, part, sqlstate, positions, versions, message) */
Datum
millrace_append_batch(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	AppendRequest *requests;
	int nrequests;

	requests = ReadBatch(PG_GETARG_BYTEA_PP(0), &nrequests);
	AppendRequests(requests, nrequests);
	for (int i = 0; i < nrequests; i++)
	{
		if (requests[i].verdict.sqlerrcode != 0)
		{
			PutRefused(set, i, &requests[i].verdict);
			continue;
		}
		for (int j = 0; j < requests[i].nparts; j++)
			PutAppended(set, i, j, &requests[i].parts[j]);
	}
	return (Datum)0;
}
