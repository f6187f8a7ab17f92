/*
 * batch.c: append_batch() and append_batch_packed(), the many-request form: each request has its own
 * verdict.
 *
 * The frames are those of protocol.h.  The verdicts are rows, for SQL, or packed into one bytea, for the
 * HTTP side: a batch is then one value in and one value out, which spares Postgres the set of rows and the
 * client the conversion of ten columns of each.
 *
 * Conditions are the only thing in a frame that the program has not looked at.  What is wrong with one is the
 * verdict on its request.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "core/append.h"
#include "base/errors.h"
#include "api/frame.h"
#include "json/condition.h"
#include "json/in.h"

PG_FUNCTION_INFO_V1(millrace_append_batch);
PG_FUNCTION_INFO_V1(millrace_append_batch_packed);

extern Datum millrace_append_batch(PG_FUNCTION_ARGS);
extern Datum millrace_append_batch_packed(PG_FUNCTION_ARGS);

static void
ReadMessage(FrameReader *reader, AppendMessage *message)
{
	memset(message, 0, sizeof(AppendMessage));
	memcpy(message->id.data, FrameBytes(reader, FRAME_ID_LEN), FRAME_ID_LEN);
	message->id_is_new = reader->version == BATCH_VERSION_NEW_IDS;
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
	part->nmessages = FrameCount(reader, FRAME_ID_LEN + 3 * sizeof(uint32));
	part->messages = palloc(sizeof(AppendMessage) * part->nmessages);
	for (int i = 0; i < part->nmessages; i++)
		ReadMessage(reader, &part->messages[i]);
}

/* Whether an error says that an argument is wrong. */
static bool
IsArgumentsFault(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_DATA_EXCEPTION ||
		   sqlerrcode == ERRCODE_MILLRACE_EMPTY_NAME || sqlerrcode == ERRCODE_MILLRACE_TOO_LONG ||
		   sqlerrcode == ERRCODE_MILLRACE_OUT_OF_RANGE || sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		   sqlerrcode == ERRCODE_STATEMENT_TOO_COMPLEX;
}

/*
 * Reads the conditions of a request; what is wrong with them refuses it.  Nothing but memory is used
 * meanwhile, so that an error needs no subtransaction.
 */
static void
ReadConditions(const char *json, AppendRequest *request)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool read = false;
	size_t len = strlen(json);

	request->conditions = ConditionFromText(json, len);
	if (request->conditions)
	{
		request->nconditions = 1;
		return;
	}
	PG_TRY();
	{
		Jsonb *value = JsonbFromText(json, len);

		read = true;
		request->conditions = ConditionsRead(value, "condition", &request->nconditions);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!IsArgumentsFault(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		request->nconditions = 0;
		request->malformed = error->sqlerrcode;
		request->malformation = read ? error->message : psprintf("condition: %s", error->message);
	}
	PG_END_TRY();
}

static void
ReadRequestFrame(FrameReader *reader, AppendRequest *request)
{
	bool conditional;

	request->namespace_name = FrameRequiredString(reader);
	request->nparts = FrameParts(reader, &conditional);
	if (conditional)
		ReadConditions(FrameRequiredString(reader), request);
	request->parts = palloc0(sizeof(AppendPart) * request->nparts);
	for (int i = 0; i < request->nparts; i++)
		ReadPart(reader, &request->parts[i]);
}

static AppendRequest *
ReadBatch(bytea *batch, int *nrequests, AppendDoubt *doubt)
{
	FrameReader reader = FrameOpen(batch, BATCH_VERSION_WAIT);
	AppendRequest *requests;

	*doubt = reader.version == BATCH_VERSION_WAIT ? APPEND_WAIT : APPEND_REFUSE;
	*nrequests = FrameCount(&reader, 2 * sizeof(uint32));
	requests = palloc0(sizeof(AppendRequest) * *nrequests);
	for (int i = 0; i < *nrequests; i++)
		ReadRequestFrame(&reader, &requests[i]);
	FrameClose(&reader);
	return requests;
}

/* ---- verdicts as rows ------------------------------------------------------------------------------ */

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
	VERDICT_STREAM,
	VERDICT_TYPE,
	VERDICT_COLUMNS
};

