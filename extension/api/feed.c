/*
 * feed.c: what the program reads for subscriptions: finished server-sent events of one that catches up, and
 * rows for all that follow.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "api/read.h"
#include "json/out.h"
#include "core/read.h"
#include "retention/removals.h"

PG_FUNCTION_INFO_V1(millrace_read_pokes);
PG_FUNCTION_INFO_V1(millrace_read_feed);
PG_FUNCTION_INFO_V1(millrace_feed_head);

extern Datum millrace_read_pokes(PG_FUNCTION_ARGS);
extern Datum millrace_read_feed(PG_FUNCTION_ARGS);
extern Datum millrace_feed_head(PG_FUNCTION_ARGS);

typedef struct PokePage
{
	StringInfoData text;
	int max_bytes;
	bool by_position; /* else by global position */
	bool ids;
	bool messages;
	int64 count;
	int64 next;
} PokePage;

/* {"stream":S,"position":P,"globalPosition":G} */
static void
AppendPoke(StringInfo out, const Message *message)
{
	appendStringInfoString(out, "{\"stream\":");
	JsonAppendString(out, message->stream);
	appendStringInfoString(out, ",\"position\":");
	JsonAppendInt64(out, message->position);
	appendStringInfoString(out, ",\"globalPosition\":");
	JsonAppendInt64(out, message->global_position);
	appendStringInfoCharMacro(out, '}');
}

/* Sink: writes the event; says stop when the page is full. */
static bool
WritePoke(void *arg, const Message *message)
{
	PokePage *page = arg;
	StringInfo out = &page->text;
	int64 position = page->by_position ? message->position : message->global_position;

	if (position == LAST_POSITION)
		return true;
	if (page->ids)
	{
		appendStringInfoString(out, SSE_ID);
		JsonAppendInt64(out, message->global_position);
		appendStringInfoCharMacro(out, '\n');
	}
	appendStringInfoString(out,
						   page->messages ? SSE_EVENT SSE_MESSAGE SSE_DATA : SSE_EVENT SSE_POKE SSE_DATA);
	if (page->messages)
		JsonAppendMessage(out, message, true);
	else
		AppendPoke(out, message);
	appendBinaryStringInfo(out, SSE_END, strlen(SSE_END));
	page->count++;
	page->next = position + 1;
	return out->len < page->max_bytes;
}

static const char *
StateName(ReadEnd end)
{
	switch (end)
	{
		case READ_STOPPED:
			return POKES_MORE;
		case READ_UNDECIDED:
			return POKES_WAITING;
		default:
			return POKES_DONE;
	}
}

static void
SetSource(FunctionCallInfo fcinfo, int stream, int category, int query, ReadRequest *request)
{
	request->query = ArgQueryOrNull(fcinfo, query);
	request->kind = request->query ? READ_QUERY : READ_ALL;
	if (!PG_ARGISNULL(stream))
	{
		request->kind = READ_STREAM;
		request->name = ArgName(fcinfo, stream, "stream");
	}
	else if (!PG_ARGISNULL(category))
	{
		request->kind = READ_CATEGORY;
		request->name = PG_GETARG_TEXT_PP(category);
	}
}

/*
 * read_pokes(namespace, stream, category, position, below, member, size, ids, messages, max_bytes,
 * global_position, types, correlation, query) -> (body, count, next_position, state)
 */
