/*
 * write.c: Message DB's write_message().
 *
 * What it refuses it refuses with Message DB's texts and SQLSTATEs, and in its order: first the version that
 * was expected, then what the table itself says to the row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "base/errors.h"
#include "core/append.h"
#include "core/read.h"
#include "message_db/message_db.h"

PG_FUNCTION_INFO_V1(millrace_mdb_write_message);

extern Datum millrace_mdb_write_message(PG_FUNCTION_ARGS);

static char *
ArgJsonbText(FunctionCallInfo fcinfo, int arg)
{
	Jsonb *value;

	if (PG_ARGISNULL(arg))
		return NULL;
	value = PG_GETARG_JSONB_P(arg);
	return JsonbToCString(NULL, &value->root, VARSIZE(value));
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
							 quote_identifier(get_namespace_name(MessageDbSchema(fcinfo))));
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
	store = MessageDbOpen(fcinfo, STORE_APPEND);
	if (!PG_ARGISNULL(1))
	{
		text *stream = PG_GETARG_TEXT_PP(1);

		StoreLockStream(StoreStreamHash(store, SliceOfText(stream)));
		MessageDbPushSnapshot();
		version = ReadStreamVersion(store, stream);
		PopActiveSnapshot();
	}
	if (!PG_ARGISNULL(5) && PG_GETARG_INT64(5) != version)
		RaiseWrongVersion(PG_GETARG_INT64(5), MessageDbArgText(fcinfo, 1), version);
	RaiseByInserting(fcinfo, store->heap, PositionBehind(version));
}

static void
WriteNotices(FunctionCallInfo fcinfo, int64 position)
{
	if (!MessageDbDebug("message_store.debug_write"))
		return;
	ereport(NOTICE, (errmsg_internal("» write_message")));
	MessageDbNotice("id ($1)", MessageDbArgText(fcinfo, 0));
	MessageDbNotice("stream_name ($2)", MessageDbArgText(fcinfo, 1));
	MessageDbNotice("type ($3)", MessageDbArgText(fcinfo, 2));
	MessageDbNotice("data ($4)", ArgJsonbText(fcinfo, 3));
	MessageDbNotice("metadata ($5)", ArgJsonbText(fcinfo, 4));
	MessageDbNotice("expected_version ($6)", MessageDbArgInt64Text(fcinfo, 5));
	MessageDbNotice("_stream_version", MessageDbInt64Text(position - 1));
	MessageDbNotice("_next_position", MessageDbInt64Text(position));
}

/*
 * write_message(id, stream_name, type, data, metadata, expected_version) -> position.  Errors: P0001 where
 * the stream is at another version than the expected one or closed, 23505 for an id that is stored or was
 * removed by hand, MR024 for a type of the store's own, 22P02 for one
 * that is no UUID, 42P01 where there is no table, and what the table raises.
 */
Datum
millrace_mdb_write_message(PG_FUNCTION_ARGS)
{
	AppendMessage message = {.id_is_new = true, .id_was_given = true};
	AppendPart part = {.messages = &message, .nmessages = 1, .expected = EXPECT_ANY};
	AppendRequest request = {.schema = MessageDbSchema(fcinfo), .parts = &part, .nparts = 1};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) ||
		!MessageDbParseUuid(MessageDbArgText(fcinfo, 0), &message.id))
		RefuseWrite(fcinfo);
	part.stream = PG_GETARG_TEXT_PP(1);
	message.type = PG_GETARG_TEXT_PP(2);
	message.data = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	message.metadata = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	/* The smallest bigint means "any" to the core; as any version below NO_STREAM it never matches. */
	if (!PG_ARGISNULL(5))
		part.expected = Max(PG_GETARG_INT64(5), EXPECT_ANY + 1);
	AppendRequests(&request, 1, APPEND_WAIT);
	if (request.verdict.sqlerrcode == ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION)
		RaiseWrongVersion(PG_GETARG_INT64(5), text_to_cstring(part.stream), request.verdict.actual);
	if (request.verdict.sqlerrcode == ERRCODE_MILLRACE_STREAM_CLOSED)
		ereport(ERROR, (errcode(ERRCODE_RAISE_EXCEPTION),
						errmsg("Stream is closed: %s", text_to_cstring(part.stream))));
	if (request.verdict.sqlerrcode == ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT)
		ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION), errmsg("%s", request.verdict.message)));
	if (request.verdict.sqlerrcode != 0)
	{
		(void)MessageDbOpen(fcinfo, STORE_APPEND); /* no such table: says so */
		ereport(ERROR, (errcode(request.verdict.sqlerrcode), errmsg("%s", request.verdict.message)));
	}
	WriteNotices(fcinfo, message.position);
	PG_RETURN_INT64(message.position);
}
