/*
 * lookup.c: a message by its id, and the place of a time.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relscan.h"
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

/* A look at the rows of a table by global position. */
typedef struct Probe
{
	StoreScan *scan;
	PrefixScan *prefix;
	int64 position; /* of the row that was found */
	Timestamp time;
} Probe;

/* Finds the first row from a position on that is seen, or may still commit; false: there is none. */
static bool
Look(Probe *probe, int64 position)
{
	TupleDesc desc = RelationGetDescr(probe->scan->store->heap);
	ScanKeyData key;
	HeapTuple row;
	bool isnull;

	StoreInt8Key(&key, 1, BTGreaterEqualStrategyNumber, position);
	StoreRescan(probe->scan, &key, 1);
	if (PrefixNext(probe->prefix, &row) == PREFIX_NO_MORE)
		return false;
	probe->position = PrefixEntryPosition(probe->scan, row);
	probe->time = DatumGetTimestamp(heap_getattr(row, COLUMN_TIME, desc, &isnull));
	return true;
}

/*
 * Returns the position of the first message whose time is at or after this one, or of such a one that may
 * still commit; where there is none, the one behind the head that the caller's snapshot sees.
 * It bisects, so times that do not rise with the positions, as an import's may not, lead to one such place.
 */
int64
ReadPositionAt(Store *store, Timestamp time, int64 head)
{
	int64 behind = PositionBehind(head);
	int64 low = 0, high = ReadHead(store), found = behind;
	Probe probe = {.scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 1)};

	probe.scan->scan->xs_want_itup = true;
	probe.prefix = PrefixBegin(probe.scan, GetActiveSnapshot(), ForwardScanDirection);
	while (low < high)
	{
		int64 middle = low + (high - low) / 2;

		if (!Look(&probe, middle))
			high = middle;
		else if (probe.time >= time)
		{
			found = probe.position;
			high = middle;
		}
		else
			low = PositionBehind(probe.position);
	}
	PrefixEnd(probe.prefix);
	StoreEndScan(probe.scan);
	return Min(found, behind);
}
