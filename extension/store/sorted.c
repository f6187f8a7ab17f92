/*
 * sorted.c: an import's rows and our own indexes, in the order of each index (ordered.c).
 *
 * An append's entries come row by row: they are few.  An import brings thousands of rows, and for each of
 * them a descent to look for its key and another to insert the entry was most of what it cost.
 *
 * The prefix rule holds as it does for appends: all that it is about is under the append lock, index after
 * index, the one on global positions last, and within it and within a category entries appear in the order of
 * global positions.  It is not about ids: nothing is read in their order, and a row whose entry is missing is
 * one that has not committed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "storage/bufmgr.h"

#include "store/insert.h"
#include "store/ordered.h"

/* ---- looking up ---------------------------------------------------------------------------------------- */

static bool
IsPlain(const Store *store, Oid index)
{
	for (int i = 0; i < store->nindexes; i++)
		if (store->indexes[i].oid == index)
			return store->indexes[i].plain;
	return false;
}

/*
 * Finds those of the rows, which are in the order of the index's keys, whose keys may be in it: of a row that
 * lives, one that is dead, or one that may yet commit.  All others' are not.  Returns how many.
 */
int
StoreFindDoubtful(Store *store, StoreIndexKind kind, NewRow **rows, int nrows, NewRow **doubtful)
{
	Relation index = StoreOpenIndex(store, store->index[kind], STORE_READ);
	OrderedWalk *walk = NULL;
	int n = 0;

	if (IsPlain(store, store->index[kind]))
		walk = OrderedBegin(index, kind, BUFFER_LOCK_SHARE);
	for (int i = 0; i < nrows; i++)
	{
		LeafKey key = InsertionKey(kind, rows[i]);

		if (!walk || !OrderedSeek(walk, &key))
			doubtful[n++] = rows[i];
	}
	OrderedEnd(walk);
	index_close(index, NoLock);
	return n;
}

/* ---- inserting ----------------------------------------------------------------------------------------- */

/* Those rows of the import that are among these, which follow each other by number. */
static NewRow **
RowsOf(Insertion *insertion, StoreIndexKind kind, NewRow **rows, int nrows)
{
	NewRow **all = insertion->import->rows[kind];
	NewRow **some;
	int n = 0;

	if (nrows == insertion->nrows)
		return all;
	some = palloc(sizeof(NewRow *) * nrows);
	for (int i = 0; i < insertion->nrows; i++)
		if (all[i]->number >= rows[0]->number && all[i]->number <= rows[nrows - 1]->number)
			some[n++] = all[i];
	return some;
}

/* False, and nothing is done, where entries of that index are put in row by row. */
static bool
AddSorted(Insertion *insertion, OpenIndex *which, NewRow **rows, int nrows)
{
	OrderedWalk *walk;

	walk = which->computed ? NULL : OrderedBegin(which->index, which->kind, BUFFER_LOCK_EXCLUSIVE);
	if (!walk)
		return false;
	rows = RowsOf(insertion, which->kind, rows, nrows);
	for (int i = 0; i < nrows; i++)
	{
		LeafKey key = InsertionKey(which->kind, rows[i]);

		if (OrderedSeek(walk, &key) && OrderedAdd(walk, &key, &rows[i]->tuple->t_self))
			continue;
		OrderedLeave(walk);
		InsertionAddTo(insertion, which, &rows[i], 1);
	}
	OrderedEnd(walk);
	return true;
}

/* Whether the entries of an index wait for phase 3. */
static bool
IsLate(const OpenIndex *which)
{
	return which->kind == INDEX_ID && !which->computed;
}

/* Phase 2: inserts the entries of a chunk of an import's rows into our own indexes, but for those of ids. */
void
InsertionAddSorted(Insertion *insertion, NewRow **rows, int nrows)
{
	for (int i = 0; i < insertion->nindexes; i++)
	{
		OpenIndex *which = &insertion->indexes[i];

		if (which->kind != INDEX_OTHER && !IsLate(which) && !AddSorted(insertion, which, rows, nrows))
			InsertionAddTo(insertion, which, rows, nrows);
	}
}

/* Phase 3: inserts those of ids, of all rows: the more there are, the more belong on one page. */
void
InsertionAddIds(Insertion *insertion)
{
	PG_TRY();
	{
		for (int i = 0; i < insertion->nindexes; i++)
		{
			OpenIndex *which = &insertion->indexes[i];

			if (IsLate(which) && !AddSorted(insertion, which, insertion->rows, insertion->nrows))
				InsertionAddTo(insertion, which, insertion->rows, insertion->nrows);
		}
	}
	PG_CATCH();
	{
		StoreAbandonPages();
		PG_RE_THROW();
	}
	PG_END_TRY();
}
