/*
 * message_db.c: the functions of Message DB 1.3.0, with its signatures, results, error texts and SQLSTATEs.
 *
 * Each finds its table in the schema that the function itself lives in.  They are VOLATILE, as there, and
 * so see with a fresh snapshot what the calling statement has written.
 *
 * Where they differ from Message DB's (each a defect that no client can depend on): writers of a category
 * don't wait for each other, category reads obey the prefix rule, consumer groups may be larger than a
 * smallint, and a notice names a generated command only where one is generated.
 *
 * Source: the package @eventide/message-db 1.3.1, database/functions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "api/api.h"
#include "api/read.h"
#include "core/append.h"
#include "base/errors.h"
#include "json/out.h"
#include "message_db/message_db.h"
#include "core/read.h"

PG_FUNCTION_INFO_V1(millrace_mdb_write_message);
PG_FUNCTION_INFO_V1(millrace_mdb_get_stream_messages);
PG_FUNCTION_INFO_V1(millrace_mdb_get_category_messages);
PG_FUNCTION_INFO_V1(millrace_mdb_get_last_stream_message);
PG_FUNCTION_INFO_V1(millrace_mdb_stream_version);
PG_FUNCTION_INFO_V1(millrace_mdb_acquire_lock);
PG_FUNCTION_INFO_V1(millrace_mdb_is_category);
PG_FUNCTION_INFO_V1(millrace_mdb_version);

extern Datum millrace_mdb_write_message(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_get_stream_messages(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_get_category_messages(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_get_last_stream_message(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_stream_version(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_acquire_lock(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_is_category(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_version(PG_FUNCTION_ARGS);

/* ---- shared ---------------------------------------------------------------------------------------- */

static Oid
OwnSchema(FunctionCallInfo fcinfo)
{
	return get_func_namespace(fcinfo->flinfo->fn_oid);
}

static Store *
OpenOwnTable(FunctionCallInfo fcinfo, StoreMode mode)
{
	Store *store = StoreOpenSchema(OwnSchema(fcinfo), mode);

	if (!store)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"messages\" does not exist")));
	return store;
}

/*
 * What each statement of a volatile PL/pgSQL function gets: a snapshot of now, with all that this transaction
 * wrote.
 */
