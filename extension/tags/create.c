/*
 * create.c: building an index of tags.
 *
 * btbuild() asks the table for the values of each row, sorts what it gets, and writes finished pages.  It
 * is given a table that hands it the entries of a row instead: a copy of the relation's descriptor whose
 * index_build_range_scan is ours, which has the real one walk through the table and takes apart what it
 * finds. So everything that the server knows of building an index holds here, concurrently too.
 *
 * The sort takes no index but nbtree's.  So what btbuild() is given as the index is a copy as well, which
 * says that it is one.  The copies live until it returns, and share all that they point to with the
 * originals, but for the open file, which has one owner, and the statistics, which would remember the
 * copy.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "nodes/execnodes.h"
#include "utils/fmgroids.h"

#include "tags/internal.h"

typedef struct HeapCopy
{
	RelationData copy; /* the first member */
	TableAmRoutine routine;
	Relation heap, index; /* the originals */
} HeapCopy;

typedef struct IndexCopy
{
	RelationData copy;
	FormData_pg_class form;
} IndexCopy;

/* Where the entries of each row go. */
typedef struct Expansion
{
	IndexBuildCallback callback;
	void *state;
	Relation index;
} Expansion;

/* Called for each row that is to be indexed: passes on each of its entries. */
static void
Expand(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	Expansion *expansion = state;
	RowEntries entries = TagsEntriesOf(values, isnull);

	while (TagsNextEntry(&entries))
		expansion->callback(expansion->index, tid, entries.values, entries.isnull, alive, expansion->state);
}

/* The copy's index_build_range_scan. */
static double
ScanExpanding(Relation heap, Relation index, IndexInfo *info, bool allow_sync, bool anyvisible, bool progress,
			  BlockNumber start, BlockNumber nblocks, IndexBuildCallback callback, void *state,
			  TableScanDesc scan)
{
	HeapCopy *copied = (HeapCopy *)heap;
	Expansion expansion = {callback, state, index};

	return copied->heap->rd_tableam->index_build_range_scan(copied->heap, copied->index, info, allow_sync,
															anyvisible, progress, start, nblocks, Expand,
															&expansion, scan);
}

static RelationData
CopyOf(Relation relation)
{
	RelationData copy = *relation;

	copy.rd_smgr = NULL;
	copy.pgstat_enabled = false;
	copy.pgstat_info = NULL;
	return copy;
}

/* The access method's ambuild. */
IndexBuildResult *
TagsBuild(Relation heap, Relation index, IndexInfo *info)
{
	HeapCopy table = {.copy = CopyOf(heap), .routine = *heap->rd_tableam, .heap = heap, .index = index};
	IndexCopy tree = {.copy = CopyOf(index), .form = *index->rd_rel};
	IndexBuildResult *volatile result = NULL;

	table.routine.index_build_range_scan = ScanExpanding;
	table.copy.rd_tableam = &table.routine;
	tree.form.relam = BTREE_AM_OID;
	tree.copy.rd_rel = &tree.form;
	tree.copy.rd_indam = GetIndexAmRoutine(F_BTHANDLER);
	PG_TRY();
	{
		result = btbuild(&table.copy, &tree.copy, info);
	}
	PG_FINALLY();
	{
		RelationCloseSmgr(&table.copy);
		RelationCloseSmgr(&tree.copy);
	}
	PG_END_TRY();
	return result;
}
