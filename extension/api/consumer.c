/*
 * consumer.c: the functions of consumers for SQL.  Each is documented in README.md.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "api/consumer.h"
#include "api/read.h"
#include "base/errors.h"
#include "core/query_scan.h"

PG_FUNCTION_INFO_V1(millrace_add_consumer);
PG_FUNCTION_INFO_V1(millrace_drop_consumer);
PG_FUNCTION_INFO_V1(millrace_consumer_next);
PG_FUNCTION_INFO_V1(millrace_consumer_settle);
PG_FUNCTION_INFO_V1(millrace_consumer_extend);
PG_FUNCTION_INFO_V1(millrace_consumer_move);
PG_FUNCTION_INFO_V1(millrace_consumer_unpark);
PG_FUNCTION_INFO_V1(millrace_consumer_skip);
PG_FUNCTION_INFO_V1(millrace_consumer_reset);
PG_FUNCTION_INFO_V1(millrace_reset_consumers);
PG_FUNCTION_INFO_V1(millrace_consumer_set_state);

extern Datum millrace_add_consumer(PG_FUNCTION_ARGS);
extern Datum millrace_drop_consumer(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_next(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_settle(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_extend(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_move(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_unpark(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_skip(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_reset(PG_FUNCTION_ARGS);
extern Datum millrace_reset_consumers(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_set_state(PG_FUNCTION_ARGS);

/* ---- arguments ----------------------------------------------------------------------------------- */

/*
 * Locks a consumer, and returns it as it is under the lock.  Another may have got its name meanwhile, with
 * another number.  The category comes first, as in a sweep that is forced.
 */
static Consumer *
LockConsumer(ConsumerTables *tables, text *name, bool keep)
{
	Consumer *before = ConsumerOpen(tables, name);

	for (;;)
	{
		const ReadRequest *source = &before->source;
		Consumer *consumer;

		if (keep)
			ConsumerKeepSource(tables, source->kind == READ_CATEGORY ? source->name : NULL,
							   source->kind == READ_STREAM ? source->name : NULL);
		ConsumerLock(tables, before->id);
		consumer = ConsumerOpen(tables, name);
		if (consumer->id == before->id)
			return consumer;
		before = consumer;
	}
}

/* Opens a consumer; MR016 when there is none. */
OpenConsumer
OpenConsumerOf(const char *namespace_name, text *name, ConsumerUse use)
{
	OpenConsumer open = {ConsumerTablesOpen(namespace_name, use != USE_READ), NULL};

	open.consumer = use == USE_LOCKED || use == USE_KEPT ? LockConsumer(open.tables, name, use == USE_KEPT)
														 : ConsumerOpen(open.tables, name);
	return open;
}

void
CloseConsumer(OpenConsumer open)
{
	ConsumerTablesClose(open.tables);
}

/* The consumer that the first argument names, in the namespace that the last one names. */
static OpenConsumer
ArgConsumer(FunctionCallInfo fcinfo, int namespace_arg, ConsumerUse use)
{
	text *name = ArgName(fcinfo, 0, "consumer");

	return OpenConsumerOf(ArgNamespaceOr(fcinfo, namespace_arg, SelectedNamespace()), name, use);
}

/* An interval, in ms; 0: NULL, which is the consumer's own. */
static int64
ArgLease(FunctionCallInfo fcinfo, int arg)
{
	Interval *lease;

	if (PG_ARGISNULL(arg))
		return 0;
	lease = PG_GETARG_INTERVAL_P(arg);
	return CheckLease(lease->time / 1000 +
					  (lease->month * INT64CONST(30) + lease->day) * (USECS_PER_DAY / 1000));
}

/* ---- create, drop -------------------------------------------------------------------------------- */

static bool
TakePosition(void *arg, const Message *message)
{
	*(int64 *)arg = message->global_position;
	return false;
}

/* The global position of the first message since a time; behind the last one where there is none. */
static int64
PositionSince(ConsumerTables *tables, Timestamp since)
{
	ReadRequest request = {.kind = READ_ALL, .position = 1, .limit = 1, .since = &since};
	int64 found = 0;
	ReadOutcome outcome = ReadMessages(tables->store, &request, TakePosition, &found);

	return found > 0 ? found : PositionBehind(outcome.last_global_position);
}

/*
 * add_consumer(name, category, stream, types, correlation, query, ordering, options, position, since,
 * namespace) -> whether it is new.  create_consumer() has looked at the values.
 */
