/*
 * watch.c: what holds readers back, for the views of operators and for queries that read the table
 * themselves.
 *
 * A reader's prefix ends at the first row that its snapshot doesn't see and that may still commit, or did
 * so later (core/read.c).  Here that row is looked for by the active snapshot, the one of the statement
 * that asks, so that what else the statement reads of the table ends at the same row.  Where the statement
 * gives the position that it has reached, an index scan from there finds it.  Otherwise the row may be
 * anywhere, far below the others if it is an import's; but it is on a page that is not marked all-visible,
 * since a page with that mark has no such row.  So all other pages are looked at, in the order of the
 * table: with autovacuum those written last.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/visibilitymap.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "core/prefix.h"
#include "core/read.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(millrace_first_undecided);

extern Datum millrace_first_undecided(PG_FUNCTION_ARGS);

/* A row that ends a prefix. */
typedef struct Undecided
{
	int64 global_position; /* PG_INT64_MAX: there is none */
	TransactionId xid;
	bool updated; /* a version that an update made */
} Undecided;

/* The first from a position on, by the index. */
static Undecided
FirstFrom(Store *store, int64 position, Snapshot snapshot)
{
	Undecided first = {PG_INT64_MAX, InvalidTransactionId, false};
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 1);
	PrefixScan *prefix = PrefixBegin(scan, snapshot);
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
	Page page = BufferGetPage(buffer);
	SnapshotData dirty;
	int nfound = 0;

	InitDirtySnapshot(dirty);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= PageGetMaxOffsetNumber(page); offset++)
	{
		ItemId item = PageGetItemId(page, offset);
		HeapTupleData row = {.t_tableOid = RelationGetRelid(store->heap)};
		int64 position;
		bool isnull;

		if (!ItemIdIsNormal(item))
			continue;
		row.t_data = (HeapTupleHeader)PageGetItem(page, item);
		row.t_len = ItemIdGetLength(item);
		ItemPointerSet(&row.t_self, BufferGetBlockNumber(buffer), offset);
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
static Undecided
FirstOfAll(Store *store, Snapshot snapshot)
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

/*
 * first_undecided(namespace, position) -> (head, global_position, xid): what the statement's snapshot makes
 * readers stop at, from a position on or (NULL) anywhere, NULL when at nothing; and one more than the highest
 * global position.  0.1.0 gave a time between the two arguments, below which nothing was looked at.
 *
 * xid is that of the top-level transaction: a subtransaction has no lock any more once it is committed, and
 * the process is found by the lock.
 */
Datum
millrace_first_undecided(PG_FUNCTION_ARGS)
{
	int position = PG_NARGS() - 1;
	Store *store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	int64 head = ReadHead(store); /* first: what is inserted from now on is not below it */
	Undecided first = PG_ARGISNULL(position)
						  ? FirstOfAll(store, GetActiveSnapshot())
						  : FirstFrom(store, PG_GETARG_INT64(position), GetActiveSnapshot());
	bool none = first.global_position == PG_INT64_MAX;
	Datum values[3] = {Int64GetDatum(head)};
	bool isnull[3] = {false, none, none};

	if (!none)
	{
		values[1] = Int64GetDatum(first.global_position);
		values[2] = TransactionIdGetDatum(SubTransGetTopmostTransaction(first.xid));
	}
	StoreClose(store);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
