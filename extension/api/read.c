/*
 * read.c: read_stream(), read_category(), read_all(), last_message(), get_message(), stream_version(),
 * head(), position_at(), list_streams(): rows for SQL.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "api/api.h"
#include "api/read.h"
#include "base/errors.h"
#include "core/read.h"
#include "json/out.h"
#include "retention/removals.h"

PG_FUNCTION_INFO_V1(millrace_read_stream);
PG_FUNCTION_INFO_V1(millrace_read_category);
PG_FUNCTION_INFO_V1(millrace_read_all);
PG_FUNCTION_INFO_V1(millrace_last_message);
PG_FUNCTION_INFO_V1(millrace_get_message);
PG_FUNCTION_INFO_V1(millrace_stream_version);
PG_FUNCTION_INFO_V1(millrace_head);
PG_FUNCTION_INFO_V1(millrace_position_at);
PG_FUNCTION_INFO_V1(millrace_list_streams);

extern Datum millrace_read_stream(PG_FUNCTION_ARGS);
extern Datum millrace_read_category(PG_FUNCTION_ARGS);
extern Datum millrace_read_all(PG_FUNCTION_ARGS);
extern Datum millrace_last_message(PG_FUNCTION_ARGS);
extern Datum millrace_get_message(PG_FUNCTION_ARGS);
extern Datum millrace_stream_version(PG_FUNCTION_ARGS);
extern Datum millrace_head(PG_FUNCTION_ARGS);
extern Datum millrace_position_at(PG_FUNCTION_ARGS);
extern Datum millrace_list_streams(PG_FUNCTION_ARGS);

/* ---- arguments shared with api/json.c -------------------------------------------------------------- */

/* How many messages are read: -1 all, 0 none, NULL the default.  Errors: MR009. */
int64
ArgBatchSize(FunctionCallInfo fcinfo, int arg)
{
	int64 size = ArgInt64(fcinfo, arg, DEFAULT_BATCH_SIZE);

	if (size < NO_LIMIT)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("batch_size " INT64_FORMAT " is out of range", size),
						errhint("It is a number of messages, or -1 for all.")));
	return size;
}

/*
 * In which direction messages are read: 'forward', also without the argument, or 'backward', from the newest
 * on.  Errors: MR005 for NULL, MR009 for another word.
 */
void
ArgDirection(FunctionCallInfo fcinfo, int arg, ReadRequest *request)
{
	char *direction;

	if (arg >= PG_NARGS()) /* functions of 0.1.0 have none */
		return;
	CheckNotNull(PG_ARGISNULL(arg), "direction");
	direction = text_to_cstring(PG_GETARG_TEXT_PP(arg));
	request->backward = strcmp(direction, "backward") == 0;
	if (!request->backward && strcmp(direction, "forward") != 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("direction \"%s\" is neither \"forward\" nor \"backward\"", direction)));
	if (request->backward)
		request->global_position = LAST_POSITION;
}

/* The position of the first message wanted, backward of the last; NULL: of the first or last there is. */
int64
ArgPosition(FunctionCallInfo fcinfo, int arg, const ReadRequest *request)
{
	if (request->backward)
		return ArgInt64(fcinfo, arg, LAST_POSITION);
	return ArgInt64(fcinfo, arg, request->kind == READ_STREAM ? 0 : 1);
}

/* An array of texts, none of them NULL (MR005); NULL leaves *texts NULL. */
void
ArgTexts(FunctionCallInfo fcinfo, int arg, const char *what, text ***texts, int *ntexts)
{
	Datum *elements;
	bool *isnull;

	if (PG_ARGISNULL(arg))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT, &elements, &isnull,
					  ntexts);
	*texts = palloc(sizeof(text *) * (*ntexts + 1));
	for (int i = 0; i < *ntexts; i++)
	{
		CheckNotNull(isnull[i], psprintf("%s[%d]", what, i + 1));
		(*texts)[i] = DatumGetTextPP(elements[i]);
	}
}

/* The types that are wanted; NULL: any. */
void
ArgTypes(FunctionCallInfo fcinfo, int arg, ReadRequest *request)
{
	ArgTexts(fcinfo, arg, "types", &request->types, &request->ntypes);
}

