/*
 * manage.c: what operators do with consumers: create, drop, move, reset, unpark, skip, pause, resume.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "miscadmin.h"
#include "catalog/pg_collation.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"

#include "base/errors.h"
#include "consumer/consumer.h"

/* The lock under which consumers are created: none of them has this number. */
#define NO_CONSUMER 0

static void
KeyOf(ScanKey key, AttrNumber column, int64 consumer)
{
	ScanKeyInit(key, column, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(consumer));
}

/* ---- create -------------------------------------------------------------------------------------- */

/* Whether a column, of a type of varying length, says the same in both. */
static bool
IsSame(const ConsumerRow *a, const ConsumerRow *b, int column)
{
	if (a->isnull[column - 1] || b->isnull[column - 1])
		return a->isnull[column - 1] == b->isnull[column - 1];
	return datumIsEqual(PointerGetDatum(PG_DETOAST_DATUM(a->value[column - 1])),
						PointerGetDatum(PG_DETOAST_DATUM(b->value[column - 1])), false, -1);
}

static bool
CountRow(void *arg, const ConsumerRow *row)
{
	return ++*(int *)arg < MAX_CONSUMERS;
}

static void
CheckNumber(ConsumerTables *tables)
{
	int consumers = 0;

	RowEach(tables, TABLE_CONSUMERS, tables->key[TABLE_CONSUMERS], NULL, 0, CountRow, &consumers);
	if (consumers >= MAX_CONSUMERS)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("the namespace has %d consumers, and at most %d are allowed", consumers,
							   MAX_CONSUMERS)));
}

/* Writes where a consumer is: a claim with nothing in it. */
static void
WriteCeiling(ConsumerTables *tables, int64 consumer, int64 ceiling, uint32 place)
{
	Claim claim = {.ceiling = ceiling, .granted = GetCurrentTimestamp()};
	bool jumped;

	claim.number = ConsumerNumber(tables, place, &jumped);
	claim.oldest = claim.number;
	claim.content.place = ConsumerPlace(tables);
	claim.content.settled_to = PG_INT64_MAX;
	ClaimInsert(tables, consumer, &claim);
}

/*
 * Creates a consumer of whose row the caller has filled name, category, stream, types, correlation, query,
 * ordering and options; it begins above the ceiling.  Returns false when there is the same one already.
 * Errors: MR017 when one of that name is another, MR009 when there are too many.
 */
bool
ConsumerCreate(ConsumerTables *tables, ConsumerRow *row, int64 ceiling)
{
	static const int columns[] = {CONSUMER_CATEGORY, CONSUMER_STREAM,	CONSUMER_TYPES,	 CONSUMER_CORRELATION,
								  CONSUMER_QUERY,	 CONSUMER_ORDERING, CONSUMER_OPTIONS};
	text *name = DatumGetTextPP(row->value[CONSUMER_NAME - 1]);
	Consumer *there;
	bool jumped;
	int64 id;

	ConsumerLock(tables, NO_CONSUMER);
	there = ConsumerFind(tables, name);
	for (int i = 0; there && i < (int)lengthof(columns); i++)
		if (!IsSame(&there->row, row, columns[i]))
			ereport(ERROR,
					(errcode(ERRCODE_MILLRACE_CONSUMER_EXISTS),
					 errmsg("consumer \"%s\" exists already, and its %s is another", text_to_cstring(name),
							NameStr(TupleDescAttr(RelationGetDescr(tables->table[TABLE_CONSUMERS]),
												  columns[i] - 1)
										->attname))));
	if (there)
		return false;
	CheckNumber(tables);
	id = ConsumerNumber(tables, 0, &jumped);
	row->value[CONSUMER_ID - 1] = Int64GetDatum(id);
	row->value[CONSUMER_STATE - 1] = CStringGetTextDatum(ConsumerStateName(STATE_RUNNING));
	row->isnull[CONSUMER_REASON - 1] = true;
	row->value[CONSUMER_CREATED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	RowInsert(tables, TABLE_CONSUMERS, row);
	WriteCeiling(tables, id, ceiling, 0);
	return true;
}

/* ---- rows of one consumer ------------------------------------------------------------------------ */

typedef struct Removal
{
	ConsumerTables *tables;
	ConsumerTable kind;
	bool keep_parked;
	bool missed; /* a row that another transaction was changing */
} Removal;

static bool
RemoveRow(void *arg, const ConsumerRow *row)
{
	Removal *removal = arg;
	ItemPointerData tid = row->tid;

	if (removal->keep_parked && !row->isnull[STREAM_PARKED_AT - 1])
		return true;
	if (RowLock(removal->tables, removal->kind, &tid, true))
		RowDelete(removal->tables, removal->kind, &tid);
	else
		removal->missed = true;
	return true;
}

/* Deletes a consumer's rows; waits for those who settle a claim in this moment. */
static void
RemoveRows(ConsumerTables *tables, ConsumerTable kind, int64 consumer, bool keep_parked)
{
	Removal removal = {tables, kind, keep_parked, true};
	ScanKeyData key;

	KeyOf(&key, 1, consumer);
	while (removal.missed)
	{
		CHECK_FOR_INTERRUPTS();
		removal.missed = false;
		RowEach(tables, kind, tables->key[kind], &key, 1, RemoveRow, &removal);
	}
}

/* Drops a consumer with all that it knows. */
void
ConsumerDrop(ConsumerTables *tables, Consumer *consumer)
{
	RemoveRows(tables, TABLE_CLAIMS, consumer->id, false);
	RemoveRows(tables, TABLE_STREAMS, consumer->id, false);
	RemoveRows(tables, TABLE_SKIPPED, consumer->id, false);
	RowDelete(tables, TABLE_CONSUMERS, &consumer->row.tid);
}

/*
 * Begins anew above a ceiling: every claim is lost to its member, and what was retried or parked is
 * forgotten, but on demand not what is parked.
 */
void
ConsumerReset(ConsumerTables *tables, Consumer *consumer, int64 ceiling, bool keep_parked)
{
	Claim newest = {0};

	/* What a member parked may not have been taken in yet. */
	if (ClaimFindNewest(tables, consumer->id, &newest) && keep_parked)
	{
		ConsumerWork *work = ConsumerBegin(tables, consumer);

		ConsumerFold(work);
		StreamsStore(work);
	}
	RemoveRows(tables, TABLE_STREAMS, consumer->id, keep_parked);
	RemoveRows(tables, TABLE_CLAIMS, consumer->id, false);
	WriteCeiling(tables, consumer->id, ceiling, newest.content.place);
}

/* Moves one that is moved by hand, if it is where the caller takes it to be.  Errors: MR018, MR009, 22023. */
void
ConsumerMove(ConsumerTables *tables, Consumer *consumer, int64 from, int64 to)
{
	Claim newest;

	if (consumer->ordering != ORDERING_MANUAL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("consumer \"%s\" is not moved by hand", text_to_cstring(consumer->name)),
						errhint("Its ordering is not 'manual': it moves as its claims are settled.")));
	if (to < 0 || to == LAST_POSITION)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("position " INT64_FORMAT " is out of range", to)));
	ClaimNewest(tables, consumer->id, &newest);
	if (newest.ceiling != from)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_CONSUMER_MOVED),
						errmsg("consumer \"%s\" is at " INT64_FORMAT ", not at " INT64_FORMAT,
							   text_to_cstring(consumer->name), newest.ceiling, from)));
	WriteCeiling(tables, consumer->id, to, newest.content.place);
	RowDelete(tables, TABLE_CLAIMS, &newest.tid);
}

