/*
 * entry.c: the rows' entries in the indexes of the table.
 *
 * Those of our own kinds, on which reads stand, are put in under the append lock.  A plain one needs no
 * executor; where a user has added columns to one of them, its entries are computed before the lock is
 * taken. Indexes of other shapes are filled when the lock is free.  Those of an import come in the order of
 * each index (sorted.c).
 *
 * Uniqueness is checked under the lock as for deferrable constraints (UNIQUE_CHECK_PARTIAL: put the entry
 * in, say whether it may be a duplicate), and the doubtful ones are checked again when it is free.  The
 * order of steps follows execReplication.c and unique_key_recheck() of PostgreSQL.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/insert.h"
#include "tags/tags.h"

/* A row whose entry in an index may be a duplicate. */
typedef struct Doubt
{
	NewRow *row;
	OpenIndex *index;
} Doubt;

/* ---- computed entries ---------------------------------------------------------------------------------- */

static ComputedIndex *
BeginComputedIndex(Store *store, Relation index)
{
	ComputedIndex *computed = palloc0(sizeof(ComputedIndex));

	computed->info = BuildIndexInfo(index);
	computed->estate = CreateExecutorState();
	computed->predicate = ExecPrepareQual(computed->info->ii_Predicate, computed->estate);
	computed->slot = MakeSingleTupleTableSlot(RelationGetDescr(store->heap), &TTSOpsHeapTuple);
	return computed;
}

static void
EndComputedIndex(ComputedIndex *computed)
{
	ExecDropSingleTupleTableSlot(computed->slot);
	FreeExecutorState(computed->estate);
	pfree(computed->info);
	pfree(computed);
}

/* Computes an entry as the executor would; false when the index's predicate leaves the row out. */
static bool
ComputeEntry(ComputedIndex *computed, NewRow *row, Datum *values, bool *isnull)
{
	ExprContext *context = GetPerTupleExprContext(computed->estate);

	ResetPerTupleExprContext(computed->estate);
	ExecStoreHeapTuple(row->tuple, computed->slot, false);
	context->ecxt_scantuple = computed->slot;
	if (computed->predicate && !ExecQual(computed->predicate, context))
		return false;
	FormIndexDatum(computed->info, computed->slot, computed->estate, values, isnull);
	return true;
}

/*
 * Computes the entries of an index of our own kinds that has further columns: a user's expression may take
 * its time, or wait.  They live as long as the executor's state of the index.
 */
static void
ComputeEntries(Insertion *insertion, OpenIndex *which)
{
	ComputedIndex *computed = which->computed;
	Size natts = which->index->rd_index->indnatts;
	ExprContext *context = GetPerTupleExprContext(computed->estate);

	computed->values = palloc(sizeof(Datum) * natts * insertion->nrows);
	computed->isnull = palloc(sizeof(bool) * natts * insertion->nrows);
	for (int i = 0; i < insertion->nrows; i++)
	{
		ExecStoreHeapTuple(insertion->rows[i]->tuple, computed->slot, false);
		context->ecxt_scantuple = computed->slot;
		FormIndexDatum(computed->info, computed->slot, computed->estate, computed->values + i * natts,
					   computed->isnull + i * natts);
	}
}

/* Takes an entry that was computed before, and fills in the global position and the time. */
static void
TakeEntry(OpenIndex *which, NewRow *row, Datum *values, bool *isnull)
{
	Form_pg_index form = which->index->rd_index;
	Size natts = form->indnatts;

	memcpy(values, which->computed->values + row->number * natts, sizeof(Datum) * natts);
	memcpy(isnull, which->computed->isnull + row->number * natts, sizeof(bool) * natts);
	for (Size i = 0; i < natts; i++)
	{
		if (form->indkey.values[i] == COLUMN_GLOBAL_POSITION)
			values[i] = Int64GetDatum(row->global_position);
		else if (form->indkey.values[i] == COLUMN_TIME)
			values[i] = TimestampGetDatum(row->time);
	}
}

/* ---- plain entries ------------------------------------------------------------------------------------- */

/* Computes the entry of one of our own indexes. */
static void
FormEntry(const OpenIndex *which, NewRow *row, Datum *values)
{
	switch (which->kind)
	{
		case INDEX_GLOBAL_POSITION:
			values[0] = Int64GetDatum(row->global_position);
			break;
		case INDEX_ID:
			values[0] = UUIDPGetDatum(&row->id);
			break;
		case INDEX_STREAM:
			values[0] = PointerGetDatum(row->stream);
			values[1] = Int64GetDatum(row->position);
			break;
		case INDEX_CATEGORY:
		{
			Slice category = NameCategory(SliceOfText(row->stream));

			values[0] = PointerGetDatum(cstring_to_text_with_len(category.bytes, category.len));
			values[1] = Int64GetDatum(row->global_position);
			break;
		}
		case INDEX_TAGS:
		case INDEX_TAGS_ONLY:
			values[0] = PointerGetDatum(which->hashes[row->number]);
			values[1] = Int64GetDatum(row->global_position);
			break;
		case INDEX_OTHER:
			elog(ERROR, "an index of unknown shape has no plain entries");
	}
}