static void
PushFreshSnapshot(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static bool
SettingIsOn(const char *name)
{
	const char *value = GetConfigOptionByName(name, NULL, true);

	return value && strcmp(value, "on") == 0;
}

bool
MessageDbDebug(const char *setting)
{
	return SettingIsOn(setting) || SettingIsOn("message_store.debug");
}

/* A notice of one value, as RAISE NOTICE '%' prints it. */
void
MessageDbNotice(const char *label, const char *value)
{
	ereport(NOTICE, (errmsg_internal("%s: %s", label, value ? value : "<NULL>")));
}

static char *
ArgText(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static char *
ArgInt64Text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : psprintf(INT64_FORMAT, PG_GETARG_INT64(arg));
}

static char *
Int64Text(int64 value)
{
	return psprintf(INT64_FORMAT, value);
}

static char *
ArgJsonbText(FunctionCallInfo fcinfo, int arg)
{
	Jsonb *value;

	if (PG_ARGISNULL(arg))
		return NULL;
	value = PG_GETARG_JSONB_P(arg);
	return JsonbToCString(NULL, &value->root, VARSIZE(value));
}

/* ---- write ------------------------------------------------------------------------------------------ */

static int
HexDigit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Reads a UUID in any of the forms that uuid_in() takes; false where that would raise an error. */
static bool
ParseUuid(const char *source, pg_uuid_t *id)
{
	bool braces = *source == '{';

	source += braces;
	for (int i = 0; i < UUID_LEN; i++)
	{
		int high = HexDigit(source[0]);
		int low = high < 0 ? -1 : HexDigit(source[1]);

		if (low < 0)
			return false;
		id->data[i] = (unsigned char)(high << 4 | low);
		source += 2;
		if (*source == '-' && i % 2 == 1 && i < UUID_LEN - 1)
			source++;
	}
	if (braces && *source++ != '}')
		return false;
	return *source == '\0';
}

static void
RaiseWrongVersion(int64 expected, const char *stream, int64 version)
{
	ereport(ERROR,
			(errcode(ERRCODE_RAISE_EXCEPTION),
			 errmsg("Wrong expected version: " INT64_FORMAT " (Stream: %s, Stream Version: " INT64_FORMAT ")",
					expected, stream ? stream : "<NULL>", version)));
}

/*
 * Lets the table itself refuse the row, so that the error is its own, and a global position is spent as
 * there.  The caller's rights were looked at before; the defaults of its columns are the owner's to run.
 */
static void
RaiseByInserting(FunctionCallInfo fcinfo, Relation heap, int64 position)
{
	Oid types[6] = {UUIDOID, TEXTOID, INT8OID, TEXTOID, JSONBOID, JSONBOID};
	Datum values[6] = {0};
	char nulls[7] = "nn nnn";
	char *command = psprintf("INSERT INTO %s.messages (id, stream_name, position, type, data, metadata) "
							 "VALUES ($1, $2, $3, $4, $5, $6)",
							 quote_identifier(get_namespace_name(OwnSchema(fcinfo))));
	int argument[6] = {0, 1, -1, 2, 3, 4};

	for (int i = 0; i < 6; i++)
		if (argument[i] >= 0 && !PG_ARGISNULL(argument[i]))
		{
			values[i] = PG_GETARG_DATUM(argument[i]);
			nulls[i] = ' ';
		}
	if (nulls[0] == ' ')
		values[0] = DirectFunctionCall1(uuid_in, CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	values[2] = Int64GetDatum(position);
	(void)StoreBecomeOwner(heap);
	SPI_connect();
	SPI_execute_with_args(command, 6, types, values, nulls, false, 0);
	SPI_finish();
	ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION), errmsg("id, stream_name and type must not be NULL")));
}

/* Raises what Message DB raises for a write whose id is no UUID, or whose id, stream or type is NULL. */
static void
RefuseWrite(FunctionCallInfo fcinfo)
{
	Store *store;
	int64 version = NO_STREAM;

	StoreCheckAppendAllowed();
	store = OpenOwnTable(fcinfo, STORE_APPEND);
	if (!PG_ARGISNULL(1))
	{
		text *stream = PG_GETARG_TEXT_PP(1);

		StoreLockStream(StoreStreamHash(store, SliceOfText(stream)));
		PushFreshSnapshot();
		version = ReadStreamVersion(store, stream);
		PopActiveSnapshot();
	}
	if (!PG_ARGISNULL(5) && PG_GETARG_INT64(5) != version)
		RaiseWrongVersion(PG_GETARG_INT64(5), ArgText(fcinfo, 1), version);
	RaiseByInserting(fcinfo, store->heap, PositionBehind(version));
}

static void
WriteNotices(FunctionCallInfo fcinfo, int64 position)
{
	if (!MessageDbDebug("message_store.debug_write"))
		return;
	ereport(NOTICE, (errmsg_internal("» write_message")));
	MessageDbNotice("id ($1)", ArgText(fcinfo, 0));
	MessageDbNotice("stream_name ($2)", ArgText(fcinfo, 1));
	MessageDbNotice("type ($3)", ArgText(fcinfo, 2));
	MessageDbNotice("data ($4)", ArgJsonbText(fcinfo, 3));
	MessageDbNotice("metadata ($5)", ArgJsonbText(fcinfo, 4));
	MessageDbNotice("expected_version ($6)", ArgInt64Text(fcinfo, 5));
	MessageDbNotice("_stream_version", Int64Text(position - 1));
	MessageDbNotice("_next_position", Int64Text(position));
}