Datum
millrace_read_pokes(PG_FUNCTION_ARGS)
{
	ReadRequest request = {.limit = NO_LIMIT};
	PokePage page = {0};
	char *namespace_name = ArgNamespace(fcinfo, 0);
	ReadOutcome outcome;
	Store *store;
	Datum values[4];
	bool isnull[4] = {false};

	SetSource(fcinfo, 1, 2, 13, &request);
	request.position = ArgInt64(fcinfo, 3, 0);
	request.below = ArgInt64(fcinfo, 4, 0);
	ArgConsumerGroup(fcinfo, 5, 6, &request);
	request.global_position = ArgInt64(fcinfo, 10, 0);
	if (PG_NARGS() > 11) /* else the extension in the catalogue is 0.1.0 */
	{
		ArgTypes(fcinfo, 11, &request);
		request.correlation = ArgTextOrNull(fcinfo, 12);
	}
	for (int arg = 7; arg <= 9; arg++)
		CheckNotNull(PG_ARGISNULL(arg), "ids, messages and max_bytes");
	page.by_position = request.kind == READ_STREAM;
	page.ids = PG_GETARG_BOOL(7);
	page.messages = PG_GETARG_BOOL(8);
	page.max_bytes = PG_GETARG_INT32(9);
	page.next = request.position;

	TextBegin(&page.text);
	store = StoreOpen(namespace_name, STORE_READ);
	outcome = ReadMessages(store, &request, WritePoke, &page);
	StoreClose(store);
	/* What was left out behind the last event need not be looked at again. */
	if (!page.by_position && outcome.last_global_position >= page.next)
		page.next = PositionBehind(outcome.last_global_position);
	values[0] = PointerGetDatum(TextEnd(&page.text));
	values[1] = Int64GetDatum(page.count);
	values[2] = Int64GetDatum(page.next);
	values[3] = CStringGetTextDatum(StateName(outcome.end));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}

typedef struct Feed
{
	ResultSet *set;
	bool messages;
	const TagQuery **queries; /* NULL: none */
	int nqueries;
	int *matching;
} Feed;

/* The numbers of the queries that a message matches, from 0 on, with a space behind each. */
static text *
FeedMatches(Feed *feed, const Message *message)
{
	StringInfoData out;
	int n = QueriesMatch(feed->queries, feed->nqueries, message->type, message->metadata, feed->matching);

	TextBegin(&out);
	for (int i = 0; i < n; i++)
	{
		JsonAppendInt64(&out, feed->matching[i]);
		appendStringInfoCharMacro(&out, ' ');
	}
	return TextEnd(&out);
}

static bool
PutFeedRow(void *arg, const Message *message)
{
	Feed *feed = arg;
	Datum values[6] = {0};
	bool isnull[6] = {false};
	StringInfoData out;

	if (message->global_position == LAST_POSITION)
		return true;
	TextBegin(&out);
	AppendPoke(&out, message);
	values[0] = PointerGetDatum(cstring_to_text_with_len(message->stream.bytes, message->stream.len));
	values[1] = Int64GetDatum(message->position);
	values[2] = Int64GetDatum(message->global_position);
	values[3] = PointerGetDatum(TextEnd(&out));
	isnull[4] = !feed->messages;
	if (feed->messages)
	{
		TextBegin(&out);
		JsonAppendMessage(&out, message, true);
		values[4] = PointerGetDatum(TextEnd(&out));
	}
	isnull[5] = !feed->queries;
	if (feed->queries)
		values[5] = PointerGetDatum(FeedMatches(feed, message));
	ResultSetPut(feed->set, values, isnull);
	return true;
}

/*
 * read_feed(namespace, position, max_rows, messages, queries) -> rows of (stream, position, global_position,
 * poke, message, matches)
 */
Datum
millrace_read_feed(PG_FUNCTION_ARGS)
{
	ReadRequest request = {.kind = READ_ALL};
	Feed feed = {.set = ResultSetBegin(fcinfo)};
	Store *store;

	request.position = ArgInt64(fcinfo, 1, 1);
	request.limit = PG_ARGISNULL(2) ? NO_LIMIT : PG_GETARG_INT32(2);
	feed.messages = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	if (PG_NARGS() > 4 && !PG_ARGISNULL(4)) /* the extension in the catalogue may be 0.1.0 */
	{
		feed.queries = QueriesRead(PG_GETARG_JSONB_P(4), "queries", &feed.nqueries);
		feed.matching = palloc(sizeof(int) * feed.nqueries);
	}
	store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	(void)ReadMessages(store, &request, PutFeedRow, &feed);
	StoreClose(store);
	return (Datum)0;
}

/*
 * feed_head(namespace) -> messages that appear from now on have at least this global position; removed ones
 * had lower ones
 */
Datum
millrace_feed_head(PG_FUNCTION_ARGS)
{
	const char *namespace_name = ArgNamespace(fcinfo, 0);
	Store *store = StoreOpen(namespace_name, STORE_READ);
	int64 head = ReadHead(store);

	StoreClose(store);
	PG_RETURN_INT64(PositionBehind(RemovalsEnd(namespace_name, head - 1)));
}