/*
 * Refuses, in the server's words, a name that an index has no room for.  The index would do so itself,
 * under the append lock.
 */
static void
CheckName(OpenIndex *which, NewRow *row)
{
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS] = {false};
	PageHeaderData page = {.pd_pagesize_version = BLCKSZ | PG_PAGE_LAYOUT_VERSION};
	IndexTuple entry;

	FormEntry(which, row, values);
	entry = index_form_tuple(RelationGetDescr(which->index), values, isnull);
	if (IndexTupleSize(entry) > CompatMaxEntrySize(&page))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index row size %zu exceeds btree version %u maximum %zu for index \"%s\"",
						(Size)IndexTupleSize(entry), BTREE_VERSION, (Size)CompatMaxEntrySize(&page),
						RelationGetRelationName(which->index)),
				 errdetail("The name of the stream has %d bytes.", (int)VARSIZE_ANY_EXHDR(row->stream))));
	pfree(entry);
}

static void
CheckNames(Insertion *insertion)
{
	for (int i = 0; i < insertion->nrows; i++)
	{
		if (VARSIZE_ANY_EXHDR(insertion->rows[i]->stream) <= MAX_NAME)
			continue;
		for (int j = 0; j < insertion->nindexes; j++)
		{
			OpenIndex *which = &insertion->indexes[j];

			if (!which->computed && (which->kind == INDEX_STREAM || which->kind == INDEX_CATEGORY))
				CheckName(which, insertion->rows[i]);
		}
	}
}

/* ---- entries of tags ----------------------------------------------------------------------------------- */

static void
CheckTags(NewRow *row, int ntags)
{
	if (ntags > MAX_ROW_TAGS)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("a message for stream \"%s\" has %d tags; at most %d are allowed",
							   text_to_cstring(row->stream), ntags, MAX_ROW_TAGS),
						errhint("The namespace has an index of tags, with an entry for each.")));
}

/* Computes the hashes of all rows' tags, which is kept out of the append lock. */
static void
HashTags(Insertion *insertion, OpenIndex *which)
{
	which->hashes = palloc(sizeof(ArrayType *) * insertion->nrows);
	for (int i = 0; i < insertion->nrows; i++)
	{
		NewRow *row = insertion->rows[i];
		int ntags = row->ntags;

		if (which->kind == INDEX_TAGS && row->hashes)
			which->hashes[i] = row->hashes;
		else
			which->hashes[i] =
				TagsHashesOf(row->metadata, which->kind == INDEX_TAGS ? row->type : NULL, &ntags);
		CheckTags(row, ntags);
		row->ntag_entries += ntags + 1;
	}
}

/* ---- phase 1: opening ---------------------------------------------------------------------------------- */

static OpenIndex
BeginIndex(Insertion *insertion, const StoreIndex *which, Relation index)
{
	OpenIndex open = {.kind = which->kind, .index = index};
	StoreCaller caller;

	if (which->kind == INDEX_TAGS || which->kind == INDEX_TAGS_ONLY)
		HashTags(insertion, &open);
	if (which->plain)
		return open;
	caller = StoreBecomeOwner(insertion->store->heap);
	open.computed = BeginComputedIndex(insertion->store, index);
	if (which->kind != INDEX_OTHER)
		ComputeEntries(insertion, &open);
	StoreBecomeCaller(caller);
	return open;
}

/*
 * Opens the indexes that are ready to be filled.  One that becomes ready from now on waits for this
 * transaction before it is made whole.  Errors: 54000 for a name that an index has no room for, MR009 for
 * more tags than are indexed.
 */
void
InsertionOpenIndexes(Insertion *insertion)
{
	Store *store = insertion->store;

	insertion->indexes = palloc(sizeof(OpenIndex) * store->nindexes);
	for (int i = 0; i < store->nindexes; i++)
	{
		StoreIndex *which = &store->indexes[i];
		Relation index = StoreOpenIndex(store, which->oid, STORE_APPEND);

		if (!index->rd_index->indisready)
		{
			index_close(index, NoLock);
			continue;
		}
		insertion->indexes[insertion->nindexes++] = BeginIndex(insertion, which, index);
	}
	CheckNames(insertion);
}

/* ---- phases 2 and 3: inserting ------------------------------------------------------------------------- */

/* Where an entry may belong: known in that index of streams only from which versions are read. */
static BlockNumber
GuessOf(const Store *store, const Leaf *leaf, const NewRow *row)
{
	return RelationGetRelid(leaf->index) == store->index[INDEX_STREAM] ? row->leaf : NO_LEAF;
}

/* By what a row's entry is found in one of our own indexes whose entries are plain. */
LeafKey
InsertionKey(StoreIndexKind kind, const NewRow *row)
{
	/* An import's rows come in any order, so what doesn't count is left where it is in memory. */
	if (kind == INDEX_ID)
		return (LeafKey){.id = &row->id};
	if (kind == INDEX_GLOBAL_POSITION)
		return (LeafKey){.number = row->global_position};
	if (kind == INDEX_STREAM)
		return (LeafKey){.name = SliceOfText(row->stream), .number = row->position};
	return (LeafKey){.name = NameCategory(SliceOfText(row->stream)), .number = row->global_position};
}