Datum
millrace_add_consumer(PG_FUNCTION_ARGS)
{
	ConsumerTables *tables = ConsumerTablesOpen(ArgNamespace(fcinfo, 10), true);
	ConsumerRow row = {0};
	int64 position = PG_ARGISNULL(8) ? 1 : PG_GETARG_INT64(8);
	const TagQuery *query;
	bool created;

	(void)ArgName(fcinfo, 0, "name");
	CheckNotNull(PG_ARGISNULL(6), "ordering");
	if (!PG_ARGISNULL(7))
		CheckObject(PG_GETARG_JSONB_P(7), "options");
	query = ArgQueryOrNull(fcinfo, 5);
	if (query)
		QueryScanCheck(tables->store, query);
	PreventCommandIfReadOnly("millrace.create_consumer()");
	ConsumerKeepSource(tables, ArgTextOrNull(fcinfo, 1), ArgTextOrNull(fcinfo, 2));
	for (int arg = 0; arg < 8; arg++)
	{
		row.value[CONSUMER_NAME - 1 + arg] = PG_GETARG_DATUM(arg);
		row.isnull[CONSUMER_NAME - 1 + arg] = PG_ARGISNULL(arg);
	}
	if (!PG_ARGISNULL(9))
		position = PositionSince(tables, (Timestamp)PG_GETARG_TIMESTAMPTZ(9));
	created = ConsumerCreate(tables, &row, Max(position, 1) - 1);
	ConsumerTablesClose(tables);
	PG_RETURN_BOOL(created);
}

/* drop_consumer(consumer, namespace) */
Datum
millrace_drop_consumer(PG_FUNCTION_ARGS)
{
	OpenConsumer open;

	PreventCommandIfReadOnly("millrace.drop_consumer()");
	open = ArgConsumer(fcinfo, 1, USE_KEPT);
	ConsumerDrop(open.tables, open.consumer);
	CloseConsumer(open);
	PG_RETURN_VOID();
}

/* ---- next ---------------------------------------------------------------------------------------- */

/* (claim, id, stream_name, type, position, global_position, data, metadata, time, attempt, error) */
#define NEXT_COLUMNS 11

static void
PutDelivered(ResultSet *set, int64 claim, const Delivered *delivered)
{
	const Message *message = &delivered->message;
	Datum values[NEXT_COLUMNS];
	bool isnull[NEXT_COLUMNS] = {false};

	values[0] = Int64GetDatum(claim);
	values[1] = UUIDPGetDatum(message->id);
	values[2] = PointerGetDatum(message->stream_text);
	values[3] = PointerGetDatum(message->type_text);
	values[4] = Int64GetDatum(message->position);
	values[5] = Int64GetDatum(message->global_position);
	values[6] = PointerGetDatum(message->data);
	values[7] = PointerGetDatum(message->metadata);
	values[8] = TimestampTzGetDatum((TimestampTz)message->time); /* UTC */
	values[9] = Int32GetDatum(delivered->attempts + 1);
	values[10] = PointerGetDatum(delivered->error);
	isnull[6] = message->data == NULL;
	isnull[7] = message->metadata == NULL;
	isnull[10] = delivered->error == NULL;
	ResultSetPut(set, values, isnull);
}

/* consumer_next(consumer, max, max_bytes, lease, member, request, namespace) -> a row for each message */
Datum
millrace_consumer_next(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	NextRequest request = {.max = DEFAULT_CLAIM_MESSAGES};
	Delivery delivery;
	ConsumerWork *work;
	OpenConsumer open;

	if (!PG_ARGISNULL(1))
		request.max = PG_GETARG_INT32(1);
	request.max_bytes = PG_ARGISNULL(2) ? DEFAULT_CLAIM_BYTES : PG_GETARG_INT32(2);
	request.lease_ms = ArgLease(fcinfo, 3);
	request.member = ArgTextOrNull(fcinfo, 4);
	request.request = PG_ARGISNULL(5) ? NULL : PG_GETARG_UUID_P(5);
	CheckNextRequest(&request);
	open = ArgConsumer(fcinfo, 6, USE_LOCKED);
	work = ConsumerNextBegin(open.tables, open.consumer);
	ConsumerNext(work, &request, &delivery);
	ConsumerNextEnd(work);
	for (int i = 0; i < delivery.nmessages; i++)
		PutDelivered(set, delivery.claim, &delivery.messages[i]);
	CloseConsumer(open);
	return (Datum)0;
}

/* ---- settle, extend ------------------------------------------------------------------------------ */

/* consumer_settle(consumer, claim, failed, release, up_to, namespace) */
Datum
millrace_consumer_settle(PG_FUNCTION_ARGS)
{
	Settlement settlement;
	OpenConsumer open;

	CheckNotNull(PG_ARGISNULL(1), "claim");
	settlement =
		MakeSettlement(PG_GETARG_INT64(1), PG_ARGISNULL(2) ? NULL : &PG_GETARG_JSONB_P(2)->root,
					   !PG_ARGISNULL(3) && PG_GETARG_BOOL(3), !PG_ARGISNULL(4), ArgInt64(fcinfo, 4, 0));
	open = ArgConsumer(fcinfo, 5, USE_CLAIM);
	ConsumerSettle(open.tables, open.consumer, &settlement);
	CloseConsumer(open);
	PG_RETURN_VOID();
}