static void
RefuseGroup(ReadRequest *request, const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("%s (consumer_group_member " INT64_FORMAT
																   ", consumer_group_size " INT64_FORMAT ")",
																   problem, request->member, request->size)));
}

/* A consumer group: both or neither (MR005) of member and size, or MR009. */
void
ArgConsumerGroup(FunctionCallInfo fcinfo, int member, int size, ReadRequest *request)
{
	if (PG_ARGISNULL(member) && PG_ARGISNULL(size))
		return;
	if (PG_ARGISNULL(member) || PG_ARGISNULL(size))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NULL_ARGUMENT),
						errmsg("consumer_group_member and consumer_group_size must be given together")));
	request->member = PG_GETARG_INT64(member);
	request->size = PG_GETARG_INT64(size);
	if (request->size < 1)
		RefuseGroup(request, "consumer_group_size must be at least 1");
	if (request->member < 0)
		RefuseGroup(request, "consumer_group_member must not be negative");
	if (request->member >= request->size)
		RefuseGroup(request, "consumer_group_member must be less than consumer_group_size");
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

/* Makes a row of the type millrace.message. */
static void
MessageAsRow(const Message *message, Datum *values, bool *isnull)
{
	memset(isnull, false, MESSAGE_COLUMNS * sizeof(bool));
	values[0] = UUIDPGetDatum(message->id);
	values[1] = PointerGetDatum(message->stream_text);
	values[2] = PointerGetDatum(message->type_text);
	values[3] = Int64GetDatum(message->position);
	values[4] = Int64GetDatum(message->global_position);
	values[5] = PointerGetDatum(message->data);
	values[6] = PointerGetDatum(message->metadata);
	values[7] =
		TimestampTzGetDatum((TimestampTz)message->time); /* a UTC timestamp has a timestamptz's value */
	isnull[5] = message->data == NULL;
	isnull[6] = message->metadata == NULL;
}

typedef struct RowSink
{
	ResultSet *set;
	const MessageFunction *function;
} RowSink;

static bool
PutRow(void *arg, const Message *message)
{
	RowSink *sink = arg;
	Datum values[MESSAGE_COLUMNS];
	bool isnull[MESSAGE_COLUMNS];

	sink->function->row(message, values, isnull);
	ResultSetPut(sink->set, values, isnull);
	return true;
}

/* The snapshot that the function reads with; a fresh one sees all that this transaction wrote. */
Snapshot
MessageFunctionSnapshot(const MessageFunction *function)
{
	if (!function->fresh_snapshot)
		return GetActiveSnapshot();
	CommandCounterIncrement();
	return GetTransactionSnapshot();
}

/* Runs the function to its end into a tuplestore. */
Datum
MessageFunctionCall(const MessageFunction *function, FunctionCallInfo fcinfo)
{
	RowSink sink = {ResultSetBeginOf(fcinfo, function->types, MESSAGE_COLUMNS), function};
	ReadRequest request = {0};
	Store *store = function->begin(fcinfo, &request, SelectedNamespace());

	if (function->fresh_snapshot)
		PushActiveSnapshot(MessageFunctionSnapshot(function));
	(void)ReadMessages(store, &request, PutRow, &sink);
	if (function->fresh_snapshot)
		PopActiveSnapshot();
	StoreClose(store);
	return (Datum)0;
}

/* How many columns its rows have. */
int
MessageFunctionColumns(const MessageFunction *function)
{
	int columns = 0;

	while (columns < MESSAGE_COLUMNS && OidIsValid(function->types[columns]))
		columns++;
	return columns;
}

/* Makes the row of a function whose row is a page. */
void
PageFunctionRow(const MessageFunction *function, FunctionCallInfo fcinfo, Datum *values, bool *isnull)
{
	StringInfoData text_form;

	memset(isnull, false, MessageFunctionColumns(function) * sizeof(bool));
	TextBegin(&text_form);
	function->page(fcinfo, &text_form, values, isnull);
	values[0] = PointerGetDatum(TextEnd(&text_form));
}

/* The row type millrace.message. */
#define MESSAGE_TYPES                                                                                        \
	{                                                                                                        \
		UUIDOID, TEXTOID, TEXTOID, INT8OID, INT8OID, JSONBOID, JSONBOID, TIMESTAMPTZOID                      \
	}