/* write_message(id, stream_name, type, data, metadata, expected_version) -> position */
Datum
millrace_mdb_write_message(PG_FUNCTION_ARGS)
{
	AppendMessage message = {.id_is_new = true};
	AppendPart part = {.messages = &message, .nmessages = 1, .expected = EXPECT_ANY};
	AppendRequest request = {.schema = OwnSchema(fcinfo), .parts = &part, .nparts = 1};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || !ParseUuid(ArgText(fcinfo, 0), &message.id))
		RefuseWrite(fcinfo);
	part.stream = PG_GETARG_TEXT_PP(1);
	message.type = PG_GETARG_TEXT_PP(2);
	message.data = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	message.metadata = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	/* The smallest bigint means "any" to the core; as any version below -1 it never matches. */
	if (!PG_ARGISNULL(5))
		part.expected = Max(PG_GETARG_INT64(5), EXPECT_ANY + 1);
	AppendRequests(&request, 1);
	if (request.verdict.sqlerrcode == ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION)
		RaiseWrongVersion(PG_GETARG_INT64(5), text_to_cstring(part.stream), request.verdict.actual);
	if (request.verdict.sqlerrcode != 0)
	{
		(void)OpenOwnTable(fcinfo, STORE_APPEND); /* no such table: says so */
		ereport(ERROR, (errcode(request.verdict.sqlerrcode), errmsg("%s", request.verdict.message)));
	}
	WriteNotices(fcinfo, message.position);
	PG_RETURN_INT64(message.position);
}

/* ---- read -------------------------------------------------------------------------------------------- */

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

static void
RaiseException(const char *text_form)
{
	ereport(ERROR, (errcode(ERRCODE_RAISE_EXCEPTION), errmsg_internal("%s", text_form)));
}

static bool
HasDash(text *name)
{
	return memchr(VARDATA_ANY(name), '-', VARSIZE_ANY_EXHDR(name)) != NULL;
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
	Store *store = OpenOwnTable(fcinfo, STORE_READ);

	PushFreshSnapshot();
	MessageDbReadBySql(store, request, command, set);
	PopActiveSnapshot();
	StoreClose(store);
}

/* Opens the table for a read that goes straight to the index. */
static Store *
BeginDirectRead(FunctionCallInfo fcinfo, const ReadRequest *request)
{
	Store *store = OpenOwnTable(fcinfo, STORE_READ);

	CheckLimit(request->limit);
	return store;
}

