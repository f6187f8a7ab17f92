/*
 * lookup.c: a message by its id, and the place of a time.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relscan.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "core/prefix.h"
#include "core/read.h"
#include "core/row.h"
#include "store/store.h"

/* Hands the message of this id, if the caller's snapshot sees it, to the sink; returns whether it does. */
bool
ReadMessageById(Store *store, const pg_uuid_t *id, MessageSink sink, void *arg)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_ID, GetActiveSnapshot(), 1);
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	StoreRescan(scan, &key, 1);
	found = StoreScanNext(scan, ForwardScanDirection);
	if (found)
	{
		Message message;

		MessageFromRow(store, StoreScanRow(scan), &message);
		(void)sink(arg, &message);
	}
	StoreEndScan(scan);
	return found;
}

/* Moves the scan to the first row from a position on; false: there is none. */
static bool
GoTo(StoreScan *scan, int64 position)
{
	ScanKeyData key;

	StoreInt8Key(&key, 1, BTGreaterEqualStrategyNumber, position);
	StoreRescan(scan, &key, 1);
	return StoreScanNext(scan, ForwardScanDirection);
}

/*
 * Finds the lowest position from which on times are not below this one, by bisection: any row shows the time
 * at its place, also one that was rolled back.
 */
static int64
BisectTimes(Store *store, Timestamp time)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 1);
	int64 low = 0, high = ReadHead(store);

	while (low < high)
	{
		int64 middle = low + (high - low) / 2;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		if (!GoTo(scan, middle) || DatumGetTimestamp(slot_getattr(scan->slot, COLUMN_TIME, &isnull)) >= time)
			high = middle;
		else
			low = PositionBehind(DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull)));
	}
	StoreEndScan(scan);
	return low;
}

/*
 * Returns the position of the first message whose time is at or after this one, or of one before it that may
 * still commit; where there is none, the position behind the last message that the caller's snapshot sees.
 * Of times that do not rise with the positions, as an import's may not, one such place.
 */
int64
ReadPositionAt(Store *store, Timestamp time)
{
	int64 behind = PositionBehind(ReadLastPosition(store));
	int64 first = BisectTimes(store, time);
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 1);
	PrefixScan *prefix = PrefixBegin(scan, GetActiveSnapshot(), ForwardScanDirection);
	ScanKeyData key;
	HeapTuple row;

	scan->scan->xs_want_itup = true;
	StoreInt8Key(&key, 1, BTGreaterEqualStrategyNumber, first);
	StoreRescan(scan, &key, 1);
	if (PrefixNext(prefix, &row) != PREFIX_NO_MORE)
		behind = Min(behind, PrefixEntryPosition(scan, row));
	PrefixEnd(prefix);
	StoreEndScan(scan);
	return behind;
}
