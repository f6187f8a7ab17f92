/*
 * import.c: storing messages that bring their own positions, ids and times.
 *
 * All or none.  A position, global position or id that is taken, in the table or earlier in the same call,
 * is found before anything is inserted, and says which row.  The rows may lie below existing ones: that is
 * the documented exception to the prefix rule.  The sequence is lifted above them first (store/position.c),
 * so what is appended later lies above everything imported.
 *
 * Locks: those of all streams, to commit; the append lock while inserting.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "core/import.h"
#include "store/floors.h"

static int
CompareInt64(int64 a, int64 b)
{
	return a < b ? -1 : a > b;
}

/* Rows with equal keys stand together, in their own order. */
static int
ByAddress(const NewRow *a, const NewRow *b)
{
	return a < b ? -1 : a > b;
}

static int
CompareIds(const NewRow *a, const NewRow *b)
{
	return memcmp(a->id.data, b->id.data, UUID_LEN);
}

static int
ComparePositions(const NewRow *a, const NewRow *b)
{
	int order = SliceCompare(SliceOfText(a->stream), SliceOfText(b->stream));

	return order ? order : CompareInt64(a->position, b->position);
}

static int
CompareGlobalPositions(const NewRow *a, const NewRow *b)
{
	return CompareInt64(a->global_position, b->global_position);
}

typedef int (*RowOrder)(const NewRow *a, const NewRow *b);

static int
CompareRows(const void *left, const void *right, void *order)
{
	const NewRow *a = *(NewRow *const *)left;
	const NewRow *b = *(NewRow *const *)right;
	int result = ((RowOrder)order)(a, b);

	return result ? result : ByAddress(a, b);
}

/* Returns the first row (of all) whose key an earlier one has; NULL when there is none. */
static NewRow *
FindRepeated(NewRow **sorted, int nrows, RowOrder order)
{
	NewRow *found = NULL;

	qsort_arg(sorted, nrows, sizeof(NewRow *), CompareRows, (void *)order);
	for (int i = 1; i < nrows; i++)
		if (order(sorted[i - 1], sorted[i]) == 0 && (!found || sorted[i] < found))
			found = sorted[i];
	return found;
}

static char *
TakenText(const NewRow *row, StoreIndexKind kind)
{
	switch (kind)
	{
		case INDEX_ID:
			return psprintf("message id %s is there already",
							DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&row->id))));
		case INDEX_STREAM:
			return psprintf("position " INT64_FORMAT " of stream \"%s\" is there already", row->position,
							text_to_cstring(row->stream));
		default:
			return psprintf("global position " INT64_FORMAT " is there already", row->global_position);
	}
}

static void
SetKeys(StoreScan *scan, StoreIndexKind kind, NewRow *row, ScanKey keys)
{
	switch (kind)
	{
		case INDEX_ID:
			ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&row->id));
			break;
		case INDEX_STREAM:
			StoreTextKey(scan, &keys[0], 1, BTEqualStrategyNumber, row->stream);
			StoreInt8Key(&keys[1], 2, BTEqualStrategyNumber, row->position);
			break;
		default:
			StoreInt8Key(&keys[0], 1, BTEqualStrategyNumber, row->global_position);
	}
}

/* Looks for the keys of rows [0, nrows) in one index, and lowers the verdict to the first that is taken. */
static void
FindTaken(Store *store, StoreIndexKind kind, NewRow *rows, int nrows, ImportVerdict *verdict)
{
	SnapshotData dirty;
	int nkeys = kind == INDEX_STREAM ? 2 : 1;
	StoreScan *scan;

	InitDirtySnapshot(dirty);
	scan = StoreBeginScan(store, kind, &dirty, nkeys);
	for (int i = 0; i < nrows; i++)
	{
		ScanKeyData keys[2];

		SetKeys(scan, kind, &rows[i], keys);
		if (StoreFindLive(scan, keys, nkeys, NULL))
		{
			verdict->failed = i;
			verdict->message = TakenText(&rows[i], kind);
			break;
		}
	}
	StoreEndScan(scan);
}

static void
LockStreams(Store *store, NewRow *rows, int nrows)
{
	uint64 *hashes = palloc(sizeof(uint64) * nrows);

	for (int i = 0; i < nrows; i++)
		hashes[i] = StoreStreamHash(store, SliceOfText(rows[i].stream));
	StoreSortAndLockStreams(hashes, nrows);
	pfree(hashes);
}

/*
 * Rows that come back to a stream below its floor mark that, so that from now on the higher of tail and floor
 * counts; with one at the floor's version or above it the floor has done its work.  The stream's rows are
 * rows[0, nrows), by their positions.
 */
static void
MarkRestored(Store *store, NewRow **rows, int nrows)
{
	Floor floor;

	if (!StoreFindFloor(store, rows[0]->stream, SnapshotSelf, &floor))
		return;
	if (rows[nrows - 1]->position >= floor.version)
	{
		StoreDropFloor(store, rows[0]->stream);
		return;
	}
	if (floor.restored)
		return;
	floor.restored = true;
	StoreSetFloor(store, rows[0]->stream, &floor);
}

/* The same for all streams; the rows are in their order. */
static void
MarkAllRestored(Store *store, NewRow **sorted, int nrows)
{
	int first = 0;

	if (!StoreRemains(store).floors)
		return;
	for (int i = 1; i <= nrows; i++)
		if (i == nrows || !SliceEqual(SliceOfText(sorted[i]->stream), SliceOfText(sorted[first]->stream)))
		{
			MarkRestored(store, &sorted[first], i - first);
			first = i;
		}
}

/* Stores the rows, or none of them and says which is the first at fault. */
ImportVerdict
ImportRows(Store *store, NewRow *rows, int nrows)
{
	static const RowOrder orders[] = {
		[INDEX_ID] = CompareIds,
		[INDEX_STREAM] = ComparePositions,
		[INDEX_GLOBAL_POSITION] = CompareGlobalPositions,
	};
	static const StoreIndexKind kinds[] = {INDEX_ID, INDEX_STREAM, INDEX_GLOBAL_POSITION};
	ImportVerdict verdict = {.failed = -1};
	NewRow **sorted = palloc(sizeof(NewRow *) * nrows);
	int limit = nrows;

	StoreCheckAppendAllowed();
	for (int i = 0; i < nrows; i++)
		sorted[i] = &rows[i];
	LockStreams(store, rows, nrows);
	for (int k = 0; k < lengthof(kinds); k++)
	{
		NewRow *repeated = FindRepeated(sorted, nrows, orders[kinds[k]]);

		if (repeated && repeated - rows < limit)
		{
			verdict.failed = limit = (int)(repeated - rows);
			verdict.message = TakenText(repeated, kinds[k]);
		}
		FindTaken(store, kinds[k], rows, limit, &verdict);
		if (verdict.failed >= 0)
			limit = verdict.failed;
	}
	if (verdict.failed >= 0)
		return verdict;
	for (int i = 0; i < nrows; i++)
		sorted[i] = &rows[i];
	qsort_arg(sorted, nrows, sizeof(NewRow *), CompareRows, (void *)ComparePositions);
	MarkAllRestored(store, sorted, nrows);
	qsort_arg(sorted, nrows, sizeof(NewRow *), CompareRows, (void *)CompareGlobalPositions);
	(void)StoreInsert(store, sorted, nrows, true, NULL);
	return verdict;
}
