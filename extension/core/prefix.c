/*
 * prefix.c: a scan that judges every row that an index leads to.
 *
 * An index scan by any snapshot that it is given either hides the rows that the snapshot doesn't see, or
 * (SnapshotAny) costs two locks of the heap's page and a slot for each row.  This one takes the entries from
 * the index and goes to the heap itself, a page at a time: a category's neighbours in the index are mostly
 * neighbours in the heap, since both come in the order of global positions.
 *
 *   - The page stays pinned until an entry leads to another one.  While it is pinned no row's bytes move and
 *     no line pointer of a row is given to another row (both need a lock that waits for pins), so a verdict,
 *     once found, holds, and a row may be read without the page's lock.
 *   - The first entry that leads to a page gets its own verdict; with the second one all rows of the page are
 *     judged under one lock.  A page that is marked all-visible needs no judging: every snapshot there is
 *     sees all of its rows.  Not so for a snapshot taken in recovery, see heapgetpage(): there the mark may
 *     arrive before the standby's own snapshots are over.
 *   - A row that comes to the page afterwards has no verdict yet, so it gets one when an entry leads to it.
 *   - A row that was updated is a chain of versions (HOT); heap_hot_search_buffer() walks it, as for
 *     any index scan.
 *   - Where the new version has entries of its own (not HOT) the old one's stay.  Such a version, undecided,
 *     is of a message that was there before, which the snapshot sees by another entry: then it is passed
 *     over.  Where the snapshot sees none, the message was inserted since, and the version stands for it.
 *     Which of the entries comes first in the index is left to chance, so the other one is looked up.
 *
 * The snapshot of the scan itself decides only whether the index's page stays pinned too.  By SnapshotAny it
 * does, so that VACUUM can't free a line pointer before its entry has been followed.  By an MVCC snapshot it
 * doesn't, so that a cursor at rest holds up no VACUUM; then an entry of an aborted row may lead to a row
 * that was put in its place.  That row is younger than the snapshot, so at worst it ends the read: still a
 * prefix.  In recovery the pin is not enough either: a replayed VACUUM waits only for pins on the pages that
 * it takes entries from, and an entry may have moved to another page by a split.  So the position of a row
 * that the snapshot doesn't see is taken from its entry, not from the row (read.c).
 *
 * Going round the table's access methods means to do for serializable transactions what they do: read.c locks
 * the whole table, and conflicts are reported here, for the rows that are met and no others.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/names.h"
#include "core/prefix.h"
#include "store/page.h"

typedef enum Verdict
{
	UNKNOWN, /* or no row */
	VISIBLE,
	PASSED_OVER, /* of an aborted transaction, or deleted */
	UNDECIDED,
	CHAIN /* of versions, each of which must be judged */
} Verdict;

struct PrefixScan
{
	StoreScan *scan;
	Snapshot snapshot; /* the reader's */
	ScanDirection direction;
	Buffer buffer; /* the pinned page, or InvalidBuffer */
	BlockNumber block;
	bool met;			  /* an entry has led to this page before */
	bool tells_conflicts; /* of serializable transactions */
	int64 ngone;		  /* rows that may still be passed over; 0 or less: any number */
	HeapTupleData row;
	uint8 verdicts[MaxHeapTuplesPerPage + 1]; /* of the page's rows, by their offsets */
};

/* Begins to judge the rows of a scan by the reader's snapshot; PrefixEnd() ends that, not the scan. */
PrefixScan *
PrefixBegin(StoreScan *scan, Snapshot snapshot, ScanDirection direction)
{
	PrefixScan *prefix = palloc0(sizeof(PrefixScan));

	prefix->scan = scan;
	prefix->snapshot = snapshot;
	prefix->direction = direction;
	prefix->buffer = InvalidBuffer;
	prefix->block = InvalidBlockNumber;
	prefix->tells_conflicts = true;
	return prefix;
}

/*
 * The same by a snapshot of this moment, for PrefixAt(): what is found decides nothing that a serializable
 * transaction answers for.
 */
PrefixScan *
PrefixBeginLatest(StoreScan *scan, Snapshot snapshot)
{
	PrefixScan *prefix = PrefixBegin(scan, snapshot, ForwardScanDirection);

	prefix->tells_conflicts = false;
	return prefix;
}

/* Lets go of the page; before a wait. */
void
PrefixRest(PrefixScan *prefix)
{
	if (BufferIsValid(prefix->buffer))
		ReleaseBuffer(prefix->buffer);
	prefix->buffer = InvalidBuffer;
	prefix->block = InvalidBlockNumber;
}

void
PrefixEnd(PrefixScan *prefix)
{
	if (BufferIsValid(prefix->buffer))
		ReleaseBuffer(prefix->buffer);
	pfree(prefix);
}

static void
EnterPage(PrefixScan *prefix, BlockNumber block)
{
	if (block == prefix->block)
		return;
	prefix->buffer = ReleaseAndReadBuffer(prefix->buffer, prefix->scan->store->heap, block);
	prefix->block = block;
	prefix->met = false;
	memset(prefix->verdicts, UNKNOWN, sizeof(prefix->verdicts));
}