/* ---- parked streams ------------------------------------------------------------------------------ */

typedef struct Unparking
{
	ConsumerTables *tables;
	int64 left;
	int64 count;
} Unparking;

static bool
UnparkRow(void *arg, const ConsumerRow *found)
{
	Unparking *unparking = arg;
	ConsumerRow row = *found;

	if (row.isnull[STREAM_PARKED_AT - 1])
		return true;
	row.isnull[STREAM_PARKED_AT - 1] = true;
	row.isnull[STREAM_RETRY_AT - 1] = true;
	row.isnull[STREAM_FIRST_FAILED - 1] = true;
	row.value[STREAM_ATTEMPTS - 1] = Int32GetDatum(0);
	row.value[STREAM_SUSPECT - 1] = Int32GetDatum(0);
	RowUpdate(unparking->tables, TABLE_STREAMS, &row);
	unparking->count++;
	return --unparking->left > 0;
}

/*
 * Lets a parked stream, or as many as the caller wants, those first that were parked first, go on with the
 * message at which it was parked.  Returns how many.
 */
int64
ConsumerUnpark(ConsumerTables *tables, Consumer *consumer, text *stream, int64 most)
{
	Unparking unparking = {tables, stream ? 1 : most, 0};
	ConsumerWork *work = ConsumerBegin(tables, consumer);
	ScanKeyData keys[2];

	if (most <= 0)
		return 0;
	/* What a member parked may not have been taken in yet. */
	ConsumerFold(work);
	StreamsStore(work);
	KeyOf(&keys[0], STREAM_CONSUMER, consumer->id);
	if (stream)
	{
		ScanKeyEntryInitialize(&keys[1], 0, STREAM_STREAM, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
							   F_TEXTEQ, PointerGetDatum(stream));
		RowEach(tables, TABLE_STREAMS, tables->key[TABLE_STREAMS], keys, 2, UnparkRow, &unparking);
	}
	else
	{
		ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNOTNULL, STREAM_PARKED_AT, InvalidStrategy,
							   InvalidOid, InvalidOid, InvalidOid, (Datum)0);
		RowEach(tables, TABLE_STREAMS, tables->parked, keys, 2, UnparkRow, &unparking);
	}
	return unparking.count;
}

/*
 * Goes past the message at which a stream is parked or waits for a retry; it is recorded.  Errors: MR009 when
 * that is not the message.
 */
void
ConsumerSkip(ConsumerTables *tables, Consumer *consumer, text *stream, int64 position)
{
	ConsumerWork *work = ConsumerBegin(tables, consumer);
	StreamRow *row;

	ConsumerFold(work);
	row = StreamsFind(work, stream);
	if (!row)
		row = StreamsFindParked(work, stream);
	if (!row || row->position != position || row->claim != 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("message " INT64_FORMAT " of stream \"%s\" is not the one at which it stands",
							   position, text_to_cstring(stream)),
						errhint("The view consumer_streams_blocked tells which message that is.")));
	StreamSkip(work, row);
	StreamsStore(work);
}