static void
PutAppended(ResultSet *set, int request, int part_number, AppendPart *part)
{
	Datum values[VERDICT_COLUMNS] = {0};
	bool isnull[VERDICT_COLUMNS] = {[VERDICT_EXPECTED] = true,
									[VERDICT_ACTUAL] = true,
									[VERDICT_MESSAGE] = true,
									[VERDICT_STREAM] = true,
									[VERDICT_TYPE] = true};
	AppendMessage *first = &part->messages[0];
	AppendMessage *last = &part->messages[part->nmessages - 1];

	values[VERDICT_REQUEST] = Int32GetDatum(request);
	values[VERDICT_PART] = Int32GetDatum(part_number);
	values[VERDICT_SQLSTATE] = CStringGetTextDatum(SQLSTATE_SUCCESS);
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
	bool matched = verdict->sqlerrcode == ERRCODE_MILLRACE_APPEND_CONDITION_FAILED;
	bool versions = matched || verdict->sqlerrcode == ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION;

	for (int i = VERDICT_POSITION; i <= VERDICT_LAST_GLOBAL_POSITION; i++)
		isnull[i] = true;
	isnull[VERDICT_EXPECTED] = isnull[VERDICT_ACTUAL] = !versions;
	isnull[VERDICT_STREAM] = isnull[VERDICT_TYPE] = !matched;
	values[VERDICT_REQUEST] = Int32GetDatum(request);
	values[VERDICT_PART] = Int32GetDatum(verdict->part);
	values[VERDICT_SQLSTATE] = CStringGetTextDatum(unpack_sql_state(verdict->sqlerrcode));
	values[VERDICT_EXPECTED] = Int64GetDatum(verdict->expected);
	values[VERDICT_ACTUAL] = Int64GetDatum(verdict->actual);
	values[VERDICT_MESSAGE] = CStringGetTextDatum(verdict->message);
	if (matched)
	{
		values[VERDICT_STREAM] = CStringGetTextDatum(verdict->stream);
		values[VERDICT_TYPE] = CStringGetTextDatum(verdict->type);
	}
	ResultSetPut(set, values, isnull);
}

/* append_batch(batch bytea) -> rows of (request, part, sqlstate, positions, versions, message, match) */
Datum
millrace_append_batch(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	AppendRequest *requests;
	AppendDoubt doubt;
	int nrequests;

	requests = ReadBatch(PG_GETARG_BYTEA_PP(0), &nrequests, &doubt);
	AppendRequests(requests, nrequests, doubt);
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

/* ---- verdicts packed ------------------------------------------------------------------------------- */

static void
PackAppended(StringInfo out, const AppendRequest *request)
{
	pq_sendint32(out, request->nparts);
	for (int i = 0; i < request->nparts; i++)
	{
		const AppendPart *part = &request->parts[i];
		const AppendMessage *first = &part->messages[0];
		const AppendMessage *last = &part->messages[part->nmessages - 1];

		pq_sendint64(out, first->position);
		pq_sendint64(out, last->position);
		pq_sendint64(out, first->global_position);
		pq_sendint64(out, last->global_position);
	}
}

static void
PackString(StringInfo out, const char *string)
{
	char *utf8 = pg_server_to_any(string, (int)strlen(string), PG_UTF8);
	int len = (int)strlen(utf8);

	pq_sendint32(out, len);
	pq_sendbytes(out, utf8, len + 1);
}

static void
PackRefused(StringInfo out, const AppendVerdict *verdict)
{
	pq_sendint32(out, 0);
	pq_sendbytes(out, unpack_sql_state(verdict->sqlerrcode), SQLSTATE_LEN);
	pq_sendint32(out, verdict->part);
	pq_sendint64(out, verdict->expected);
	pq_sendint64(out, verdict->actual);
	PackString(out, verdict->message);
	if (verdict->sqlerrcode == ERRCODE_MILLRACE_APPEND_CONDITION_FAILED)
	{
		PackString(out, verdict->stream);
		PackString(out, verdict->type);
	}
}

/* append_batch_packed(batch bytea) -> verdicts */
Datum
millrace_append_batch_packed(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	AppendRequest *requests;
	AppendDoubt doubt;
	int nrequests;

	requests = ReadBatch(PG_GETARG_BYTEA_PP(0), &nrequests, &doubt);
	AppendRequests(requests, nrequests, doubt);
	pq_begintypsend(&out);
	pq_sendint8(&out, VERDICTS_VERSION);
	pq_sendint32(&out, nrequests);
	for (int i = 0; i < nrequests; i++)
	{
		if (requests[i].verdict.sqlerrcode != 0)
			PackRefused(&out, &requests[i].verdict);
		else
			PackAppended(&out, &requests[i]);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}
