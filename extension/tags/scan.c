/*
 * scan.c: scanning an index of tags.
 *
 * What an entry says comes from the index; so its page stays pinned while the scan stands on it, and a
 * scan at rest keeps VACUUM from that page.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "utils/fmgroids.h"

#include "base/compat.h"
#include "tags/internal.h"

TagScan *
TagsBegin(Relation heap, Relation index, Snapshot snapshot)
{
	TagScan *scan = palloc0(sizeof(TagScan));

	scan->scan = CompatIndexBeginScan(heap, index, snapshot, ENTRY_COLUMNS);
	scan->scan->xs_want_itup = true;
	scan->direction = NoMovementScanDirection;
	return scan;
}

void
TagsSeek(TagScan *scan, int64 hash, int64 position, ScanDirection direction)
{
	bool backward = ScanDirectionIsBackward(direction);
	ScanKeyData keys[ENTRY_COLUMNS];

	ScanKeyInit(&keys[0], ENTRY_HASH, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(hash));
	ScanKeyInit(&keys[1], ENTRY_POSITION, backward ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber,
				backward ? F_INT8LE : F_INT8GE, Int64GetDatum(position));
	index_rescan(scan->scan, keys, ENTRY_COLUMNS, NULL, 0);
	scan->direction = direction;
}

bool
TagsNext(TagScan *scan)
{
	IndexScanDesc index = scan->scan;
	ItemPointer tid =
		scan->direction == NoMovementScanDirection ? NULL : index_getnext_tid(index, scan->direction);
	bool isnull;

	if (!tid)
		return false;
	scan->hash = DatumGetInt64(index_getattr(index->xs_itup, ENTRY_HASH, index->xs_itupdesc, &isnull));
	scan->position =
		DatumGetInt64(index_getattr(index->xs_itup, ENTRY_POSITION, index->xs_itupdesc, &isnull));
	scan->tid = *tid;
	return true;
}

void
TagsKill(TagScan *scan)
{
	scan->scan->kill_prior_tuple = !scan->scan->xactStartedInRecovery;
}

void
TagsRest(TagScan *scan)
{
	index_rescan(scan->scan, NULL, scan->scan->numberOfKeys, NULL, 0);
	scan->direction = NoMovementScanDirection;
}

void
TagsEnd(TagScan *scan)
{
	index_endscan(scan->scan);
	pfree(scan);
}