static Store *
BeginReadStream(FunctionCallInfo fcinfo, ReadRequest *request, const char *selected)
{
	request->kind = READ_STREAM;
	request->name = ArgName(fcinfo, 0, "stream");
	ArgDirection(fcinfo, 5, request);
	request->position = ArgPosition(fcinfo, 1, request);
	request->limit = ArgBatchSize(fcinfo, 2);
	ArgTypes(fcinfo, 3, request);
	return StoreOpen(ArgNamespaceOr(fcinfo, 4, selected), STORE_READ);
}

static const MessageFunction read_stream = {
	.address = millrace_read_stream,
	.begin = BeginReadStream,
	.row = MessageAsRow,
	.types = MESSAGE_TYPES,
	.limit_argument = 2,
	.other_argument = -1,
};

/* read_stream(stream, position, batch_size, types, namespace, direction) */
Datum
millrace_read_stream(PG_FUNCTION_ARGS)
{
	return MessageFunctionCall(&read_stream, fcinfo);
}

/*
 * A name with a dash is no message's category.  To ask for one is a mistake that looks like success, so
 * there is a notice, once in a session.
 */
void
NoticeDash(text *name)
{
	static bool noticed = false;
	Slice slice = SliceOfText(name);
	Slice category = NameCategory(slice);

	if (noticed || category.len == slice.len)
		return;
	noticed = true;
	ereport(NOTICE, (errmsg("\"%s\" is the name of a stream; no message is of such a category",
							text_to_cstring(name)),
					 errhint("A category is what stands before the first dash, here \"%.*s\"; "
							 "millrace.read_stream() reads a stream.",
							 category.len, category.bytes)));
}

static Store *
BeginReadCategory(FunctionCallInfo fcinfo, ReadRequest *request, const char *selected)
{
	request->kind = READ_CATEGORY;
	CheckNotNull(PG_ARGISNULL(0), "category");
	request->name = PG_GETARG_TEXT_PP(0); /* '' is the category of -x */
	ArgDirection(fcinfo, 8, request);
	request->position = ArgPosition(fcinfo, 1, request);
	request->limit = ArgBatchSize(fcinfo, 2);
	request->correlation = ArgTextOrNull(fcinfo, 3);
	ArgConsumerGroup(fcinfo, 4, 5, request);
	ArgTypes(fcinfo, 6, request);
	NoticeDash(request->name);
	if (request->correlation)
		NoticeDash(request->correlation);
	return StoreOpen(ArgNamespaceOr(fcinfo, 7, selected), STORE_READ);
}

static const MessageFunction read_category = {
	.address = millrace_read_category,
	.begin = BeginReadCategory,
	.row = MessageAsRow,
	.types = MESSAGE_TYPES,
	.limit_argument = 2,
	.other_argument = -1,
};

/*
 * read_category(category, position, batch_size, correlation, consumer_group_member, consumer_group_size,
 * types, namespace, direction)
 */
Datum
millrace_read_category(PG_FUNCTION_ARGS)
{
	return MessageFunctionCall(&read_category, fcinfo);
}

static Store *
BeginReadAll(FunctionCallInfo fcinfo, ReadRequest *request, const char *selected)
{
	request->kind = READ_ALL;
	ArgDirection(fcinfo, 4, request);
	request->position = ArgPosition(fcinfo, 0, request);
	request->limit = ArgBatchSize(fcinfo, 1);
	ArgTypes(fcinfo, 2, request);
	return StoreOpen(ArgNamespaceOr(fcinfo, 3, selected), STORE_READ);
}

static const MessageFunction read_all = {
	.address = millrace_read_all,
	.begin = BeginReadAll,
	.row = MessageAsRow,
	.types = MESSAGE_TYPES,
	.limit_argument = 1,
	.other_argument = -1,
};

/* read_all(position, batch_size, types, namespace, direction) */
Datum
millrace_read_all(PG_FUNCTION_ARGS)
{
	return MessageFunctionCall(&read_all, fcinfo);
}

const Oid message_row_types[] = MESSAGE_TYPES;
const MessageFunction *const read_functions[] = {&read_stream, &read_category, &read_all, NULL};

