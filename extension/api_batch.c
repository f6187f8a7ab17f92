/*
 * api_batch.c: append_batch(), the many-request form that the HTTP side calls: a refused verdict is a row.
 *
 * The batch is one bytea, so that a request costs no array and no conversion (extension/README.md, "The batch
 * format").  All integers are big-endian.  Strings end in a NUL that is not part of them, so that they are used where they lie.
 *
 *     batch   = u8 version (1, or 2: all ids are new), u32 number of requests, request...
 *     request = string namespace, u32 number of parts, part...
 *     part    = string stream, i64 expected version (the smallest int64: any), u32 number of messages, message...
 *     message = 16 bytes id, string type, string data, string metadata
 *     string  = u32 length, bytes, NUL; as metadata also u32 0xFFFFFFFF: none
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "api.h"
#include "append.h"
#include "errors.h"
#include "frame.h"

/*
 * The version that says that the sender made all ids just now, so that none needs to be looked for.  If one is
 * there all the same, it is a unique violation.
 */
#define BATCH_NEW_IDS 2

PG_FUNCTION_INFO_V1(millrace_append_batch);

extern Datum millrace_append_batch(PG_FUNCTION_ARGS);

static void
ReadMessage(FrameReader *reader, AppendMessage *message)
{
	memset(message, 0, sizeof(AppendMessage));
	memcpy(message->id.data, FrameBytes(reader, UUID_LEN), UUID_LEN);
	message->id_is_new = reader->version == BATCH_NEW_IDS;
	message->type = FrameName(reader, "type");
	message->data = FrameObject(reader, "data", true);
	message->metadata = FrameObject(reader, "metadata", false);
}

static void
ReadPart(FrameReader *reader, AppendPart *part)
{
	part->stream = FrameName(reader, "stream");
	part->expected = FrameInt64(reader);
	if (part->expected != EXPECT_ANY)
		CheckExpectedVersion(part->expected);
	part->nmessages = FrameCount(reader, UUID_LEN + 3 * sizeof(uint32));
	part->messages = palloc(sizeof(AppendMessage) * part->nmessages);
	for (int i = 0; i < part->nmessages; i++)
		ReadMessage(reader, &part->messages[i]);
}

static void
ReadRequestFrame(FrameReader *reader, AppendRequest *request)
{
	request->namespace_name = FrameRequiredString(reader);
	request->nparts = FrameCount(reader, 2 * sizeof(uint32) + sizeof(int64));
	request->parts = palloc0(sizeof(AppendPart) * request->nparts);
	for (int i = 0; i < request->nparts; i++)
		ReadPart(reader, &request->parts[i]);
}

static AppendRequest *
ReadBatch(bytea *batch, int *nrequests)
{
	FrameReader reader = FrameOpen(batch, BATCH_NEW_IDS);
	AppendRequest *requests;

	*nrequests = FrameCount(&reader, 2 * sizeof(uint32));
	requests = palloc0(sizeof(AppendRequest) * *nrequests);
	for (int i = 0; i < *nrequests; i++)
		ReadRequestFrame(&reader, &requests[i]);
	FrameClose(&reader);
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
