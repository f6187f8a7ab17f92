/*
 * compare.c: comparing an index of tags with its table.
 *
 * The entries that the table demands are sorted as those of the index are, and both are walked through
 * side by side.  Of the table come the rows that the snapshot sees, by the walk that builds an index, so a
 * row is found where its entries lead.  The index has further ones, of rows that the snapshot does not
 * see; what it has and the table does not demand is wrong only if the row that it leads to is seen, or if
 * there is none.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/tuplesort.h"

#include "base/compat.h"
#include "tags/internal.h"

enum
{
	SORTED_TID = ENTRY_COLUMNS + 1,
	SORTED_COLUMNS = SORTED_TID
};

typedef struct Entry
{
	int64 hash, position;
	ItemPointerData tid;
} Entry;

typedef struct Comparison
{
	Relation heap, index;
	Snapshot snapshot;
	Tuplesortstate *demanded;
	TupleTableSlot *put, *got;
	Entry demand; /* the next one */
	IndexScanDesc scan;
	TupleTableSlot *row;
	Entry entry; /* the next one of the index */
} Comparison;

/* ---- what the table demands ---------------------------------------------------------------------------- */

static void
PutDemand(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	Comparison *comparison = state;
	TupleTableSlot *slot = comparison->put;
	RowEntries entries = TagsEntriesOf(values, isnull);

	while (TagsNextEntry(&entries))
	{
		ExecClearTuple(slot);
		slot->tts_values[ENTRY_HASH - 1] = entries.values[ENTRY_HASH - 1];
		slot->tts_values[ENTRY_POSITION - 1] = entries.values[ENTRY_POSITION - 1];
		slot->tts_values[SORTED_TID - 1] = PointerGetDatum(tid);
		ExecStoreVirtualTuple(slot);
		tuplesort_puttupleslot(comparison->demanded, slot);
	}
}

static void
SortDemands(Comparison *comparison)
{
	AttrNumber columns[] = {ENTRY_HASH, ENTRY_POSITION, SORTED_TID};
	Oid operators[] = {Int8LessOperator, Int8LessOperator, TIDLessOperator};
	Oid collations[SORTED_COLUMNS] = {InvalidOid};
	bool nulls_first[SORTED_COLUMNS] = {false};
	TupleDesc desc = CreateTemplateTupleDesc(SORTED_COLUMNS);
	IndexInfo *info = BuildIndexInfo(comparison->index);

	TupleDescInitEntry(desc, ENTRY_HASH, NULL, INT8OID, -1, 0);
	TupleDescInitEntry(desc, ENTRY_POSITION, NULL, INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORTED_TID, NULL, TIDOID, -1, 0);
	CompatTupleDescFinalize(desc);
	comparison->put = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	comparison->got = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	comparison->demanded = tuplesort_begin_heap(desc, SORTED_COLUMNS, columns, operators, collations,
												nulls_first, maintenance_work_mem, NULL, TUPLESORT_NONE);
	info->ii_Concurrent = true; /* so that the walk sees what the snapshot sees */
	(void)table_index_build_scan(comparison->heap, comparison->index, info, true, false, PutDemand,
								 comparison, CompatTableBeginScan(comparison->heap, comparison->snapshot));
	tuplesort_performsort(comparison->demanded);
}

static bool
NextDemand(Comparison *comparison)
{
	TupleTableSlot *slot = comparison->got;
	Entry *demand = &comparison->demand;
	bool isnull;

	if (!tuplesort_gettupleslot(comparison->demanded, true, false, slot, NULL))
		return false;
	demand->hash = DatumGetInt64(slot_getattr(slot, ENTRY_HASH, &isnull));
	demand->position = DatumGetInt64(slot_getattr(slot, ENTRY_POSITION, &isnull));
	demand->tid = *(ItemPointer)DatumGetPointer(slot_getattr(slot, SORTED_TID, &isnull));
	return true;
}

/* ---- what the index has -------------------------------------------------------------------------------- */

static void
BeginEntries(Comparison *comparison)
{
	comparison->row = table_slot_create(comparison->heap, NULL);
	comparison->scan = CompatIndexBeginScan(comparison->heap, comparison->index, comparison->snapshot, 0);
	comparison->scan->xs_want_itup = true;
	index_rescan(comparison->scan, NULL, 0, NULL, 0);
}

static bool
NextEntry(Comparison *comparison)
{
	IndexScanDesc scan = comparison->scan;
	ItemPointer tid = index_getnext_tid(scan, ForwardScanDirection);
	Entry *entry = &comparison->entry;
	bool isnull;

	CHECK_FOR_INTERRUPTS();
	if (!tid)
		return false;
	entry->hash = DatumGetInt64(index_getattr(scan->xs_itup, ENTRY_HASH, scan->xs_itupdesc, &isnull));
	entry->position = DatumGetInt64(index_getattr(scan->xs_itup, ENTRY_POSITION, scan->xs_itupdesc, &isnull));
	entry->tid = *tid;
	return true;
}

/*
 * Says whether an entry leads to nothing: to a place that no row has, or behind the end of the table.  The
 * scan's pin on the entry's page keeps VACUUM from making it so; not in recovery.
 */
static bool
LeadsNowhere(Comparison *comparison, ItemPointer tid)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	Buffer buffer;
	Page page;
	bool nowhere;

	if (RecoveryInProgress())
		return false;
	if (block >= RelationGetNumberOfBlocks(comparison->heap))
		return true;
	buffer = ReadBuffer(comparison->heap, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	nowhere = offset > PageGetMaxOffsetNumber(page) || !ItemIdIsUsed(PageGetItemId(page, offset));
	UnlockReleaseBuffer(buffer);
	return nowhere;
}

/* Says whether an entry that the table does not demand is wrong. */
static bool
IsSuperfluous(Comparison *comparison)
{
	return LeadsNowhere(comparison, &comparison->entry.tid) ||
		   index_fetch_heap(comparison->scan, comparison->row);
}

/* ---- side by side -------------------------------------------------------------------------------------- */

static int
CompareEntries(const Entry *a, const Entry *b)
{
	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	if (a->position != b->position)
		return a->position < b->position ? -1 : 1;
	return ItemPointerCompare((ItemPointer)&a->tid, (ItemPointer)&b->tid);
}

static void
CompareAll(Comparison *comparison, TagsReport report, void *sink)
{
	const Entry *demand = &comparison->demand, *entry = &comparison->entry;
	bool more_demands = NextDemand(comparison), more_entries = NextEntry(comparison);

	while (more_demands || more_entries)
	{
		int order = !more_demands ? 1 : !more_entries ? -1 : CompareEntries(demand, entry);

		if (order < 0)
			report(sink, TAGS_MISSING, demand->hash, demand->position);
		else if (order > 0 && IsSuperfluous(comparison))
			report(sink, TAGS_SUPERFLUOUS, entry->hash, entry->position);
		if (order <= 0)
			more_demands = NextDemand(comparison);
		if (order >= 0)
			more_entries = NextEntry(comparison);
	}
}

void
TagsCompare(Relation heap, Relation index, Snapshot snapshot, TagsReport report, void *sink)
{
	Comparison comparison = {.heap = heap, .index = index, .snapshot = snapshot};

	SortDemands(&comparison);
	BeginEntries(&comparison);
	CompareAll(&comparison, report, sink);
	index_endscan(comparison.scan);
	tuplesort_end(comparison.demanded);
	ExecDropSingleTupleTableSlot(comparison.row);
	ExecDropSingleTupleTableSlot(comparison.put);
	ExecDropSingleTupleTableSlot(comparison.got);
}
