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

/* ---- keys that are taken ------------------------------------------------------------------------------- */

static bool
SameKey(StoreIndexKind kind, const NewRow *a, const NewRow *b)
{
	switch (kind)
	{
		case INDEX_ID:
			return memcmp(a->id.data, b->id.data, UUID_LEN) == 0;
		case INDEX_STREAM:
			return a->position == b->position && SliceEqual(SliceOfText(a->stream), SliceOfText(b->stream));
		default:
			return a->global_position == b->global_position;
	}
}

/* Returns the first row (of all) whose key an earlier one has; NULL when there is none. */
static NewRow *
FindRepeated(StoreIndexKind kind, NewRow **sorted, int nrows)
{
	NewRow *found = NULL;

	for (int i = 1; i < nrows; i++)
		if (SameKey(kind, sorted[i - 1], sorted[i]) && (!found || sorted[i] < found))
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

static int
CompareAddresses(const void *left, const void *right)
{
	const NewRow *a = *(NewRow *const *)left;
	const NewRow *b = *(NewRow *const *)right;

	return a < b ? -1 : a > b;
}

static void
Refuse(ImportVerdict *verdict, int row, char *message)
{
	verdict->failed = row;
	verdict->message = message;
}

/* Looks for the keys of rows that may be in one index, and lowers the verdict to the first that is taken. */
static void
FindTaken(Store *store, StoreIndexKind kind, NewRow *rows, NewRow **doubtful, int ndoubtful,
		  ImportVerdict *verdict)
{
	SnapshotData dirty;
	int nkeys = kind == INDEX_STREAM ? 2 : 1;
	StoreScan *scan;

	InitDirtySnapshot(dirty);
	scan = StoreBeginScan(store, kind, &dirty, nkeys);
	qsort(doubtful, ndoubtful, sizeof(NewRow *), CompareAddresses);
	for (int i = 0; i < ndoubtful; i++)
	{
		int row = (int)(doubtful[i] - rows);
		ScanKeyData keys[2];

		if (verdict->failed >= 0 && row >= verdict->failed)
			break;
		SetKeys(scan, kind, doubtful[i], keys);
		if (StoreFindLive(scan, keys, nkeys, NULL))
			Refuse(verdict, row, TakenText(doubtful[i], kind));
	}
	StoreEndScan(scan);
}

/* Says which is the first row at fault: its key is in the table, or an earlier row's. */
static ImportVerdict
Judge(Store *store, NewRow *rows, int nrows, const StoreOrders *orders)
{
	static const StoreIndexKind kinds[] = {INDEX_ID, INDEX_STREAM, INDEX_GLOBAL_POSITION};
	ImportVerdict verdict = {.failed = -1};
	NewRow **doubtful = palloc(sizeof(NewRow *) * nrows);

	for (int k = 0; k < lengthof(kinds); k++)
	{
		NewRow **sorted = orders->rows[kinds[k]];
		NewRow *repeated = FindRepeated(kinds[k], sorted, nrows);
		int ndoubtful;

		if (repeated && (verdict.failed < 0 || repeated - rows < verdict.failed))
			Refuse(&verdict, (int)(repeated - rows), TakenText(repeated, kinds[k]));
		ndoubtful = StoreFindDoubtful(store, kinds[k], sorted, nrows, doubtful);
		if (ndoubtful > 0)
			FindTaken(store, kinds[k], rows, doubtful, ndoubtful, &verdict);
	}
	pfree(doubtful);
	return verdict;
}

/* ---- floors -------------------------------------------------------------------------------------------- */

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

/* The same for all streams; the rows are stream by stream. */
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

/* Puts rows in order, locks their streams and says which is the first at fault, if any is. */
ImportVerdict
ImportJudge(Store *store, NewRow *rows, int nrows, ImportOrder *order)
{
	StoreCheckAppendAllowed();
	*order = ImportOrderRows(store, rows, nrows);
	StoreLockStreams(order->hashes, nrows);
	return Judge(store, rows, nrows, &order->orders);
}

/* Stores rows of which none is at fault. */
void
ImportStore(Store *store, const ImportOrder *order, int nrows)
{
	MarkAllRestored(store, order->by_stream, nrows);
	StoreImport(store, &order->orders, nrows);
}
