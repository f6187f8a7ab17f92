/*
 * search.c: search_messages(): messages by type, time and one value in their JSON.
 *
 * No index has what is in a message.  So messages are looked at one after the other, as many as the caller
 * allows, and the answer says where to go on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "api/api.h"
#include "api/bounded.h"
#include "api/read.h"
#include "base/errors.h"
#include "json/out.h"

PG_FUNCTION_INFO_V1(millrace_search_messages);
PG_FUNCTION_INFO_V1(millrace_search_page);

extern Datum millrace_search_messages(PG_FUNCTION_ARGS);
extern Datum millrace_search_page(PG_FUNCTION_ARGS);

/* The arguments of both. */
enum
{
	ARG_TYPES,
	ARG_SINCE,
	ARG_UNTIL,
	ARG_PATH,
	ARG_VALUE,
	ARG_STREAM,
	ARG_CATEGORY,
	ARG_POSITION,
	ARG_DIRECTION,
	ARG_MAX_ROWS,
	ARG_SCAN_LIMIT,
	ARG_NAMESPACE
};

/* What an answer as JSON may have of messages, but for the last one. */
#define PAGE_BYTES (1024 * 1024)

/* A path is walked anew in each message. */
#define MAX_PATH_STEPS 1000

typedef struct Search
{
	ReadRequest request;
	Timestamp since, until;
	bool in_metadata;
	Datum path;	  /* in data or metadata, text[] */
	Jsonb *value; /* NULL: any */
	int64 left;	  /* to be found */
	ResultSet *set;
	StringInfo out; /* NULL: rows */
} Search;

/* ---- arguments --------------------------------------------------------------------------------------- */

/* Where the value is: path[1] says in what.  Errors: MR005, MR009. */
static void
ArgWhere(FunctionCallInfo fcinfo, Search *search)
{
	text **path;
	Datum *rest;
	int npath;
	char *in;

	if (PG_ARGISNULL(ARG_PATH) && PG_ARGISNULL(ARG_VALUE))
		return;
	CheckNotNull(PG_ARGISNULL(ARG_PATH), "path");
	CheckNotNull(PG_ARGISNULL(ARG_VALUE), "value");
	ArgTexts(fcinfo, ARG_PATH, "path", &path, &npath);
	in = npath > 0 ? text_to_cstring(path[0]) : "";
	search->in_metadata = strcmp(in, "metadata") == 0;
	if (!search->in_metadata && strcmp(in, "data") != 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("path begins with neither \"data\" nor \"metadata\": \"%s\"", in)));
	if (npath > MAX_PATH_STEPS)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("path has %d steps, of at most %d", npath, MAX_PATH_STEPS)));
	rest = palloc(sizeof(Datum) * npath);
	for (int i = 1; i < npath; i++)
		rest[i - 1] = PointerGetDatum(path[i]);
	search->path = PointerGetDatum(construct_array(rest, npath - 1, TEXTOID, -1, false, TYPALIGN_INT));
	search->value = PG_GETARG_JSONB_P(ARG_VALUE);
}

/* Which messages are looked at.  Of a stream the position is a global one, too. */
static void
ArgRange(FunctionCallInfo fcinfo, ReadRequest *request)
{
	if (!PG_ARGISNULL(ARG_STREAM) && !PG_ARGISNULL(ARG_CATEGORY))
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("stream and category exclude each other")));
	ArgDirection(fcinfo, ARG_DIRECTION, request);
	ArgCategory(fcinfo, ARG_CATEGORY, request);
	if (PG_ARGISNULL(ARG_STREAM))
	{
		request->position = ArgPosition(fcinfo, ARG_POSITION, request);
		return;
	}
	request->kind = READ_STREAM;
	request->name = ArgName(fcinfo, ARG_STREAM, "stream");
	request->position = request->backward ? LAST_POSITION : 0;
	request->global_position = ArgPosition(fcinfo, ARG_POSITION, request);
}

