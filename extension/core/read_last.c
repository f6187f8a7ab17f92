/*
 * read_last.c: where a namespace and a stream end: head, last position, last message, version.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relscan.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "core/prefix.h"
#include "core/read.h"
#include "core/row.h"
#include "store/floors.h"
#include "store/store.h"

/*
 * Returns one more than the highest global position in the index, whether it is committed or not; 1 when
 * there is none.  What is appended from now on gets at least that, and what is below it is in every index,
 * because entries are put into this one last (store/index.c).
 */
int64
ReadHead(Store *store)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 0);
	int64 head = 1;

	scan->scan->xs_want_itup = true;
	StoreRescan(scan, NULL, 0);
	if (StoreScanNext(scan, BackwardScanDirection))
		head = PositionBehind(PrefixEntryPosition(scan, StoreScanRow(scan)));
	StoreEndScan(scan);
	return head;
}

/* Returns the global position of the last message that the caller's snapshot sees; 0 when there is none. */
int64
ReadLastPosition(Store *store)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, GetActiveSnapshot(), 0);
	int64 position = 0;
	bool isnull;

	StoreRescan(scan, NULL, 0);
	if (StoreScanNext(scan, BackwardScanDirection))
		position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull));
	StoreEndScan(scan);
	return position;
}

/* Begins a scan of one stream with the caller's snapshot. */
static StoreScan *
BeginStream(Store *store, text *stream)
{
	ScanKeyData key;
	StoreScan *scan = StoreBeginScan(store, INDEX_STREAM, GetActiveSnapshot(), 1);

	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, stream);
	StoreRescan(scan, &key, 1);
	return scan;
}

/* Hands the stream's last message, or its last of a type, to the sink; returns whether there is one. */
bool
ReadLastMessage(Store *store, text *stream, text *type, MessageSink sink, void *arg)
{
	StoreScan *scan = BeginStream(store, stream);
	bool found = false;

	while (!found && StoreScanNext(scan, BackwardScanDirection))
	{
		text *row_type;
		bool isnull;
		Message message;

		CHECK_FOR_INTERRUPTS();
		row_type = DatumGetTextPP(slot_getattr(scan->slot, COLUMN_TYPE, &isnull));
		found = !type || SliceEqual(SliceOfText(row_type), SliceOfText(type));
		if (found)
		{
			MessageFromRow(store, StoreScanRow(scan), &message);
			(void)sink(arg, &message);
		}
	}
	StoreEndScan(scan);
	return found;
}

/*
 * Raises a version to the stream's floor, where it is higher (core/version.c).  A stream without messages is
 * looked up in any case: what the session knows of floors may be a moment behind the snapshot.
 */
int64
ReadRaiseToFloor(Store *store, text *stream, int64 version)
{
	Floor floor;

	if ((version == NO_STREAM || StoreRemains(store).restored) &&
		StoreFindFloor(store, stream, GetActiveSnapshot(), &floor))
		version = Max(version, floor.version);
	return version;
}

/* Returns the position of a stream's last message; NO_STREAM when there is none. */
int64
ReadStreamTail(Store *store, text *stream)
{
	StoreScan *scan = BeginStream(store, stream);
	int64 tail = NO_STREAM;
	bool isnull;

	if (StoreScanNext(scan, BackwardScanDirection))
		tail = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
	StoreEndScan(scan);
	return tail;
}

/*
 * Returns the version of a stream: the position of its last message, or of the last it had; NO_STREAM when
 * there never was one.
 */
int64
ReadStreamVersion(Store *store, text *stream)
{
	return ReadRaiseToFloor(store, stream, ReadStreamTail(store, stream));
}