static bool
RowAt(const PrefixScan *prefix, OffsetNumber offset, HeapTuple row)
{
	return PageRowAt(prefix->scan->store->heap, prefix->buffer, offset, row);
}

/* Decides what a row is to the reader.  The page must be locked. */
static Verdict
Judge(const PrefixScan *prefix, HeapTuple row)
{
	SnapshotData dirty;
	bool visible = HeapTupleSatisfiesVisibility(row, prefix->snapshot, prefix->buffer);

	if (prefix->tells_conflicts)
		HeapCheckForSerializableConflictOut(visible, prefix->scan->store->heap, row, prefix->buffer,
											prefix->snapshot);
	if (visible)
		return VISIBLE;
	InitDirtySnapshot(dirty);
	return HeapTupleSatisfiesVisibility(row, &dirty, prefix->buffer) ? UNDECIDED : PASSED_OVER;
}

/* The same for what a line pointer leads to. */
static Verdict
JudgeAt(const PrefixScan *prefix, OffsetNumber offset)
{
	HeapTupleData row;

	if (ItemIdIsRedirected(PageGetItemId(BufferGetPage(prefix->buffer), offset)))
		return CHAIN;
	if (!RowAt(prefix, offset, &row) || HeapTupleIsHeapOnly(&row))
		return UNKNOWN;
	return HeapTupleIsHotUpdated(&row) ? CHAIN : Judge(prefix, &row);
}

static void
JudgePage(PrefixScan *prefix, bool all_visible)
{
	OffsetNumber last = PageGetMaxOffsetNumber(BufferGetPage(prefix->buffer));

	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		if (prefix->verdicts[offset] != UNKNOWN)
			continue;
		if (all_visible && ItemIdIsNormal(PageGetItemId(BufferGetPage(prefix->buffer), offset)))
			prefix->verdicts[offset] = VISIBLE;
		else
			prefix->verdicts[offset] = JudgeAt(prefix, offset);
	}
}

/* Finds the verdict on the row that an entry leads to; UNKNOWN when there is none. */
static Verdict
FindVerdict(PrefixScan *prefix, OffsetNumber offset)
{
	Page page = BufferGetPage(prefix->buffer);

	LockBuffer(prefix->buffer, BUFFER_LOCK_SHARE);
	if (offset <= PageGetMaxOffsetNumber(page))
	{
		bool all_visible = PageIsAllVisible(page) && !prefix->snapshot->takenDuringRecovery;

		if (!IsolationIsSerializable() && (prefix->met || all_visible))
			JudgePage(prefix, all_visible);
		else
			prefix->verdicts[offset] = JudgeAt(prefix, offset);
	}
	LockBuffer(prefix->buffer, BUFFER_LOCK_UNLOCK);
	prefix->met = true;
	return prefix->verdicts[offset];
}

/*
 * Judges the versions of a row that has been updated.  The snapshot sees one of them at most, and then it
 * decides.
 */
static Verdict
JudgeChain(PrefixScan *prefix, ItemPointerData tid)
{
	Verdict verdict = PASSED_OVER;
	HeapTupleData version;
	bool first = true;

	LockBuffer(prefix->buffer, BUFFER_LOCK_SHARE);
	while (verdict != VISIBLE && heap_hot_search_buffer(&tid, prefix->scan->store->heap, prefix->buffer,
														SnapshotAny, &version, NULL, first))
	{
		Verdict found = Judge(prefix, &version);

		if (found != PASSED_OVER)
		{
			verdict = found;
			prefix->row = version;
		}
		first = false;
	}
	LockBuffer(prefix->buffer, BUFFER_LOCK_UNLOCK);
	return verdict;
}

/* Goes to the row that an entry of the index leads to and finds its verdict. */
static Verdict
VisitRow(PrefixScan *prefix, ItemPointer tid)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	Verdict verdict;

	if (offset < FirstOffsetNumber || offset > MaxHeapTuplesPerPage)
		elog(ERROR, "index \"%s\" leads to row %u of a page", RelationGetRelationName(prefix->scan->index),
			 offset);
	EnterPage(prefix, ItemPointerGetBlockNumber(tid));
	verdict = prefix->verdicts[offset];
	if (verdict == UNKNOWN)
		verdict = FindVerdict(prefix, offset);
	if (verdict == CHAIN)
		verdict = JudgeChain(prefix, *tid);
	else if (verdict != UNKNOWN)
		(void)RowAt(prefix, offset, &prefix->row);
	return verdict;
}

static Datum
RowValue(PrefixScan *prefix, int column)
{
	bool isnull;

	return heap_getattr(&prefix->row, column, RelationGetDescr(prefix->scan->store->heap), &isnull);
}