/* Puts a plain entry straight into its leaf; false: it is nbtree's. */
static bool
InsertIntoLeaf(const Store *store, Leaf *leaf, NewRow *row)
{
	LeafKey key = InsertionKey(leaf->kind, row);

	return LeafInsert(leaf, &key, &row->tuple->t_self, GuessOf(store, leaf, row));
}

/* Inserts the entries of rows into one index; adds to the doubts those that may be duplicates. */
static void
InsertEntries(Insertion *insertion, OpenIndex *which, NewRow **rows, int nrows, IndexUniqueCheck check)
{
	IndexInfo plain_info = {.type = T_IndexInfo};
	IndexInfo *info = which->computed ? which->computed->info : &plain_info;
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS] = {false};
	Leaf leaf = LeafBegin(which->index, which->computed ? INDEX_OTHER : which->kind);
	bool fresh = leaf.usable && check != UNIQUE_CHECK_EXISTING;

	if (!which->index->rd_index->indisunique)
		check = UNIQUE_CHECK_NO;
	for (int i = 0; i < nrows; i++)
	{
		bool unique;

		if (fresh && InsertIntoLeaf(insertion->store, &leaf, rows[i]))
			continue;
		if (!which->computed)
			FormEntry(which, rows[i], values);
		else if (which->computed->values)
			TakeEntry(which, rows[i], values, isnull);
		else if (!ComputeEntry(which->computed, rows[i], values, isnull))
			continue;
		unique = index_insert(which->index, values, isnull, &rows[i]->tuple->t_self, insertion->store->heap,
							  check, false, info);
		if (check == UNIQUE_CHECK_PARTIAL && !unique)
		{
			Doubt *doubt = palloc(sizeof(Doubt));

			doubt->row = rows[i];
			doubt->index = which;
			insertion->doubts = lappend(insertion->doubts, doubt);
		}
	}
	LeafRest(&leaf);
	CompatIndexInsertCleanup(which->index, info);
}

/* Phase 2: inserts the entries of rows into one of our own indexes. */
void
InsertionAddTo(Insertion *insertion, OpenIndex *which, NewRow **rows, int nrows)
{
	InsertEntries(insertion, which, rows, nrows, UNIQUE_CHECK_PARTIAL);
}

/* Inserts the entries of rows into our own indexes, on which reads stand, or into all others. */
static void
InsertAllEntries(Insertion *insertion, bool own, NewRow **rows, int nrows)
{
	for (int i = 0; i < insertion->nindexes; i++)
	{
		OpenIndex *index = &insertion->indexes[i];

		if ((index->kind != INDEX_OTHER) == own)
			InsertEntries(insertion, index, rows, nrows, UNIQUE_CHECK_PARTIAL);
	}
}

/* Phase 2: inserts the entries of rows into our own indexes. */
void
InsertionAddEntries(Insertion *insertion, NewRow **rows, int nrows)
{
	InsertAllEntries(insertion, true, rows, nrows);
}

static void
RecheckDoubts(Insertion *insertion)
{
	List *doubts = insertion->doubts;
	ListCell *cell;

	foreach (cell, doubts)
	{
		Doubt *doubt = lfirst(cell);

		if (doubt->index->kind == INDEX_ID && !doubt->row->id_is_new)
			StoreRecheckId(insertion->store, doubt->row);
		else
			InsertEntries(insertion, doubt->index, &doubt->row, 1, UNIQUE_CHECK_EXISTING);
	}
}

/*
 * Phase 3: fills the indexes that reads do not stand on, whose expressions are the owner's, and waits
 * where uniqueness is in doubt.  Errors: MR002, 23505, and what the owner's expressions raise.
 */
void
InsertionFinishEntries(Insertion *insertion)
{
	bool plain = true;
	StoreCaller caller;

	for (int i = 0; plain && i < insertion->nindexes; i++)
		plain = insertion->indexes[i].computed == NULL;
	if (plain)
	{
		RecheckDoubts(insertion);
		return;
	}
	caller = StoreBecomeOwner(insertion->store->heap);
	PG_TRY();
	{
		InsertAllEntries(insertion, false, insertion->rows, insertion->nrows);
		RecheckDoubts(insertion);
	}
	PG_CATCH();
	{
		StoreAbandonPages();
		PG_RE_THROW();
	}
	PG_END_TRY();
	StoreBecomeCaller(caller);
}

/* Closes what InsertionOpenIndexes() has opened; the locks stay to commit. */
void
InsertionCloseIndexes(Insertion *insertion)
{
	for (int i = 0; i < insertion->nindexes; i++)
	{
		if (insertion->indexes[i].computed)
			EndComputedIndex(insertion->indexes[i].computed);
		index_close(insertion->indexes[i].index, NoLock);
	}
}
