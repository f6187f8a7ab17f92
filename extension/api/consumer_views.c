/*
 * consumer_views.c: consumers, their claims and their streams as rows, for the views and for listing.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "api/api.h"
#include "api/consumer.h"

PG_FUNCTION_INFO_V1(millrace_check_consumers);
PG_FUNCTION_INFO_V1(millrace_consumers_of);
PG_FUNCTION_INFO_V1(millrace_consumer_claims_of);
PG_FUNCTION_INFO_V1(millrace_consumer_streams_of);

extern Datum millrace_check_consumers(PG_FUNCTION_ARGS);
extern Datum millrace_consumers_of(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_claims_of(PG_FUNCTION_ARGS);
extern Datum millrace_consumer_streams_of(PG_FUNCTION_ARGS);

#define CONSUMERS_COLUMNS 21
#define CLAIMS_COLUMNS 9
#define STREAMS_COLUMNS 11

/* The consumers of a namespace, whose rows are put into the result. */
typedef struct Listing
{
	ConsumerTables *tables;
	ResultSet *set;
	Consumer *consumer;
	text *after; /* only streams behind that; NULL: all */
	bool any;	 /* streams whether parked or not */
	bool parked; /* else those that are, or those that are not */
	int64 left;	 /* streams that may follow */
} Listing;

static void
SetOr(Datum *value, bool *isnull, int64 number)
{
	*value = Int64GetDatum(number);
	*isnull = number == 0;
}

/* ---- consumers ----------------------------------------------------------------------------------- */

static void
PutConsumer(Listing *listing)
{
	Consumer *consumer = listing->consumer;
	ConsumerStatus status;
	Datum values[CONSUMERS_COLUMNS];
	bool isnull[CONSUMERS_COLUMNS] = {false};

	ConsumerGetStatus(listing->tables, consumer, &status);
	for (int column = CONSUMER_NAME; column <= CONSUMER_CREATED_AT; column++)
	{
		values[column - CONSUMER_NAME] = consumer->row.value[column - 1];
		isnull[column - CONSUMER_NAME] = consumer->row.isnull[column - 1];
	}
	values[11] = Int64GetDatum(status.ceiling);
	values[12] = Int64GetDatum(status.floor);
	values[13] = Int64GetDatum(status.lag);
	SetOr(&values[14], &isnull[14], status.lag_since);
	values[15] = Int64GetDatum(status.claims);
	values[16] = Int64GetDatum(status.in_flight);
	SetOr(&values[17], &isnull[17], status.oldest_claim);
	values[18] = Int64GetDatum(status.waiting);
	values[19] = Int64GetDatum(status.retrying);
	values[20] = Int64GetDatum(status.parked);
	ResultSetPut(listing->set, values, isnull);
}

/* ---- claims -------------------------------------------------------------------------------------- */

static void
PutClaims(Listing *listing)
{
	int nclaims;
	Claim newest, *claims;

	ClaimNewest(listing->tables, listing->consumer->id, &newest);
	claims = ClaimsFrom(listing->tables, listing->consumer->id, newest.oldest, &nclaims);
	for (int i = 0; i < nclaims; i++)
	{
		const Claim *claim = &claims[i];
		Datum values[CLAIMS_COLUMNS];
		bool isnull[CLAIMS_COLUMNS] = {false};

		if (!claim->open)
			continue;
		values[0] = PointerGetDatum(listing->consumer->name);
		values[1] = Int64GetDatum(claim->number);
		values[2] = TimestampTzGetDatum(claim->granted);
		values[3] = TimestampTzGetDatum(ClaimEnd(claim));
		values[4] = PointerGetDatum(claim->member);
		isnull[4] = claim->member == NULL;
		values[5] = UUIDPGetDatum(claim->request);
		isnull[5] = claim->request == NULL;
		values[6] = Int64GetDatum(ContentCount(&claim->content));
		values[7] = Int64GetDatum(claim->content.nspans);
		values[8] = Int64GetDatum(claim->content.nspans > 0 ? claim->content.spans[0].global_position : 0);
		ResultSetPut(listing->set, values, isnull);
	}
}

/* ---- streams ------------------------------------------------------------------------------------- */