static void
ArgSearch(FunctionCallInfo fcinfo, Search *search)
{
	ReadRequest *request = &search->request;

	request->limit = NO_LIMIT;
	ArgTypes(fcinfo, ARG_TYPES, request);
	if (!PG_ARGISNULL(ARG_SINCE))
	{
		search->since = (Timestamp)PG_GETARG_TIMESTAMPTZ(ARG_SINCE);
		request->since = &search->since;
	}
	if (!PG_ARGISNULL(ARG_UNTIL))
	{
		search->until = (Timestamp)PG_GETARG_TIMESTAMPTZ(ARG_UNTIL);
		request->until = &search->until;
	}
	ArgWhere(fcinfo, search);
	ArgRange(fcinfo, request);
	ArgScanLimit(fcinfo, ARG_SCAN_LIMIT, request);
	search->left = ArgMaxRows(fcinfo, ARG_MAX_ROWS);
	if (search->left == 0)
		request->limit = 0;
}

/* ---- messages ---------------------------------------------------------------------------------------- */

/* Compares what #> finds with the value, numbers by what they are worth. */
static bool
HasValue(const Search *search, const Message *message)
{
	Jsonb *json = search->in_metadata ? message->metadata : message->data;
	LOCAL_FCINFO(call, 2);
	Datum found;

	if (!search->value)
		return true;
	if (!json)
		return false;
	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){PointerGetDatum(json), false};
	call->args[1] = (NullableDatum){search->path, false};
	found = jsonb_extract_path(call);
	return !call->isnull && compareJsonbContainers(&DatumGetJsonbP(found)->root, &search->value->root) == 0;
}

/* Sink: hands on what is searched for. */
static bool
TakeFound(void *arg, const Message *message)
{
	Search *search = arg;

	if (!HasValue(search, message))
		return true;
	search->left--;
	if (!search->out)
	{
		PutMessageRow(search->set, message);
		return search->left > 0;
	}
	if (search->out->data[search->out->len - 1] != '[')
		appendStringInfoChar(search->out, ',');
	JsonAppendMessage(search->out, message, true);
	return search->left > 0 && search->out->len < PAGE_BYTES;
}

static ReadOutcome
RunSearch(FunctionCallInfo fcinfo, Search *search)
{
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, ARG_NAMESPACE, SelectedNamespace()), STORE_READ);
	ReadOutcome outcome = ReadMessages(store, &search->request, TakeFound, search);

	StoreClose(store);
	return outcome;
}

/*
 * search_messages(types, since, until, path, value, stream, category, position, direction, max_rows,
 * scan_limit, namespace) -> messages
 */
Datum
millrace_search_messages(PG_FUNCTION_ARGS)
{
	Search search = {.set = ResultSetBeginOf(fcinfo, message_row_types, MESSAGE_COLUMNS)};

	ArgSearch(fcinfo, &search);
	(void)RunSearch(fcinfo, &search);
	return (Datum)0;
}

/* search_page(the same) -> {"messages":[...],"scanned","next","nextTime"} */
Datum
millrace_search_page(PG_FUNCTION_ARGS)
{
	Search search = {0};
	ReadOutcome outcome;
	StringInfoData out;
	int64 next;

	ArgSearch(fcinfo, &search);
	TextBegin(&out);
	search.out = &out;
	appendStringInfoString(&out, "{\"messages\":[");
	outcome = RunSearch(fcinfo, &search);
	appendStringInfoString(&out, "],");
	JsonAppendBounds(&out, &search.request, &outcome);
	appendStringInfoString(&out, ",\"nextTime\":");
	if (NextPosition(&search.request, &outcome, &next))
		JsonAppendTime(&out, outcome.last_time);
	else
		appendStringInfoString(&out, "null");
	appendStringInfoChar(&out, '}');
	PG_RETURN_TEXT_P(TextEnd(&out));
}