static void
StreamNotices(FunctionCallInfo fcinfo, ReadRequest *request, const char *command)
{
	if (!MessageDbDebug("message_store.debug_get"))
		return;
	ereport(NOTICE, (errmsg_internal("» get_stream_messages")));
	MessageDbNotice("stream_name ($1)", ArgText(fcinfo, 0));
	MessageDbNotice("position ($2)", Int64Text(request->position));
	MessageDbNotice("batch_size ($3)", Int64Text(request->limit));
	MessageDbNotice("condition ($4)", ArgText(fcinfo, 3));
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
	if (PG_ARGISNULL(0) || !HasDash(PG_GETARG_TEXT_PP(0)))
		RaiseException(
			psprintf("Must be a stream name: %s", PG_ARGISNULL(0) ? "<NULL>" : ArgText(fcinfo, 0)));
	request->name = PG_GETARG_TEXT_PP(0);
	request->position = ArgInt64(fcinfo, 1, 0);
	request->limit = ArgLimit(fcinfo, 2);
	CheckConditionActivated(!PG_ARGISNULL(3));
	if (!PG_ARGISNULL(3))
		command = MessageDbCommand(OwnSchema(fcinfo), request, ArgText(fcinfo, 3));
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

static void
RaiseGroup(FunctionCallInfo fcinfo, const char *problem)
{
	const char *member = ArgInt64Text(fcinfo, 4);
	const char *size = ArgInt64Text(fcinfo, 5);

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
	MessageDbNotice("category ($1)", ArgText(fcinfo, 0));
	MessageDbNotice("position ($2)", Int64Text(request->position));
	MessageDbNotice("batch_size ($3)", Int64Text(request->limit));
	MessageDbNotice("correlation ($4)", ArgText(fcinfo, 3));
	MessageDbNotice("consumer_group_member ($5)", ArgInt64Text(fcinfo, 4));
	MessageDbNotice("consumer_group_size ($6)", ArgInt64Text(fcinfo, 5));
	MessageDbNotice("condition", ArgText(fcinfo, 6));
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
	if (request->name && HasDash(request->name))
		RaiseException(psprintf("Must be a category: %s", ArgText(fcinfo, 0)));
	request->position = ArgInt64(fcinfo, 1, 1);
	request->limit = ArgLimit(fcinfo, 2);
	request->correlation = ArgTextOrNull(fcinfo, 3);
	if (request->correlation && HasDash(request->correlation))
		RaiseException(psprintf("Correlation must be a category (Correlation: %s)", ArgText(fcinfo, 3)));
	SetGroup(fcinfo, request);
	CheckConditionActivated(!PG_ARGISNULL(6));
	if (!PG_ARGISNULL(6))
		command = MessageDbCommand(OwnSchema(fcinfo), request, ArgText(fcinfo, 6));
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

/* get_last_stream_message(stream_name, type) -> no message or one */
Datum
millrace_mdb_get_last_stream_message(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBeginOf(fcinfo, message_types, MESSAGE_COLUMNS);
	Store *store = OpenOwnTable(fcinfo, STORE_READ);

	if (MessageDbDebug("message_store.debug_get"))
	{
		ereport(NOTICE, (errmsg_internal("» get_last_message")));
		MessageDbNotice("stream_name ($1)", ArgText(fcinfo, 0));
		MessageDbNotice("type ($2)", ArgText(fcinfo, 1));
	}
	PushFreshSnapshot();
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
	Store *store = OpenOwnTable(fcinfo, STORE_READ);
	int64 version = NO_STREAM;

	PushFreshSnapshot();
	if (!PG_ARGISNULL(0))
		version = ReadStreamVersion(store, PG_GETARG_TEXT_PP(0));
	PopActiveSnapshot();
	StoreClose(store);
	if (version == NO_STREAM)
		PG_RETURN_NULL();
	PG_RETURN_INT64(version);
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

/*
 * acquire_lock(stream_name) -> the key: hash_64 of the category, locked as pg_advisory_xact_lock() does; NULL
 * locks nothing
 */
Datum
millrace_mdb_acquire_lock(PG_FUNCTION_ARGS)
{
	text *stream = ArgTextOrNull(fcinfo, 0);
	Slice category = stream ? NameCategory(SliceOfText(stream)) : (Slice){NULL, 0};
	int64 key = stream ? NameHash64(category) : 0;

	if (stream)
		(void)DirectFunctionCall1(pg_advisory_xact_lock_int8, Int64GetDatum(key));
	if (MessageDbDebug("message_store.debug_write"))
	{
		ereport(NOTICE, (errmsg_internal("» acquire_lock")));
		MessageDbNotice("stream_name", ArgText(fcinfo, 0));
		MessageDbNotice("_category", stream ? pnstrdup(category.bytes, category.len) : NULL);
		MessageDbNotice("_category_name_hash", stream ? Int64Text(key) : NULL);
	}
	if (!stream)
		PG_RETURN_NULL();
	PG_RETURN_INT64(key);
}

/* is_category(stream_name): a name without a dash; NULL is one */
Datum
millrace_mdb_is_category(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(PG_ARGISNULL(0) || !HasDash(PG_GETARG_TEXT_PP(0)));
}

Datum
millrace_mdb_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text("1.3.0"));
}