static bool
PutStream(void *arg, const ConsumerRow *row)
{
	Listing *listing = arg;
	Datum values[STREAMS_COLUMNS];
	bool isnull[STREAMS_COLUMNS] = {false};
	static const int columns[STREAMS_COLUMNS] = {0,
												 STREAM_STREAM,
												 STREAM_POSITION,
												 STREAM_GLOBAL_POSITION,
												 STREAM_CLAIM,
												 STREAM_ATTEMPTS,
												 STREAM_SUSPECT,
												 STREAM_RETRY_AT,
												 STREAM_FIRST_FAILED,
												 STREAM_PARKED_AT,
												 STREAM_ERROR};

	if (!listing->any && listing->parked == row->isnull[STREAM_PARKED_AT - 1])
		return true;
	values[0] = PointerGetDatum(listing->consumer->name);
	for (int i = 1; i < STREAMS_COLUMNS; i++)
	{
		values[i] = row->value[columns[i] - 1];
		isnull[i] = row->isnull[columns[i] - 1];
	}
	ResultSetPut(listing->set, values, isnull);
	return --listing->left > 0;
}

/* By name, from where a page begins to where it ends: there may be a million that are parked. */
static void
PutStreams(Listing *listing)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], STREAM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(listing->consumer->id));
	if (listing->after)
		ScanKeyEntryInitialize(&keys[1], 0, STREAM_STREAM, BTGreaterStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXT_GT, PointerGetDatum(listing->after));
	RowEach(listing->tables, TABLE_STREAMS, listing->tables->key[TABLE_STREAMS], keys, listing->after ? 2 : 1,
			PutStream, listing);
}

/* Those that are not parked are few, and found by what tells them from the others; in no order of names. */
static void
PutWaitingStreams(Listing *listing)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], STREAM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(listing->consumer->id));
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, STREAM_PARKED_AT, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum)0);
	RowEach(listing->tables, TABLE_STREAMS, listing->tables->parked, keys, 2, PutStream, listing);
}

/* ---- listing ------------------------------------------------------------------------------------- */

static void
PutAll(Listing *listing, void (*put)(Listing *listing))
{
	ConsumerNames *names = ConsumersAll(listing->tables);

	for (int i = 0; i < names->nnames; i++)
	{
		listing->consumer = ConsumerFind(listing->tables, names->names[i]);
		if (listing->consumer)
			put(listing);
	}
}

/*
 * The first argument names a namespace that has consumers; its caller has made sure that they may be read.
 * MR016 when there is none of the name that the second one gives.
 */
static Datum
ListConsumers(FunctionCallInfo fcinfo, Listing *listing, void (*put)(Listing *listing))
{
	listing->tables = ConsumerTablesOpen(ArgNamespace(fcinfo, 0), false);
	listing->set = ResultSetBegin(fcinfo);
	if (PG_ARGISNULL(1))
		PutAll(listing, put);
	else
	{
		listing->consumer = ConsumerOpen(listing->tables, PG_GETARG_TEXT_PP(1));
		put(listing);
	}
	ConsumerTablesClose(listing->tables);
	return (Datum)0;
}

/* check_consumers(namespace) */
Datum
millrace_check_consumers(PG_FUNCTION_ARGS)
{
	ConsumerTablesClose(ConsumerTablesOpen(ArgNamespace(fcinfo, 0), false));
	PG_RETURN_VOID();
}

/* consumers_of(namespace, consumer or NULL for all) */
Datum
millrace_consumers_of(PG_FUNCTION_ARGS)
{
	return ListConsumers(fcinfo, &(Listing){0}, PutConsumer);
}

/* consumer_claims_of(namespace, consumer or NULL for all): the open ones */
Datum
millrace_consumer_claims_of(PG_FUNCTION_ARGS)
{
	return ListConsumers(fcinfo, &(Listing){0}, PutClaims);
}

/*
 * consumer_streams_of(namespace, consumer or NULL for all, parked or not or NULL for both, after or NULL,
 * max_rows or NULL): those that wait, are retried or parked.  What is not parked comes whole, whatever the
 * last two say
 */
Datum
millrace_consumer_streams_of(PG_FUNCTION_ARGS)
{
	bool any = PG_ARGISNULL(2), parked = !any && PG_GETARG_BOOL(2), waiting = !any && !parked;
	Listing listing = {
		.any = any,
		.parked = parked,
		.after = PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3),
		.left = PG_ARGISNULL(4) || waiting ? PG_INT64_MAX : PG_GETARG_INT64(4),
	};

	return ListConsumers(fcinfo, &listing, waiting ? PutWaitingStreams : PutStreams);
}