/* Sink: puts a message into the result set that is its argument. */
bool
PutMessageRow(void *arg, const Message *message)
{
	Datum values[MESSAGE_COLUMNS];
	bool isnull[MESSAGE_COLUMNS];

	MessageAsRow(message, values, isnull);
	ResultSetPut(arg, values, isnull);
	return true;
}

/* last_message(stream, type, namespace) -> no row or one */
Datum
millrace_last_message(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBeginOf(fcinfo, message_row_types, MESSAGE_COLUMNS);
	text *stream = ArgName(fcinfo, 0, "stream");
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 2, SelectedNamespace()), STORE_READ);

	(void)ReadLastMessage(store, stream, ArgTextOrNull(fcinfo, 1), PutMessageRow, set);
	StoreClose(store);
	return (Datum)0;
}

/* get_message(id, namespace) -> no row or one */
Datum
millrace_get_message(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBeginOf(fcinfo, message_row_types, MESSAGE_COLUMNS);
	Store *store;

	CheckNotNull(PG_ARGISNULL(0), "id");
	store = StoreOpen(ArgNamespaceOr(fcinfo, 1, SelectedNamespace()), STORE_READ);
	(void)ReadMessageById(store, PG_GETARG_UUID_P(0), PutMessageRow, set);
	StoreClose(store);
	return (Datum)0;
}

/* stream_version(stream, namespace) -> the position of its last message, NULL when there is no such stream */
Datum
millrace_stream_version(PG_FUNCTION_ARGS)
{
	text *stream = ArgName(fcinfo, 0, "stream");
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 1, SelectedNamespace()), STORE_READ);
	int64 version = ReadStreamVersion(store, stream);

	StoreClose(store);
	if (version <= NO_STREAM)
		PG_RETURN_NULL();
	PG_RETURN_INT64(version);
}

/* head(namespace) -> the global position of the last message, if it was removed, too; 0: there was none */
Datum
millrace_head(PG_FUNCTION_ARGS)
{
	const char *namespace_name = ArgNamespaceOr(fcinfo, 0, SelectedNamespace());
	Store *store = StoreOpen(namespace_name, STORE_READ);
	int64 head = RemovalsEnd(namespace_name, ReadLastPosition(store));

	StoreClose(store);
	PG_RETURN_INT64(head);
}

/* position_at(time, namespace) -> the global position from which on messages are of that time or later */
Datum
millrace_position_at(PG_FUNCTION_ARGS)
{
	const char *namespace_name;
	Store *store;
	int64 head, position;

	CheckNotNull(PG_ARGISNULL(0), "time");
	namespace_name = ArgNamespaceOr(fcinfo, 1, SelectedNamespace());
	store = StoreOpen(namespace_name, STORE_READ);
	head = RemovalsEnd(namespace_name, ReadLastPosition(store));
	position = ReadPositionAt(store, (Timestamp)PG_GETARG_TIMESTAMPTZ(0), head);
	StoreClose(store);
	PG_RETURN_INT64(position);
}

static void
PutStream(void *arg, text *stream, int64 version, Timestamp last_activity)
{
	Datum values[3];
	bool isnull[3] = {false};

	values[0] = PointerGetDatum(stream);
	values[1] = Int64GetDatum(version);
	values[2] = TimestampTzGetDatum((TimestampTz)last_activity);
	ResultSetPut(arg, values, isnull);
}

/* list_streams(prefix, max_rows, after, namespace) */
Datum
millrace_list_streams(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 3, SelectedNamespace()), STORE_READ);

	ReadStreamNames(store, ArgPrefix(fcinfo, 0), ArgTextOrNull(fcinfo, 2), ArgMaxRows(fcinfo, 1), PutStream,
					set);
	StoreClose(store);
	return (Datum)0;
}

/* The beginning of names; NULL: any. */
text *
ArgPrefix(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? cstring_to_text("") : PG_GETARG_TEXT_PP(arg);
}

/* How many rows a list may have; NULL: the default.  Errors: MR009. */
int64
ArgMaxRows(FunctionCallInfo fcinfo, int arg)
{
	int64 rows = ArgInt64(fcinfo, arg, DEFAULT_MAX_ROWS);

	if (rows < 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("max_rows " INT64_FORMAT " is out of range", rows)));
	return rows;
}
