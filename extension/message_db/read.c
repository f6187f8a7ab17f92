/*
 * read.c: Message DB's functions that read.
 *
 * Without a condition they are reads as any other, also as plan nodes in FROM (scan/scan.c); a condition goes
 * through SQL (condition.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "json/out.h"
#include "message_db/message_db.h"

PG_FUNCTION_INFO_V1(millrace_mdb_get_stream_messages);
PG_FUNCTION_INFO_V1(millrace_mdb_get_category_messages);
PG_FUNCTION_INFO_V1(millrace_mdb_get_last_stream_message);
PG_FUNCTION_INFO_V1(millrace_mdb_stream_version);

extern Datum millrace_mdb_get_stream_messages(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_get_category_messages(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_get_last_stream_message(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_stream_version(PG_FUNCTION_ARGS);

/* ---- rows ---------------------------------------------------------------------------------------------- */

/* The row type message_store.message. */
#define MESSAGE_TYPES                                                                                        \
	{                                                                                                        \
		VARCHAROID, VARCHAROID, VARCHAROID, INT8OID, INT8OID, VARCHAROID, VARCHAROID, TIMESTAMPOID           \
	}

static const Oid message_types[MESSAGE_COLUMNS] = MESSAGE_TYPES;

/* A text datum of a jsonb's text; NULL for NULL. */
static text *
JsonbText(Jsonb *value)
{
	StringInfoData out;

	if (!value)
		return NULL;
	TextBegin(&out);
	JsonAppendJsonb(&out, value);
	return TextEnd(&out);
}

/* Makes a row of the type message_store.message, which is text but for positions and time. */
static void
MessageRow(const Message *message, Datum *values, bool *isnull)
{
	char id[UUID_TEXT_LEN];

	memset(isnull, false, MESSAGE_COLUMNS * sizeof(bool));
	UuidToText(message->id, id);
	values[0] = PointerGetDatum(cstring_to_text_with_len(id, sizeof(id)));
	values[1] = PointerGetDatum(message->stream_text);
	values[2] = PointerGetDatum(message->type_text);
	values[3] = Int64GetDatum(message->position);
	values[4] = Int64GetDatum(message->global_position);
	values[5] = PointerGetDatum(JsonbText(message->data));
	values[6] = PointerGetDatum(JsonbText(message->metadata));
	values[7] = TimestampGetDatum(message->time);
	isnull[5] = message->data == NULL;
	isnull[6] = message->metadata == NULL;
}

/* Sink: puts the row. */
static bool
PutMessage(void *arg, const Message *message)
{
	Datum values[MESSAGE_COLUMNS];
	bool isnull[MESSAGE_COLUMNS];

	MessageRow(message, values, isnull);
	ResultSetPut(arg, values, isnull);
	return true;
}

/* ---- what both reads check ----------------------------------------------------------------------------- */

static void
RaiseException(const char *text_form)
{
	ereport(ERROR, (errcode(ERRCODE_RAISE_EXCEPTION), errmsg_internal("%s", text_form)));
}

/* A condition is refused unless the setting is there and not 'off': anything else activates it. */
static void
CheckConditionActivated(bool given)
{
	const char *setting;

	if (!given)
		return;
	setting = GetConfigOptionByName("message_store.sql_condition", NULL, true);
	if (!setting || strcmp(setting, "off") == 0)
		RaiseException("Retrieval with SQL condition is not activated");
}

static int64
ArgLimit(FunctionCallInfo fcinfo, int arg)
{
	return ArgInt64(fcinfo, arg, DEFAULT_BATCH_SIZE);
}

/* Raised where Message DB's query would raise it: when it runs. */
static void
CheckLimit(int64 limit)
{
	if (limit < NO_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE), errmsg("LIMIT must not be negative")));
}

/* Runs a read with a condition, which goes through SQL, and returns its rows. */
static void
RunCondition(FunctionCallInfo fcinfo, ReadRequest *request, const char *command)
{
	ResultSet *set = ResultSetBeginOf(fcinfo, message_types, MESSAGE_COLUMNS);
	Store *store = MessageDbOpen(fcinfo, STORE_READ);

	MessageDbPushSnapshot();
	MessageDbReadBySql(store, request, command, set);
	PopActiveSnapshot();
	StoreClose(store);
}

/* Opens the table for a read that goes straight to the index. */
static Store *
BeginDirectRead(FunctionCallInfo fcinfo, const ReadRequest *request)
{
	Store *store = MessageDbOpen(fcinfo, STORE_READ);

	CheckLimit(request->limit);
	return store;
}

