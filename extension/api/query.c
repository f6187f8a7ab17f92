/*
 * query.c: read_query(), query_head(), query_matches(): messages by types and tags.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "api/read.h"
#include "core/query_read.h"
#include "json/out.h"

PG_FUNCTION_INFO_V1(millrace_read_query);
PG_FUNCTION_INFO_V1(millrace_query_head);
PG_FUNCTION_INFO_V1(millrace_query_matches);
PG_FUNCTION_INFO_V1(millrace_json_read_query);

extern Datum millrace_read_query(PG_FUNCTION_ARGS);
extern Datum millrace_query_head(PG_FUNCTION_ARGS);
extern Datum millrace_query_matches(PG_FUNCTION_ARGS);
extern Datum millrace_json_read_query(PG_FUNCTION_ARGS);

static TagQuery *
ArgQuery(FunctionCallInfo fcinfo, int arg)
{
	CheckNotNull(PG_ARGISNULL(arg), "query");
	return QueryRead(PG_GETARG_JSONB_P(arg), "query");
}

/* NULL, too, where the function has no such argument: its extension in the catalogue is 0.1.0. */
const TagQuery *
ArgQueryOrNull(FunctionCallInfo fcinfo, int arg)
{
	return PG_NARGS() > arg && !PG_ARGISNULL(arg) ? ArgQuery(fcinfo, arg) : NULL;
}

/* Its arguments are a query, a position, a batch size, and where `direction` says a direction. */
static QueryRequest
ArgQueryRequest(FunctionCallInfo fcinfo, int query, int direction)
{
	ReadRequest read = {.kind = READ_ALL};

	ArgDirection(fcinfo, direction, &read);
	return (QueryRequest){
		.query = ArgQuery(fcinfo, query),
		.backward = read.backward,
		.position = ArgPosition(fcinfo, query + 1, &read),
		.limit = ArgBatchSize(fcinfo, query + 2),
	};
}

/* read_query(query, position, batch_size, direction, namespace) -> messages */
Datum
millrace_read_query(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBeginOf(fcinfo, message_row_types, MESSAGE_COLUMNS);
	QueryRequest request = ArgQueryRequest(fcinfo, 0, 3);
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 4, SelectedNamespace()), STORE_READ);

	(void)QueryReadMessages(store, &request, PutMessageRow, set, NULL);
	StoreClose(store);
	return (Datum)0;
}

/* query_head(query, namespace) -> what a condition on the query is to be after */
Datum
millrace_query_head(PG_FUNCTION_ARGS)
{
	TagQuery *query = ArgQuery(fcinfo, 0);
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 1, SelectedNamespace()), STORE_READ);
	int64 head = QueryHead(store, query);

	StoreClose(store);
	PG_RETURN_INT64(head);
}

/* query_matches(query, type, metadata) -> whether such a message is one of the query's */
Datum
millrace_query_matches(PG_FUNCTION_ARGS)
{
	TagQuery *query = ArgQuery(fcinfo, 0);
	text *type = ArgTextOrNull(fcinfo, 1);

	PG_RETURN_BOOL(QueryMatches(query, type ? SliceOfText(type) : (Slice){"", 0},
								PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2)));
}

/* ---- for the program ------------------------------------------------------------------------------- */

typedef struct QueryPage
{
	StringInfoData text;
	int max_bytes;
	int64 count;
	int64 last;
} QueryPage;

static bool
WriteMessage(void *arg, const Message *message)
{
	QueryPage *page = arg;

	if (page->text.len > VARHDRSZ)
		appendStringInfoCharMacro(&page->text, ',');
	JsonAppendMessage(&page->text, message, true);
	page->count++;
	page->last = message->global_position;
	return page->text.len < page->max_bytes;
}

/*
 * json_read_query(namespace, query, position, batch_size, max_bytes, direction) -> (body, count,
 * next_position, head, more): a page of messages as JSON text, where the next one begins unless batch_size
 * or the end was reached, the head as of this page, and whether there may be more behind batch_size.
 */
Datum
millrace_json_read_query(PG_FUNCTION_ARGS)
{
	QueryRequest request = ArgQueryRequest(fcinfo, 1, 5);
	QueryPage page = {0};
	Store *store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	Datum values[5];
	bool isnull[5] = {false};
	bool more;
	int64 head;

	CheckNotNull(PG_ARGISNULL(4), "max_bytes");
	page.max_bytes = PG_GETARG_INT32(4);
	TextBegin(&page.text);
	head = QueryReadMessages(store, &request, WriteMessage, &page, &more);
	StoreClose(store);
	values[0] = PointerGetDatum(TextEnd(&page.text));
	values[1] = Int64GetDatum(page.count);
	values[2] = Int64GetDatum(request.backward ? page.last - 1 : PositionBehind(page.last));
	isnull[2] = !more || page.count == request.limit;
	values[3] = Int64GetDatum(head);
	values[4] = BoolGetDatum(more);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
