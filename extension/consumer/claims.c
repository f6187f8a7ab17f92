/*
 * claims.c: the rows of claims.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "base/errors.h"
#include "base/start.h"
#include "consumer/consumer.h"

static void
FromRow(const ConsumerRow *row, Claim *claim)
{
	memset(claim, 0, sizeof(*claim));
	claim->number = DatumGetInt64(row->value[CLAIM_CLAIM - 1]);
	claim->ceiling = DatumGetInt64(row->value[CLAIM_CEILING - 1]);
	claim->oldest = DatumGetInt64(row->value[CLAIM_OLDEST - 1]);
	claim->granted = DatumGetTimestampTz(row->value[CLAIM_GRANTED - 1]);
	claim->open = !row->isnull[CLAIM_LEASE_UNTIL - 1];
	if (claim->open)
		claim->lease_until = DatumGetTimestampTz(row->value[CLAIM_LEASE_UNTIL - 1]);
	if (!row->isnull[CLAIM_MEMBER - 1])
		claim->member = DatumGetTextPP(row->value[CLAIM_MEMBER - 1]);
	if (!row->isnull[CLAIM_REQUEST - 1])
		claim->request = DatumGetUUIDP(row->value[CLAIM_REQUEST - 1]);
	ContentDecode(row->isnull[CLAIM_CONTENT - 1] ? NULL : DatumGetByteaPP(row->value[CLAIM_CONTENT - 1]),
				  &claim->content);
	claim->tid = row->tid;
}

static void
ToRow(int64 consumer, const Claim *claim, ConsumerRow *row)
{
	memset(row->isnull, false, sizeof(row->isnull));
	row->value[CLAIM_CONSUMER - 1] = Int64GetDatum(consumer);
	row->value[CLAIM_CLAIM - 1] = Int64GetDatum(claim->number);
	row->value[CLAIM_CEILING - 1] = Int64GetDatum(claim->ceiling);
	row->value[CLAIM_OLDEST - 1] = Int64GetDatum(claim->oldest);
	row->value[CLAIM_GRANTED - 1] = TimestampTzGetDatum(claim->granted);
	row->isnull[CLAIM_LEASE_UNTIL - 1] = !claim->open;
	row->value[CLAIM_LEASE_UNTIL - 1] = TimestampTzGetDatum(claim->lease_until);
	row->isnull[CLAIM_MEMBER - 1] = claim->member == NULL;
	row->value[CLAIM_MEMBER - 1] = PointerGetDatum(claim->member);
	row->isnull[CLAIM_REQUEST - 1] = claim->request == NULL;
	row->value[CLAIM_REQUEST - 1] = PointerGetDatum(claim->request);
	row->value[CLAIM_CONTENT - 1] = PointerGetDatum(ContentEncode(&claim->content));
	row->tid = claim->tid;
}

static void
MakeKeys(ScanKey keys, int64 consumer, StrategyNumber strategy, int64 number)
{
	ScanKeyInit(&keys[0], CLAIM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(consumer));
	ScanKeyInit(&keys[1], CLAIM_CLAIM, strategy, strategy == BTEqualStrategyNumber ? F_INT8EQ : F_INT8GE,
				Int64GetDatum(number));
}

/* Finds a claim by its number; returns whether there is one, open or not. */
bool
ClaimFind(ConsumerTables *tables, int64 consumer, int64 number, Claim *claim)
{
	ScanKeyData keys[2];
	ConsumerRow row;

	MakeKeys(keys, consumer, BTEqualStrategyNumber, number);
	if (!RowFirst(tables, TABLE_CLAIMS, tables->key[TABLE_CLAIMS], keys, 2, ForwardScanDirection, &row))
		return false;
	FromRow(&row, claim);
	return true;
}

/* Finds the newest claim of a consumer; returns whether it has any. */
bool
ClaimFindNewest(ConsumerTables *tables, int64 consumer, Claim *claim)
{
	ScanKeyData keys[2];
	ConsumerRow row;

	MakeKeys(keys, consumer, BTEqualStrategyNumber, 0);
	if (!RowFirst(tables, TABLE_CLAIMS, tables->key[TABLE_CLAIMS], keys, 1, BackwardScanDirection, &row))
		return false;
	FromRow(&row, claim);
	return true;
}

/* The same of a consumer that must have one.  Errors: XX001 when it has none. */
void
ClaimNewest(ConsumerTables *tables, int64 consumer, Claim *claim)
{
	if (!ClaimFindNewest(tables, consumer, claim))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a consumer has lost its newest claim"),
						errhint("millrace.consumer_reset() gives it a new one.")));
}

typedef struct ClaimList
{
	Claim *claims;
	int nclaims;
	int size;
} ClaimList;

static bool
AddClaim(void *arg, const ConsumerRow *row)
{
	ClaimList *list = arg;

	if (list->nclaims == list->size)
	{
		list->size *= 2;
		list->claims = repalloc(list->claims, sizeof(Claim) * list->size);
	}
	FromRow(row, &list->claims[list->nclaims++]);
	return true;
}

/* The claims from a number on, in rising order; the caller's to free. */
Claim *
ClaimsFrom(ConsumerTables *tables, int64 consumer, int64 number, int *nclaims)
{
	ClaimList list = {palloc(sizeof(Claim) * 8), 0, 8};
	ScanKeyData keys[2];

	MakeKeys(keys, consumer, BTGreaterEqualStrategyNumber, number);
	RowEach(tables, TABLE_CLAIMS, tables->key[TABLE_CLAIMS], keys, 2, AddClaim, &list);
	*nclaims = list.nclaims;
	return list.claims;
}

void
ClaimInsert(ConsumerTables *tables, int64 consumer, Claim *claim)
{
	ConsumerRow row;

	ToRow(consumer, claim, &row);
	RowInsert(tables, TABLE_CLAIMS, &row);
	claim->tid = row.tid;
}

/* The caller has locked the row. */
void
ClaimUpdate(ConsumerTables *tables, int64 consumer, Claim *claim)
{
	ConsumerRow row;

	ToRow(consumer, claim, &row);
	RowUpdate(tables, TABLE_CLAIMS, &row);
	claim->tid = row.tid;
}

/*
 * When the lease runs out.  After a start of Postgres it lasts once more: nobody could extend it meanwhile.
 */
TimestampTz
ClaimEnd(const Claim *claim)
{
	TimestampTz start = StartTime();

	if (claim->granted >= start)
		return claim->lease_until;
	return Max(claim->lease_until, TimestampTzPlusMilliseconds(start, claim->content.lease_ms));
}