/* ---- a stream's messages ------------------------------------------------------------------------------- */

static void
StreamNotices(FunctionCallInfo fcinfo, ReadRequest *request, const char *command)
{
	if (!MessageDbDebug("message_store.debug_get"))
		return;
	ereport(NOTICE, (errmsg_internal("» get_stream_messages")));
	MessageDbNotice("stream_name ($1)", MessageDbArgText(fcinfo, 0));
	MessageDbNotice("position ($2)", MessageDbInt64Text(request->position));
	MessageDbNotice("batch_size ($3)", MessageDbInt64Text(request->limit));
	MessageDbNotice("condition ($4)", MessageDbArgText(fcinfo, 3));
	if (command)
		MessageDbNotice("Generated Command", command);
}

/*
 * Checks the arguments and describes the read; returns the command to run instead when there is a condition.
 */
static char *
DescribeStreamRead(FunctionCallInfo fcinfo, ReadRequest *request)
{
	char *command = NULL;

	request->kind = READ_STREAM;
	request->global_position = PG_INT64_MIN;
	if (PG_ARGISNULL(0) || !MessageDbHasDash(PG_GETARG_TEXT_PP(0)))
		RaiseException(
			psprintf("Must be a stream name: %s", PG_ARGISNULL(0) ? "<NULL>" : MessageDbArgText(fcinfo, 0)));
	request->name = PG_GETARG_TEXT_PP(0);
	request->position = ArgInt64(fcinfo, 1, 0);
	request->limit = ArgLimit(fcinfo, 2);
	CheckConditionActivated(!PG_ARGISNULL(3));
	if (!PG_ARGISNULL(3))
		command = MessageDbCommand(MessageDbSchema(fcinfo), request, MessageDbArgText(fcinfo, 3));
	StreamNotices(fcinfo, request, command);
	return command;
}

static Store *
BeginStreamRead(FunctionCallInfo fcinfo, ReadRequest *request, const char *selected)
{
	(void)DescribeStreamRead(fcinfo, request);
	return BeginDirectRead(fcinfo, request);
}

static const MessageFunction get_stream_messages = {
	.address = millrace_mdb_get_stream_messages,
	.begin = BeginStreamRead,
	.row = MessageRow,
	.types = MESSAGE_TYPES,
	.fresh_snapshot = true,
	.limit_argument = 2,
	.other_argument = 3,
};

/* get_stream_messages(stream_name, position, batch_size, condition) -> messages */
Datum
millrace_mdb_get_stream_messages(PG_FUNCTION_ARGS)
{
	ReadRequest request = {0};

	if (PG_ARGISNULL(3))
		return MessageFunctionCall(&get_stream_messages, fcinfo);
	RunCondition(fcinfo, &request, DescribeStreamRead(fcinfo, &request));
	return (Datum)0;
}

/* ---- a category's messages ----------------------------------------------------------------------------- */

static void
RaiseGroup(FunctionCallInfo fcinfo, const char *problem)
{
	const char *member = MessageDbArgInt64Text(fcinfo, 4);
	const char *size = MessageDbArgInt64Text(fcinfo, 5);

	RaiseException(psprintf("%s (Consumer Group Member: %s, Consumer Group Size: %s)", problem,
							member ? member : "<NULL>", size ? size : "<NULL>"));
}

static void
SetGroup(FunctionCallInfo fcinfo, ReadRequest *request)
{
	if (PG_ARGISNULL(4) && PG_ARGISNULL(5))
		return;
	if (PG_ARGISNULL(4) || PG_ARGISNULL(5))
		RaiseGroup(fcinfo, "Consumer group member and size must be specified");
	request->member = PG_GETARG_INT64(4);
	request->size = PG_GETARG_INT64(5);
	if (request->size < 1)
		RaiseGroup(fcinfo, "Consumer group size must not be less than 1");
	if (request->member < 0)
		RaiseGroup(fcinfo, "Consumer group member must not be less than 0");
	if (request->member >= request->size)
		RaiseGroup(fcinfo, "Consumer group member must be less than the group size");
}

