/*
 * api_watch.c: what holds readers back, for those who operate the database.
 *
 * Readers stop at the first row whose transaction is still open (the prefix rule, read.c).  Here that row is looked for
 * as they do, by the active snapshot; it names its transaction.  There may be millions of rows below it; none of them need be
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
#include "prefix.h"
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
 * Finds the first row from the position on at which a reader's prefix ends, and returns its transaction; invalid: there is none.  Not the
 * subtransaction, which has no lock any more, by which its process could be found, once it is committed.
 */
static TransactionId
FindUndecided(StoreScan *scan, int64 position, int64 *found)
{
	PrefixScan *prefix = PrefixBegin(scan, GetActiveSnapshot());
	PrefixStep step = PREFIX_ROW;
	TransactionId xid = InvalidTransactionId;
	ScanKeyData key;
	HeapTuple row;

	scan->scan->xs_want_itup = true;
	StoreInt8Key(&key, 1, BTGreaterEqualStrategyNumber, position);
	StoreRescan(scan, &key, 1);
	while (step == PREFIX_ROW)
		step = PrefixNext(prefix, &row);
	if (step == PREFIX_UNDECIDED)
	{
		*found = PrefixEntryPosition(scan, row);
		xid = SubTransGetTopmostTransaction(HeapTupleHeaderGetXmin(row->t_data));
	}
	PrefixEnd(prefix);
	return xid;
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
	int64 found = 0;
	TransactionId xid = FindUndecided(scan, Max(from, ArgInt64(fcinfo, 2, 0)), &found);
	Datum values[3] = {Int64GetDatum(head)};
	bool isnull[3] = {false, !TransactionIdIsValid(xid), !TransactionIdIsValid(xid)};

	if (TransactionIdIsValid(xid))
	{
		values[1] = Int64GetDatum(found);
		values[2] = TransactionIdGetDatum(xid);
	}
	StoreEndScan(scan);
	StoreClose(store);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
