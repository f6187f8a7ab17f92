/*
 * recent.c: recent_streams(), list_types(): what the newest messages are of.
 *
 * Nothing keeps the streams in the order of their last messages.  So the newest messages are looked at, as
 * many as the caller allows, and a stream is listed where its last one is met: a call that goes on further
 * down lists none again.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "api/bounded.h"
#include "api/read.h"
#include "core/undecided.h"
#include "json/out.h"

PG_FUNCTION_INFO_V1(millrace_recent_streams);
PG_FUNCTION_INFO_V1(millrace_json_recent_streams);
PG_FUNCTION_INFO_V1(millrace_list_types);
PG_FUNCTION_INFO_V1(millrace_json_list_types);

extern Datum millrace_recent_streams(PG_FUNCTION_ARGS);
extern Datum millrace_json_recent_streams(PG_FUNCTION_ARGS);
extern Datum millrace_list_types(PG_FUNCTION_ARGS);
extern Datum millrace_json_list_types(PG_FUNCTION_ARGS);

/* ---- streams ----------------------------------------------------------------------------------------- */

typedef struct Recent
{
	HTAB *met;		 /* streams, with their last message or without */
	StoreScan *scan; /* of a stream */
	int64 readable;	 /* the highest global position */
	int64 left;		 /* to be listed */
	MessageSink sink;
	void *arg;
} Recent;

/* Says whether no later message of its stream is readable. */
static bool
IsLast(const Recent *recent, const Message *message)
{
	ScanKeyData keys[2];
	bool isnull;

	if (message->position == LAST_POSITION)
		return true;
	StoreTextKey(recent->scan, &keys[0], 1, BTEqualStrategyNumber, message->stream_text);
	StoreInt8Key(&keys[1], 2, BTGreaterEqualStrategyNumber, message->position + 1);
	StoreRescan(recent->scan, keys, 2);
	return !StoreScanNext(recent->scan, ForwardScanDirection) ||
		   DatumGetInt64(slot_getattr(recent->scan->slot, COLUMN_GLOBAL_POSITION, &isnull)) >
			   recent->readable;
}

/* Sink: hands the message on where it is its stream's last. */
static bool
TakeLast(void *arg, const Message *message)
{
	Recent *recent = arg;
	Message last;
	bool met;

	if (message->global_position > recent->readable)
		return true;
	(void)NameEntry(recent->met, message->stream, &met);
	if (met || !IsLast(recent, message))
		return true;
	last = *message;
	last.position = ReadRaiseToFloor(recent->scan->store, message->stream_text, message->position);
	(void)recent->sink(recent->arg, &last);
	return --recent->left > 0;
}

/* Hands the last message of each stream to the sink, from a position downwards. */
static ReadOutcome
ReadRecent(Store *store, ReadRequest *request, int64 max_rows, MessageSink sink, void *arg)
{
	Snapshot snapshot = GetActiveSnapshot();
	Recent recent = {.left = max_rows, .sink = sink, .arg = arg};
	ReadOutcome outcome;

	if (max_rows == 0)
		request->limit = 0;
	recent.met = NameTable(sizeof(Slice));
	recent.readable = DecidedTo(store, snapshot);
	recent.scan = StoreBeginScan(store, INDEX_STREAM, snapshot, 2);
	outcome = ReadMessages(store, request, TakeLast, &recent);
	StoreEndScan(recent.scan);
	hash_destroy(recent.met);
	return outcome;
}

static bool
PutStream(void *arg, const Message *message)
{
	Datum values[4] = {PointerGetDatum(message->stream_text), Int64GetDatum(message->position),
					   TimestampTzGetDatum((TimestampTz)message->time),
					   Int64GetDatum(message->global_position)};
	bool isnull[4] = {false};

	ResultSetPut(arg, values, isnull);
	return true;
}

/* recent_streams(max_rows, position, category, scan_limit, namespace) */
Datum
millrace_recent_streams(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	ReadRequest request = ArgNewest(fcinfo, 2, 1, 3);
	int64 max_rows = ArgMaxRows(fcinfo, 0);
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 4, SelectedNamespace()), STORE_READ);

	(void)ReadRecent(store, &request, max_rows, PutStream, set);
	StoreClose(store);
	return (Datum)0;
}

static bool
WriteStream(void *arg, const Message *message)
{
	StringInfo out = arg;

	appendStringInfoString(out, out->data[out->len - 1] == '[' ? "{\"stream\":" : ",{\"stream\":");
	JsonAppendString(out, message->stream);
	appendStringInfo(out, ",\"version\":" INT64_FORMAT ",\"lastActivity\":", message->position);
	JsonAppendTime(out, message->time);
	appendStringInfo(out, ",\"globalPosition\":" INT64_FORMAT "}", message->global_position);
	return true;
}

