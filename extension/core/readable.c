/*
 * readable.c: from where a read begins.
 *
 * Forward it is the position that is asked for.  Backward, by global position, nothing is returned above a
 * row that may still commit: who goes on forward from the highest position they saw would never see it.  So
 * the read begins below the first such row of the table, of whatever category it is (undecided.c), and what
 * it meets there that its snapshot doesn't see is passed over.
 *
 * A stream commits in the order of its positions, so that nothing can be missing in it.
 */
#include "postgres.h"

#include "access/nbtree.h"

#include "core/readable.h"
#include "core/undecided.h"

/*
 * Where in its stream a read begins: next to the message just before its global position if that is one of
 * the stream, as for a reader that comes back with the last one it saw, so that what it has seen is not read
 * again.
 */
static int64
StreamPosition(Store *store, const ReadRequest *request, Snapshot snapshot)
{
	int64 position = request->position;
	bool bounded =
		request->backward ? request->global_position < LAST_POSITION : request->global_position > 1;
	ScanKeyData key;
	StoreScan *scan;
	bool isnull;

	if (!bounded)
		return position;
	scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, snapshot, 1);
	StoreInt8Key(&key, 1, BTEqualStrategyNumber, request->global_position + (request->backward ? 1 : -1));
	StoreRescan(scan, &key, 1);
	if (StoreScanNext(scan, ForwardScanDirection) &&
		SliceEqual(SliceOfText(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_STREAM_NAME, &isnull))),
				   SliceOfText(request->name)))
	{
		int64 seen = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));

		position = request->backward ? Min(position, seen - 1) : Max(position, PositionBehind(seen));
	}
	StoreEndScan(scan);
	return position;
}

/* Returns the first position that a read returns: in the stream, or global; backward the highest. */
int64
ReadableFrom(Store *store, const ReadRequest *request, Snapshot snapshot)
{
	if (request->kind == READ_STREAM)
		return StreamPosition(store, request, snapshot);
	return request->backward ? Min(request->position, DecidedTo(store, snapshot)) : request->position;
}