/* consumer_extend(consumer, claim, lease, namespace) */
Datum
millrace_consumer_extend(PG_FUNCTION_ARGS)
{
	int64 lease_ms = ArgLease(fcinfo, 2);
	OpenConsumer open;

	CheckNotNull(PG_ARGISNULL(1), "claim");
	open = ArgConsumer(fcinfo, 3, USE_CLAIM);
	ConsumerExtend(open.tables, open.consumer, PG_GETARG_INT64(1), lease_ms);
	CloseConsumer(open);
	PG_RETURN_VOID();
}

/* ---- what operators do --------------------------------------------------------------------------- */

/* consumer_move(consumer, from_position, to_position, namespace) */
Datum
millrace_consumer_move(PG_FUNCTION_ARGS)
{
	OpenConsumer open;

	CheckNotNull(PG_ARGISNULL(1) || PG_ARGISNULL(2), "from_position and to_position");
	PreventCommandIfReadOnly("millrace.consumer_move()");
	open = ArgConsumer(fcinfo, 3, USE_KEPT);
	ConsumerMove(open.tables, open.consumer, PG_GETARG_INT64(1), PG_GETARG_INT64(2));
	CloseConsumer(open);
	PG_RETURN_VOID();
}

/* consumer_unpark(consumer, stream, max_streams, namespace) -> how many */
Datum
millrace_consumer_unpark(PG_FUNCTION_ARGS)
{
	OpenConsumer open;
	int64 count;

	PreventCommandIfReadOnly("millrace.consumer_unpark()");
	open = ArgConsumer(fcinfo, 3, USE_LOCKED);
	count = ConsumerUnpark(open.tables, open.consumer, ArgTextOrNull(fcinfo, 1),
						   PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2));
	CloseConsumer(open);
	PG_RETURN_INT64(count);
}

/* consumer_skip(consumer, stream, position, namespace) */
Datum
millrace_consumer_skip(PG_FUNCTION_ARGS)
{
	OpenConsumer open;

	CheckNotNull(PG_ARGISNULL(1) || PG_ARGISNULL(2), "stream and position");
	PreventCommandIfReadOnly("millrace.consumer_skip()");
	open = ArgConsumer(fcinfo, 3, USE_LOCKED);
	ConsumerSkip(open.tables, open.consumer, PG_GETARG_TEXT_PP(1), PG_GETARG_INT64(2));
	CloseConsumer(open);
	PG_RETURN_VOID();
}

/* consumer_reset(consumer, position, keep_parked, namespace) */
Datum
millrace_consumer_reset(PG_FUNCTION_ARGS)
{
	OpenConsumer open;
	int64 position = ArgInt64(fcinfo, 1, 1);

	PreventCommandIfReadOnly("millrace.consumer_reset()");
	if (position < 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("position " INT64_FORMAT " is out of range", position)));
	open = ArgConsumer(fcinfo, 3, USE_KEPT);
	ConsumerReset(open.tables, open.consumer, Max(position, 1) - 1, !PG_ARGISNULL(2) && PG_GETARG_BOOL(2));
	CloseConsumer(open);
	PG_RETURN_VOID();
}

/*
 * reset_consumers(namespace): all consumers begin anew at the start.  The caller has locked the messages
 * against everyone, and so no call of next() is under way that waits for them.
 */
Datum
millrace_reset_consumers(PG_FUNCTION_ARGS)
{
	ConsumerTables *tables = ConsumerTablesOpen(ArgNamespace(fcinfo, 0), true);
	ConsumerNames *names = ConsumersAll(tables);

	for (int i = 0; i < names->nnames; i++)
	{
		Consumer *consumer = ConsumerOpen(tables, names->names[i]);

		ConsumerLock(tables, consumer->id);
		ConsumerReset(tables, consumer, 0, false);
	}
	ConsumerTablesClose(tables);
	PG_RETURN_VOID();
}

/* consumer_set_state(consumer, running, namespace): running or paused */
Datum
millrace_consumer_set_state(PG_FUNCTION_ARGS)
{
	OpenConsumer open;

	CheckNotNull(PG_ARGISNULL(1), "running");
	PreventCommandIfReadOnly("millrace.consumer_set_state()");
	open = ArgConsumer(fcinfo, 2, USE_LOCKED);
	ConsumerSetState(open.tables, open.consumer, PG_GETARG_BOOL(1) ? STATE_RUNNING : STATE_PAUSED, NULL);
	CloseConsumer(open);
	PG_RETURN_VOID();
}
