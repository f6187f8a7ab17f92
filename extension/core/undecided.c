/*
 * undecided.c: which rows may still commit, and below which position there are none.
 *
 * A row is undecided for a snapshot that doesn't see it if its transaction may still commit, or did so later.
 * With the position that a reader has reached, an index scan from there finds the first one.  Without it the
 * row may be anywhere, far below the others if it is an import's; but it is on a page that is not marked
 * all-visible, since a page with that mark has no such row.  So all other pages are looked at, in the order
 * of the table: with autovacuum those written last.
 *
 * A read that begins at the end must know the first undecided row before it begins:
 *
 *   - Nothing is open: no transaction that the snapshot holds to be in progress, and no number given out
 *     since.  Then all that is in the index is decided.
 *   - Else the session knows from its last read up to where all was decided.  That stays so: an append puts
 *     its entries above all that are there (store/entry.c), and what one snapshot sees every younger one
 *     sees.  So the index is walked from there, each part of it once.
 *   - Else, in the session's first such read of the table, the pages are looked at.
 *
 * What is known holds for snapshots that are not older than the one that it was found by.  Of two snapshots
 * with one xmax the older has more transactions in progress, as numbers below xmax are given out no more.
 * Where the session's own transaction had written, its rows were visible, and would be undecided again after
 * PREPARE TRANSACTION: so its number is kept, too.  What is known is worth nothing any more when the table
 * has another file or ends lower, or when an import has put messages below others (store/below.c).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/transam.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/prefix.h"
#include "core/read.h"
#include "core/undecided.h"
#include "store/below.h"
#include "store/page.h"

/* Numbers given out after a snapshot that are looked at, whether they are all our own. */
#define OWN_NUMBERS 16

/* ---- the first undecided row ------------------------------------------------------------------------- */

/* The first from a position on, by the index. */
Undecided
FirstUndecidedFrom(Store *store, int64 position, Snapshot snapshot)
{
	Undecided first = {PG_INT64_MAX, InvalidTransactionId, false};
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 1);
	PrefixScan *prefix = PrefixBegin(scan, snapshot, ForwardScanDirection);
	PrefixStep step = PREFIX_ROW;
	ScanKeyData key;
	HeapTuple row;

	scan->scan->xs_want_itup = true;
	StoreInt8Key(&key, 1, BTGreaterEqualStrategyNumber, position);
	StoreRescan(scan, &key, 1);
	while (step == PREFIX_ROW)
		step = PrefixNext(prefix, &row);
	if (step == PREFIX_UNDECIDED)
		first = (Undecided){PrefixEntryPosition(scan, row), HeapTupleHeaderGetXmin(row->t_data), false};
	PrefixEnd(prefix);
	StoreEndScan(scan);
	return first;
}

/*
 * Lists a page's rows below `limit` that are undecided; returns how many.  Updates are yet to be judged by
 * what else the snapshot sees.
 */
static int
ListUndecided(Store *store, Buffer buffer, Snapshot snapshot, int64 limit, Undecided *found)
{
	SnapshotData dirty;
	OffsetNumber last;
	int nfound = 0;

	InitDirtySnapshot(dirty);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		HeapTupleData row;
		int64 position;
		bool isnull;

		if (!PageRowAt(store->heap, buffer, offset, &row))
			continue;
		position =
			DatumGetInt64(heap_getattr(&row, COLUMN_GLOBAL_POSITION, RelationGetDescr(store->heap), &isnull));
		if (position < limit && !HeapTupleSatisfiesVisibility(&row, snapshot, buffer) &&
			HeapTupleSatisfiesVisibility(&row, &dirty, buffer))
			found[nfound++] = (Undecided){position, HeapTupleHeaderGetXmin(row.t_data),
										  (row.t_data->t_infomask & HEAP_UPDATED) != 0};
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return nfound;
}

/* Says whether the snapshot sees a message of this global position. */
static bool
IsSeen(Store *store, int64 position, Snapshot snapshot)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, snapshot, 1);
	ScanKeyData key;
	bool seen;

	StoreInt8Key(&key, 1, BTEqualStrategyNumber, position);
	StoreRescan(scan, &key, 1);
	seen = StoreScanNext(scan, ForwardScanDirection);
	StoreEndScan(scan);
	return seen;
}

/*
 * The first of all, by the table.  A mark that arrives on a standby may be younger than the snapshot
 * (core/prefix.c).
 */
