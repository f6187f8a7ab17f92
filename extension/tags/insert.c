/*
 * insert.c: putting the entries of a row into an index of tags.
 *
 * btinsert() does it, once for each.  Two things in it would take offence, and so are kept from it for as
 * long as it takes, in the descriptors of the index and of its table:
 *
 *   - Assertions of nbtree demand that the index says that it is one of its own.
 *   - Before a page is split, entries that are dead are deleted from it, and the table says which are.  It
 *     counts on being asked of each row once; here several entries on a page may be of one row.
 */
#include "postgres.h"

#include "access/itup.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "nodes/execnodes.h"

#include "tags/internal.h"

/* What the table's descriptor has in the place of its own. */
typedef struct TableRoutine
{
	TableAmRoutine routine; /* the first member */
	const TableAmRoutine *original;
} TableRoutine;

static int
CompareRows(const void *left, const void *right)
{
	return ItemPointerCompare(&((TM_IndexDelete *)left)->tid, &((TM_IndexDelete *)right)->tid);
}

/* Moves the entries of rows that others are of, too, out of the question; returns how many. */
static int
TakeTwins(TM_IndexDeleteOp *question, TM_IndexDelete *twins)
{
	TM_IndexDelete *entries = question->deltids;
	int n = 0;
	int ntwins = 0;

	qsort(entries, question->ndeltids, sizeof(TM_IndexDelete), CompareRows);
	for (int i = 0; i < question->ndeltids; i++)
		if (n > 0 && ItemPointerEquals(&entries[n - 1].tid, &entries[i].tid))
			twins[ntwins++] = entries[i];
		else
			entries[n++] = entries[i];
	question->ndeltids = n;
	return ntwins;
}

static bool
IsDeletable(const TM_IndexDeleteOp *answer, ItemPointer row)
{
	for (int i = 0; i < answer->ndeltids; i++)
		if (ItemPointerEquals(&answer->deltids[i].tid, row))
			return answer->status[answer->deltids[i].id].knowndeletable;
	return false;
}

/* The routine's index_delete_tuples: asks of each row once, and gives each of its entries the answer. */
static TransactionId
AskOnce(Relation heap, TM_IndexDeleteOp *question)
{
	const TableRoutine *table = (const TableRoutine *)heap->rd_tableam;
	TM_IndexDelete twins[MaxIndexTuplesPerPage];
	int ntwins = TakeTwins(question, twins);
	TransactionId horizon = table->original->index_delete_tuples(heap, question);
	int n = question->ndeltids;

	for (int i = 0; i < ntwins; i++)
		if (IsDeletable(question, &twins[i].tid))
		{
			question->status[twins[i].id].knowndeletable = true;
			question->deltids[n++] = twins[i];
		}
	question->ndeltids = n;
	return horizon;
}

/* The access method's aminsert: puts in all entries of a row. */
bool
TagsInsert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap,
		   IndexUniqueCheck check, bool unchanged, IndexInfo *info)
{
	TableRoutine table = {.routine = *heap->rd_tableam, .original = heap->rd_tableam};
	Oid method = index->rd_rel->relam;
	RowEntries entries = TagsEntriesOf(values, isnull);

	table.routine.index_delete_tuples = AskOnce;
	PG_TRY();
	{
		heap->rd_tableam = &table.routine;
		index->rd_rel->relam = BTREE_AM_OID;
		while (TagsNextEntry(&entries))
			(void)btinsert(index, entries.values, entries.isnull, tid, heap, UNIQUE_CHECK_NO, unchanged,
						   info);
	}
	PG_FINALLY();
	{
		heap->rd_tableam = table.original;
		index->rd_rel->relam = method;
	}
	PG_END_TRY();
	return false;
}
