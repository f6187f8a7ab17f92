/*
 * index_scan.c: scanning an index of a table of messages, from C.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "utils/fmgroids.h"

#include "base/compat.h"
#include "store/leaf.h"

/*
 * Begins a scan of one of our own indexes.  It finds nothing before StoreRescan() has given it its keys: as
 * many, on the index's first columns.
 */
StoreScan *
StoreBeginScan(Store *store, StoreIndexKind kind, Snapshot snapshot, int nkeys)
{
	StoreScan *scan = palloc(sizeof(StoreScan));

	scan->store = store;
	scan->index = StoreOpenIndex(store, store->index[kind], STORE_READ);
	scan->scan = CompatIndexBeginScan(store->heap, scan->index, snapshot, nkeys);
	scan->slot = table_slot_create(store->heap, NULL);
	return scan;
}

/* Begins anew, with other keys; they are copied. */
void
StoreRescan(StoreScan *scan, ScanKey keys, int nkeys)
{
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

/* Goes to the next row, which is in scan->slot then; false: there is no more. */
bool
StoreScanNext(StoreScan *scan, ScanDirection direction)
{
	return index_getnext_slot(scan->scan, direction, scan->slot);
}

/* The row that StoreScanNext found, which the slot keeps. */
HeapTuple
StoreScanRow(StoreScan *scan)
{
	return ExecFetchSlotHeapTuple(scan->slot, false, NULL);
}

/*
 * Finds the last row of a stream by a scan on INDEX_STREAM, whose own place is lost; `leaf` is of the same
 * index.  TAIL_FOUND: it is in scan->slot.  TAIL_UNKNOWN also where the last entry's row is not visible.
 * *guess is LeafFindTail()'s.
 */
LeafTail
StoreScanTail(StoreScan *scan, Leaf *leaf, text *stream, BlockNumber *guess)
{
	LeafTail tail = LeafFindTail(leaf, SliceOfText(stream), guess, &scan->scan->xs_heaptid);

	if (tail != TAIL_FOUND)
		return tail;
	scan->scan->xs_heap_continue = false;
	if (!index_fetch_heap(scan->scan, scan->slot))
		tail = TAIL_UNKNOWN;
	LeafUnpin(leaf);
	return tail;
}

/* Lets go of the row that StoreScanTail() has found, before waiting for another transaction. */
void
StoreRestTail(StoreScan *scan)
{
	ExecClearTuple(scan->slot);
	table_index_fetch_reset(scan->scan->xs_heapfetch);
}

/*
 * Lets go of the pages that the scan stands on, which must be done before waiting for another transaction:
 * that one may wait for a third, which waits until a page has no other pin, and PostgreSQL detects no such
 * deadlock.  StoreRescan begins anew.
 */
void
StoreRestScan(StoreScan *scan)
{
	ExecClearTuple(scan->slot);
	index_rescan(scan->scan, NULL, scan->scan->numberOfKeys, NULL, 0);
}

/* Ends a scan and closes its index, whose lock stays to commit. */
void
StoreEndScan(StoreScan *scan)
{
	ExecDropSingleTupleTableSlot(scan->slot);
	index_endscan(scan->scan);
	index_close(scan->index, NoLock);
	pfree(scan);
}

/* Makes a scan key on a text column of the scan's index: =, > or >=. */
void
StoreTextKey(StoreScan *scan, ScanKey key, int column, StrategyNumber strategy, text *value)
{
	RegProcedure compare = strategy == BTEqualStrategyNumber	 ? F_TEXTEQ
						   : strategy == BTGreaterStrategyNumber ? F_TEXT_GT
																 : F_TEXT_GE;

	ScanKeyEntryInitialize(key, 0, (AttrNumber)column, strategy, InvalidOid,
						   scan->index->rd_indcollation[column - 1], compare, PointerGetDatum(value));
}

/* Makes a scan key on a bigint column: =, >= or <=. */
void
StoreInt8Key(ScanKey key, int column, StrategyNumber strategy, int64 value)
{
	RegProcedure compare = strategy == BTEqualStrategyNumber	   ? F_INT8EQ
						   : strategy == BTLessEqualStrategyNumber ? F_INT8LE
																   : F_INT8GE;

	ScanKeyInit(key, (AttrNumber)column, strategy, compare, Int64GetDatum(value));
}

/* Returns a jsonb column of the row, detoasted in the current memory context; NULL for SQL NULL. */
Jsonb *
StoreSlotJsonb(TupleTableSlot *slot, int column)
{
	bool isnull;
	Datum value = slot_getattr(slot, column, &isnull);

	return isnull ? NULL : DatumGetJsonbP(value);
}
