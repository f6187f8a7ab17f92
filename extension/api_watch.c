/*
 * api_watch.c: what holds readers back, for those who operate the database.
 *
 * Readers stop at the first row whose transaction is still open (the prefix rule, read.c).  Here that row is looked for
 * with a dirty snapshot alone, which also names its transaction.  There may be millions of rows below it; none of them need be
 * looked at when it is known since when the oldest open transaction runs, because rows got their times in the order of their global
 * positions (insert.c).  So the first row that is young enough is found by bisection, and the search begins there.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/subtrans.h"
#include "access/tableam.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "api.h"
#include "read.h"
#include "store.h"

PG_FUNCTION_INFO_V1(millrace_first_undecided);

extern Datum millrace_first_undecided(PG_FUNCTION_ARGS);

/* Puts the first row from a global position on, whatever became of it, into the scan's slot; false: there is none. */
static bool
SeekRow(StoreScan *scan, int64 position)
{
	ScanKeyData key;

	StoreInt8Key(&key, 1, BTGreaterEqualStrategyNumber, position);
	StoreRescan(scan, &key, 1);
	return StoreScanNext(scan, ForwardScanDirection);
}

static Datum
SlotValue(StoreScan *scan, int column)
{
	bool isnull;

	return slot_getattr(scan->slot, column, &isnull);
}

/* Returns a global position below which all rows are older than `since`. */
static int64
FirstSince(StoreScan *scan, Timestamp since, int64 head)
{
	int64 low = 0;
	int64 high = head;

	while (low < high)
	{
		int64 middle = low + (high - low) / 2;

		CHECK_FOR_INTERRUPTS();
		if (!SeekRow(scan, middle) || DatumGetTimestamp(SlotValue(scan, COLUMN_TIME)) >= since)
			high = middle;
		else
			low = DatumGetInt64(SlotValue(scan, COLUMN_GLOBAL_POSITION)) + 1;
	}
	return low;
}

/*
 * Leaves the first undecided row from the position on in the scan's slot and returns its transaction; invalid: there is
 * none.  Not the subtransaction, which has no lock any more, by which its process could be found, once it is committed.
 */
static TransactionId
FindUndecided(StoreScan *scan, int64 position)
{
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	for (bool found = SeekRow(scan, position); found; found = StoreScanNext(scan, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		if (table_tuple_satisfies_snapshot(scan->store->heap, scan->slot, &dirty) &&
			TransactionIdIsValid(dirty.xmin))
			return SubTransGetTopmostTransaction(dirty.xmin);
	}
	return InvalidTransactionId;
}

/*
 * first_undecided(namespace, since, position) -> (head, global_position, xid): what a reader stops at now, NULL when at nothing;
 * and one more than the highest global position.  Rows older than `since` or below the position are taken for decided.
 */
Datum
millrace_first_undecided(PG_FUNCTION_ARGS)
{
	Store *store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 1);
	int64 head = ReadHead(store);
	int64 from = PG_ARGISNULL(1) ? 0 : FirstSince(scan, PG_GETARG_TIMESTAMP(1), head);
	TransactionId xid = FindUndecided(scan, Max(from, ArgInt64(fcinfo, 2, 0)));
	Datum values[3] = {Int64GetDatum(head)};
	bool isnull[3] = {false, !TransactionIdIsValid(xid), !TransactionIdIsValid(xid)};

	if (TransactionIdIsValid(xid))
	{
		values[1] = SlotValue(scan, COLUMN_GLOBAL_POSITION);
		values[2] = TransactionIdGetDatum(xid);
	}
	StoreEndScan(scan);
	StoreClose(store);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