static void
CategoryNotices(FunctionCallInfo fcinfo, ReadRequest *request, const char *command)
{
	if (!MessageDbDebug("message_store.debug_get"))
		return;
	ereport(NOTICE, (errmsg_internal("» get_category_messages")));
	MessageDbNotice("category ($1)", MessageDbArgText(fcinfo, 0));
	MessageDbNotice("position ($2)", MessageDbInt64Text(request->position));
	MessageDbNotice("batch_size ($3)", MessageDbInt64Text(request->limit));
	MessageDbNotice("correlation ($4)", MessageDbArgText(fcinfo, 3));
	MessageDbNotice("consumer_group_member ($5)", MessageDbArgInt64Text(fcinfo, 4));
	MessageDbNotice("consumer_group_size ($6)", MessageDbArgInt64Text(fcinfo, 5));
	MessageDbNotice("condition", MessageDbArgText(fcinfo, 6));
	if (command)
		MessageDbNotice("Generated Command", command);
}

/*
 * Checks the arguments and describes the read; returns the command to run instead when there is a condition.
 */
static char *
DescribeCategoryRead(FunctionCallInfo fcinfo, ReadRequest *request)
{
	char *command = NULL;

	request->kind = READ_CATEGORY;
	request->global_position = PG_INT64_MIN;
	request->name = ArgTextOrNull(fcinfo, 0);
	if (request->name && MessageDbHasDash(request->name))
		RaiseException(psprintf("Must be a category: %s", MessageDbArgText(fcinfo, 0)));
	request->position = ArgInt64(fcinfo, 1, 1);
	request->limit = ArgLimit(fcinfo, 2);
	request->correlation = ArgTextOrNull(fcinfo, 3);
	if (request->correlation && MessageDbHasDash(request->correlation))
		RaiseException(
			psprintf("Correlation must be a category (Correlation: %s)", MessageDbArgText(fcinfo, 3)));
	SetGroup(fcinfo, request);
	CheckConditionActivated(!PG_ARGISNULL(6));
	if (!PG_ARGISNULL(6))
		command = MessageDbCommand(MessageDbSchema(fcinfo), request, MessageDbArgText(fcinfo, 6));
	CategoryNotices(fcinfo, request, command);
	return command;
}

static Store *
BeginCategoryRead(FunctionCallInfo fcinfo, ReadRequest *request, const char *selected)
{
	(void)DescribeCategoryRead(fcinfo, request);
	return BeginDirectRead(fcinfo, request);
}

static const MessageFunction get_category_messages = {
	.address = millrace_mdb_get_category_messages,
	.begin = BeginCategoryRead,
	.row = MessageRow,
	.types = MESSAGE_TYPES,
	.fresh_snapshot = true,
	.limit_argument = 2,
	.other_argument = 6,
};

/* get_category_messages(category, position, batch_size, correlation, member, size, condition) -> messages */
Datum
millrace_mdb_get_category_messages(PG_FUNCTION_ARGS)
{
	ReadRequest request = {0};

	if (PG_ARGISNULL(6))
		return MessageFunctionCall(&get_category_messages, fcinfo);
	RunCondition(fcinfo, &request, DescribeCategoryRead(fcinfo, &request));
	return (Datum)0;
}

const MessageFunction *const message_db_functions[] = {&get_stream_messages, &get_category_messages, NULL};

/* ---- a stream's end ------------------------------------------------------------------------------------ */

/* get_last_stream_message(stream_name, type) -> no message or one */
Datum
millrace_mdb_get_last_stream_message(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBeginOf(fcinfo, message_types, MESSAGE_COLUMNS);
	Store *store = MessageDbOpen(fcinfo, STORE_READ);

	if (MessageDbDebug("message_store.debug_get"))
	{
		ereport(NOTICE, (errmsg_internal("» get_last_message")));
		MessageDbNotice("stream_name ($1)", MessageDbArgText(fcinfo, 0));
		MessageDbNotice("type ($2)", MessageDbArgText(fcinfo, 1));
	}
	MessageDbPushSnapshot();
	if (!PG_ARGISNULL(0))
		(void)ReadLastMessage(store, PG_GETARG_TEXT_PP(0), ArgTextOrNull(fcinfo, 1), PutMessage, set);
	PopActiveSnapshot();
	StoreClose(store);
	return (Datum)0;
}

/* stream_version(stream_name) -> the position of its last message, or NULL */
Datum
millrace_mdb_stream_version(PG_FUNCTION_ARGS)
{
	Store *store = MessageDbOpen(fcinfo, STORE_READ);
	int64 version = NO_STREAM;

	MessageDbPushSnapshot();
	if (!PG_ARGISNULL(0))
		version = ReadStreamVersion(store, PG_GETARG_TEXT_PP(0));
	PopActiveSnapshot();
	StoreClose(store);
	if (version == NO_STREAM)
		PG_RETURN_NULL();
	PG_RETURN_INT64(version);
}