Undecided
FirstUndecided(Store *store, Snapshot snapshot)
{
	Undecided first = {PG_INT64_MAX, InvalidTransactionId, false};
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber nblocks = RelationGetNumberOfBlocks(store->heap);
	Buffer map = InvalidBuffer;

	for (BlockNumber block = 0; block < nblocks; block++)
	{
		Undecided found[MaxHeapTuplesPerPage];
		Buffer buffer;
		int nfound;

		CHECK_FOR_INTERRUPTS();
		if (!snapshot->takenDuringRecovery && VM_ALL_VISIBLE(store->heap, block, &map))
			continue;
		buffer = ReadBufferExtended(store->heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		nfound = ListUndecided(store, buffer, snapshot, first.global_position, found);
		ReleaseBuffer(buffer);
		for (int i = 0; i < nfound; i++)
			if (found[i].global_position < first.global_position &&
				!(found[i].updated && IsSeen(store, found[i].global_position, snapshot)))
				first = found[i];
	}
	if (BufferIsValid(map))
		ReleaseBuffer(map);
	FreeAccessStrategy(strategy);
	return first;
}

/* ---- up to where all is decided ------------------------------------------------------------------------ */

/* What the session knows of a table. */
typedef struct Known
{
	Oid relid; /* hash key */
	Oid file;  /* another one: the table was emptied or written anew */
	int64 position;
	/* of the snapshot it was found by */
	TransactionId xmax;
	uint32 in_progress;
	uint64 imports;	   /* that put messages below others, before */
	TransactionId own; /* the session's transaction; InvalidTransactionId: it had not written */
} Known;

static HTAB *known_tables = NULL;

/* In recovery all that is in progress is listed as subtransactions. */
static uint32
InProgress(Snapshot snapshot)
{
	return snapshot->takenDuringRecovery ? (uint32)snapshot->subxcnt : snapshot->xcnt;
}

static bool
IsOlder(Snapshot snapshot, const Known *known)
{
	return snapshot->xmax == known->xmax ? InProgress(snapshot) > known->in_progress
										 : TransactionIdPrecedes(snapshot->xmax, known->xmax);
}

/* Returns what is known of the table, or an empty entry. */
static Known *
FindKnown(Store *store)
{
	HASHCTL keys = {.keysize = sizeof(Oid), .entrysize = sizeof(Known), .hcxt = TopMemoryContext};
	Oid relid = RelationGetRelid(store->heap);
	Known *known;
	bool found;

	if (!known_tables)
		known_tables = hash_create("millrace decided", 32, &keys, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	known = hash_search(known_tables, &relid, HASH_ENTER, &found);
	if (!found || known->file != store->heap->rd_rel->relfilenode)
	{
		known->file = store->heap->rd_rel->relfilenode;
		known->xmax = InvalidTransactionId;
	}
	return known;
}

/* Says whether what is known holds for the snapshot.  `head`: one more than the highest position. */
static bool
Holds(const Known *known, Snapshot snapshot, uint64 imports, int64 head)
{
	if (!TransactionIdIsValid(known->xmax) || IsOlder(snapshot, known) || known->imports != imports ||
		known->position >= head)
		return false;
	return !TransactionIdIsValid(known->own) || TransactionIdIsCurrentTransactionId(known->own) ||
		   !XidInMVCCSnapshot(known->own, snapshot);
}

static void
Remember(Known *known, Snapshot snapshot, uint64 imports, int64 position)
{
	if (TransactionIdIsValid(known->xmax) && IsOlder(snapshot, known))
		return;
	known->position = position;
	known->xmax = snapshot->xmax;
	known->in_progress = InProgress(snapshot);
	known->imports = imports;
	known->own = GetTopTransactionIdIfAny();
}

/*
 * Says whether no transaction but our own had a number that the snapshot doesn't know to have ended.  Numbers
 * from xmax on are not in its list: one that is older than our look at the next one may have written already.
 */
static bool
NothingIsOpen(Snapshot snapshot)
{
	TransactionId next = ReadNextTransactionId();
	TransactionId xid = snapshot->xmax;

	if (snapshot->suboverflowed || InProgress(snapshot) > 0 || next - xid > OWN_NUMBERS)
		return false;
	while (xid != next)
	{
		if (!TransactionIdIsCurrentTransactionId(xid))
			return false;
		TransactionIdAdvance(xid);
	}
	return true;
}

/*
 * Returns the highest global position up to which all is decided for the snapshot: what it doesn't see of
 * what lies up to there will never appear.
 */
int64
DecidedTo(Store *store, Snapshot snapshot)
{
	int64 head = ReadHead(store); /* first: what is inserted from now on is not below it */
	Known *known = FindKnown(store);
	uint64 imports = 0;
	bool counted = StoreCountBelow(&imports);
	int64 end = head;

	if (!NothingIsOpen(snapshot))
	{
		Undecided first = counted && Holds(known, snapshot, imports, head)
							  ? FirstUndecidedFrom(store, PositionBehind(known->position), snapshot)
							  : FirstUndecided(store, snapshot);

		end = Min(head, first.global_position);
	}
	if (end == LAST_POSITION) /* put there by hand, and nothing can come behind it */
		return end;
	if (counted)
		Remember(known, snapshot, imports, end - 1);
	return end - 1;
}

/* The same, but no higher than `last`: nothing is looked at where the session knows of that already. */
int64
DecidedUpTo(Store *store, Snapshot snapshot, int64 last)
{
	const Known *known = FindKnown(store);
	uint64 imports = 0;

	if (known->position >= last && StoreCountBelow(&imports) &&
		Holds(known, snapshot, imports, ReadHead(store)))
		return last;
	return Min(DecidedTo(store, snapshot), last);
}