/*
 * json_recent_streams(namespace, max_rows, position, category, scan_limit) ->
 * {"streams":[{"stream","version","lastActivity","globalPosition"}...],"scanned","next"}
 */
Datum
millrace_json_recent_streams(PG_FUNCTION_ARGS)
{
	char *namespace_name = ArgNamespace(fcinfo, 0);
	ReadRequest request = ArgNewest(fcinfo, 3, 2, 4);
	int64 max_rows = ArgMaxRows(fcinfo, 1);
	Store *store = StoreOpen(namespace_name, STORE_READ);
	ReadOutcome outcome;
	StringInfoData out;

	TextBegin(&out);
	appendStringInfoString(&out, "{\"streams\":[");
	outcome = ReadRecent(store, &request, max_rows, WriteStream, &out);
	StoreClose(store);
	appendStringInfoString(&out, "],");
	JsonAppendBounds(&out, &request, &outcome);
	appendStringInfoChar(&out, '}');
	PG_RETURN_TEXT_P(TextEnd(&out));
}

/* ---- types ------------------------------------------------------------------------------------------- */

typedef struct TypeCount
{
	Slice type; /* hash key */
	int64 messages;
	int64 last; /* global position */
} TypeCount;

static bool
CountType(void *arg, const Message *message)
{
	bool found;
	TypeCount *type = NameEntry(arg, message->type, &found);

	if (!found)
	{
		type->messages = 0;
		type->last = message->global_position;
	}
	type->messages++;
	return true;
}

/* The most frequent first. */
static int
CompareCounts(const void *left, const void *right)
{
	const TypeCount *a = *(TypeCount *const *)left;
	const TypeCount *b = *(TypeCount *const *)right;

	if (a->messages != b->messages)
		return a->messages > b->messages ? -1 : 1;
	return SliceCompare(a->type, b->type);
}

/* Counts the types of the newest messages. */
static TypeCount **
ReadTypes(Store *store, const ReadRequest *request, ReadOutcome *outcome, int *ntypes)
{
	HTAB *types = NameTable(sizeof(TypeCount));
	HASH_SEQ_STATUS status;
	TypeCount **list, *type;

	*outcome = ReadMessages(store, request, CountType, types);
	list = palloc(sizeof(TypeCount *) * (hash_get_num_entries(types) + 1));
	*ntypes = 0;
	hash_seq_init(&status, types);
	while ((type = hash_seq_search(&status)) != NULL)
		list[(*ntypes)++] = type;
	qsort(list, *ntypes, sizeof(TypeCount *), CompareCounts);
	return list;
}

/* list_types(category, position, scan_limit, namespace) -> (type, message_count, last_global_position)... */
Datum
millrace_list_types(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	ReadRequest request = ArgNewest(fcinfo, 0, 1, 2);
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 3, SelectedNamespace()), STORE_READ);
	ReadOutcome outcome;
	int ntypes;
	TypeCount **types = ReadTypes(store, &request, &outcome, &ntypes);

	StoreClose(store);
	for (int i = 0; i < ntypes; i++)
	{
		text *type = cstring_to_text_with_len(types[i]->type.bytes, types[i]->type.len);
		Datum values[3] = {PointerGetDatum(type), Int64GetDatum(types[i]->messages),
						   Int64GetDatum(types[i]->last)};
		bool isnull[3] = {false};

		ResultSetPut(set, values, isnull);
	}
	return (Datum)0;
}

/*
 * json_list_types(namespace, category, position, scan_limit) ->
 * {"types":[{"type","messageCount","lastGlobalPosition"}...],"scanned","next"}
 */
Datum
millrace_json_list_types(PG_FUNCTION_ARGS)
{
	char *namespace_name = ArgNamespace(fcinfo, 0);
	ReadRequest request = ArgNewest(fcinfo, 1, 2, 3);
	Store *store = StoreOpen(namespace_name, STORE_READ);
	ReadOutcome outcome;
	int ntypes;
	TypeCount **types = ReadTypes(store, &request, &outcome, &ntypes);
	StringInfoData out;

	StoreClose(store);
	TextBegin(&out);
	appendStringInfoString(&out, "{\"types\":[");
	for (int i = 0; i < ntypes; i++)
	{
		appendStringInfoString(&out, i > 0 ? ",{\"type\":" : "{\"type\":");
		JsonAppendString(&out, types[i]->type);
		appendStringInfo(&out, ",\"messageCount\":" INT64_FORMAT ",\"lastGlobalPosition\":" INT64_FORMAT "}",
						 types[i]->messages, types[i]->last);
	}
	appendStringInfoString(&out, "],");
	JsonAppendBounds(&out, &request, &outcome);
	appendStringInfoChar(&out, '}');
	PG_RETURN_TEXT_P(TextEnd(&out));
}