/* Begins a look-up, in the scan's index, of entries with the key of the row that it stands on. */
static StoreScan *
BeginSameKey(PrefixScan *prefix)
{
	Store *store = prefix->scan->store;
	Oid index = RelationGetRelid(prefix->scan->index);
	Datum name = RowValue(prefix, COLUMN_STREAM_NAME);
	text *stream = DatumGetTextPP(name);
	bool by_stream = index == store->index[INDEX_STREAM];
	int nkeys = index == store->index[INDEX_GLOBAL_POSITION] ? 1 : 2;
	ScanKeyData keys[2];
	StoreScan *scan;

	scan = StoreBeginScan(store,
						  by_stream	   ? INDEX_STREAM
						  : nkeys == 2 ? INDEX_CATEGORY
									   : INDEX_GLOBAL_POSITION,
						  prefix->snapshot, nkeys);
	if (nkeys == 2)
	{
		Slice slice = by_stream ? SliceOfText(stream) : NameCategory(SliceOfText(stream));

		StoreTextKey(scan, &keys[0], 1, BTEqualStrategyNumber,
					 cstring_to_text_with_len(slice.bytes, slice.len));
	}
	StoreInt8Key(&keys[nkeys - 1], nkeys, BTEqualStrategyNumber,
				 DatumGetInt64(RowValue(prefix, by_stream ? COLUMN_POSITION : COLUMN_GLOBAL_POSITION)));
	StoreRescan(scan, keys, nkeys);
	return scan;
}

/*
 * Says whether the row is a version that an update made, of a message that the snapshot sees another version
 * of.
 */
static bool
IsSeenOtherwise(PrefixScan *prefix)
{
	MemoryContext caller, context;
	StoreScan *scan;
	bool seen;

	if ((prefix->row.t_data->t_infomask & HEAP_UPDATED) == 0)
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "millrace version", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	scan = BeginSameKey(prefix);
	seen = StoreScanNext(scan, ForwardScanDirection);
	StoreEndScan(scan);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return seen;
}

/* Lets PrefixNext() pass over so many rows, once, before it says PREFIX_BOUND. */
void
PrefixBound(PrefixScan *prefix, int64 ngone)
{
	prefix->ngone = ngone;
}

/*
 * Goes to the next row that the snapshot sees or that ends the prefix.  The row is the scan's and stays until
 * the next call.
 */
PrefixStep
PrefixNext(PrefixScan *prefix, HeapTuple *row)
{
	Verdict verdict;

	*row = &prefix->row;
	for (;;)
	{
		ItemPointer tid = index_getnext_tid(prefix->scan->scan, prefix->direction);

		CHECK_FOR_INTERRUPTS();
		if (!tid)
			return PREFIX_NO_MORE;
		verdict = VisitRow(prefix, tid);
		if (verdict == VISIBLE || (verdict == UNDECIDED && !IsSeenOtherwise(prefix)))
			break;
		if (--prefix->ngone == 0)
			return PREFIX_BOUND;
	}
	pgstat_count_heap_fetch(prefix->scan->index);
	return verdict == VISIBLE ? PREFIX_ROW : PREFIX_UNDECIDED;
}

/*
 * Judges the row at a place that some index has led to; PREFIX_NO_MORE: there is none to be seen, or only a
 * version of a message that the snapshot sees otherwise.  The scan that was given to PrefixBegin() is on
 * global positions, and not moved.
 */
PrefixStep
PrefixAt(PrefixScan *prefix, ItemPointer tid, HeapTuple *row)
{
	Verdict verdict = VisitRow(prefix, tid);

	*row = &prefix->row;
	if (verdict == VISIBLE)
		return PREFIX_ROW;
	return verdict == UNDECIDED && !IsSeenOtherwise(prefix) ? PREFIX_UNDECIDED : PREFIX_NO_MORE;
}

/*
 * Says whether no row is at a place that anyone sees or will see, of which PrefixAt() has just said so for
 * the reader.  In recovery that is not asked: there entries are neither marked nor passed over.
 */
bool
PrefixIsDead(PrefixScan *prefix, ItemPointer tid)
{
	ItemPointerData place = *tid;
	SnapshotData anyone;
	HeapTupleData version;
	bool dead;

	if (TransactionStartedDuringRecovery())
		return false;
	InitNonVacuumableSnapshot(anyone, GlobalVisTestFor(prefix->scan->store->heap));
	LockBuffer(prefix->buffer, BUFFER_LOCK_SHARE);
	dead = !heap_hot_search_buffer(&place, prefix->scan->store->heap, prefix->buffer, &anyone, &version, NULL,
								   true);
	LockBuffer(prefix->buffer, BUFFER_LOCK_UNLOCK);
	return dead;
}

/*
 * The global position at which a scan stands: what its entry says, where the index has it and the scan wants
 * it.  In recovery an entry of an aborted row may lead to a row that was put in its place, whose position is
 * of no meaning here.
 */
int64
PrefixEntryPosition(StoreScan *scan, HeapTuple row)
{
	IndexScanDesc index = scan->scan;
	bool isnull;

	if (!index->xs_itup)
		return DatumGetInt64(
			heap_getattr(row, COLUMN_GLOBAL_POSITION, RelationGetDescr(scan->store->heap), &isnull));
	return DatumGetInt64(index_getattr(
		index->xs_itup, scan->store->index[INDEX_CATEGORY] == RelationGetRelid(scan->index) ? 2 : 1,
		index->xs_itupdesc, &isnull));
}
