/*
 * insert.c: putting rows into a namespace's table.
 *
 * Phases, and what is locked in each:
 *
 *   1. form and compress tuples, open     the caller's stream locks
 *      indexes, take all heavyweight locks,
 *      check what can be checked
 *   2. append lock taken
 *      draw global positions, take the time, insert tuples, insert index entries
 *      append lock released; so for each chunk
 *   3. entries of a user's own indexes,
 *      recheck what might not be unique,
 *      fire a user's triggers
 *
 * Phase 2 never waits for another transaction, and so must not: nobody finds the deadlock of who waits under
 * a lightweight lock.  Uniqueness is checked there as for deferrable constraints (UNIQUE_CHECK_PARTIAL: put
 * the entry in, say whether it may be a duplicate), and the doubtful ones are checked again in phase 3, where
 * waiting for the other transaction is nobody else's loss.  The relations that it uses are locked in phase 1,
 * the sequence and the toast table too, which stay open, with its indexes, so that phase 2 looks nothing up.
 * It evaluates no user's expression.  An error in it lets go of the lock before it travels, and one in phase
 * 3 of the page that an index has kept locked.  The order of steps follows execReplication.c and
 * unique_key_recheck() of PostgreSQL.
 *
 * Forming and compressing in phase 1 keeps that work out of the lock.  It needs no global position: the first
 * three columns are of fixed width and never NULL, so position and time are written into the finished tuple.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/toast_internals.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/store.h"

/*
 * Tuples of one heap_multi_insert(), as COPY does it, and their bytes; the append lock, which can't be
 * interrupted, is held for no more, but for a tuple that is larger by itself.  Half a MiB takes about ten
 * milliseconds where it is toasted.
 */
#define INSERT_CHUNK 1000
#define INSERT_CHUNK_BYTES (512 * 1024)

/* The executor's view of one index, for indexes whose entries it must compute. */
typedef struct OtherIndex
{
	IndexInfo *info;
	EState *estate;
	ExprState *predicate;
	TupleTableSlot *slot;
	Datum *
		values; /* of our own kinds: the entries of all rows, computed in phase 1 but for the late columns; else NULL */
	bool *isnull;
} OtherIndex;

typedef struct OpenIndex
{
	StoreIndexKind kind;
	Relation index;
	OtherIndex *other; /* NULL: its entries are plain */
} OpenIndex;

/* A row whose entry in an index may be a duplicate. */
typedef struct Doubt
{
	NewRow *row;
	OpenIndex *index;
} Doubt;

/* One call of StoreInsert. */
typedef struct Insertion
{
	Store *store;
	NewRow **rows;
	int nrows;
	OpenIndex *indexes; /* those that are ready, in the order of the store's */
	int nindexes;
	Relation sequence;
	Relation toast; /* NULL: no row may need it */
	Relation *toast_indexes;
	int ntoast_indexes;
	int64 highest; /* global position that was there before */
	Datum *values; /* of one row, with those of dropped columns behind them */
	bool *isnull;
	TupleTableSlot **slots; /* for a chunk; NULL for a single row */
	List *doubts;
} Insertion;

/* ---- phase 1: tuples ------------------------------------------------------------------------------ */

/* Compresses a value as the toaster would, where the column's storage allows it and it helps. */
static Datum
CompressValue(Store *store, int column, Datum value)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(store->heap), column - 1);
	Datum compressed = (Datum)0;

	if (attribute->attstorage == TYPSTORAGE_EXTENDED || attribute->attstorage == TYPSTORAGE_MAIN)
		compressed = toast_compress_datum(value, attribute->attcompression);
	return DatumGetPointer(compressed) ? compressed : value;
}

/* Refuses NULL in a column that a user has made NOT NULL, in the executor's words. */
static void
CheckNotNullColumn(Store *store, int column, const bool *isnull)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(store->heap), column - 1);

	if (isnull[column - 1] && attribute->attnotnull)
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
						errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
							   NameStr(attribute->attname), RelationGetRelationName(store->heap)),
						errtablecol(store->heap, column)));
}

static void
FormTuple(Insertion *insertion, NewRow *row)
{
	Store *store = insertion->store;
	Datum *values = insertion->values;
	bool *isnull = insertion->isnull;

	values[COLUMN_GLOBAL_POSITION - 1] = Int64GetDatum(0);
	values[COLUMN_POSITION - 1] = Int64GetDatum(row->position);
	values[COLUMN_TIME - 1] = TimestampGetDatum(0);
	values[COLUMN_STREAM_NAME - 1] = PointerGetDatum(row->stream);
	values[COLUMN_TYPE - 1] = PointerGetDatum(row->type);
	values[COLUMN_DATA - 1] = PointerGetDatum(row->data);
	values[COLUMN_METADATA - 1] = PointerGetDatum(row->metadata);
	values[COLUMN_ID - 1] = UUIDPGetDatum(&row->id);
	memset(isnull, false, sizeof(bool) * COLUMNS);
	isnull[COLUMN_DATA - 1] = row->data == NULL;
	isnull[COLUMN_METADATA - 1] = row->metadata == NULL;
	CheckNotNullColumn(store, COLUMN_DATA, isnull);
	CheckNotNullColumn(store, COLUMN_METADATA, isnull);
	row->tuple = heap_form_tuple(RelationGetDescr(store->heap), values, isnull);
	if (row->tuple->t_len <= TOAST_TUPLE_THRESHOLD)
		return;

	/*
	 * What stays too large is moved out of line by heap_insert.  That can't be done here: it would be fetched
	 * and moved once more.
	 */
	for (int column = COLUMN_DATA; column <= COLUMN_METADATA; column++)
		if (!isnull[column - 1])
			values[column - 1] = CompressValue(store, column, values[column - 1]);
	heap_freetuple(row->tuple);
	row->tuple = heap_form_tuple(RelationGetDescr(store->heap), values, isnull);
}

/* Writes the columns that only the append lock's holder knows. */
static void
SetPosition(NewRow *row, int64 global_position, Timestamp time)
{
	char *fixed = (char *)row->tuple->t_data + row->tuple->t_data->t_hoff;

	row->global_position = global_position;
	row->time = time;
	memcpy(fixed, &global_position, sizeof(int64));
	memcpy(fixed + 2 * sizeof(int64), &time, sizeof(Timestamp));
}

/* Says whether all of them are above those that were there before, and have one above them. */
static bool
DrawPositions(Insertion *insertion, NewRow **rows, int nrows)
{
	Timestamp now = GetCurrentTimestamp();

	for (int i = 0; i < nrows; i++)
		SetPosition(rows[i], nextval_internal(insertion->store->sequence, false), now);
	return rows[0]->global_position > insertion->highest && rows[nrows - 1]->global_position < PG_INT64_MAX;
}

static void
RefuseFull(Store *store)
{
	ereport(ERROR,
			(errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
			 errmsg("table \"%s\".\"%s\" is full: there is no global position behind " INT64_FORMAT,
					get_namespace_name(RelationGetNamespace(store->heap)),
					RelationGetRelationName(store->heap), PG_INT64_MAX),
			 errhint("Where somebody has put a message there by hand, give it another global position.")));
}

/* The append lock is free: the names are looked up. */
static void
RefuseSequence(Insertion *insertion, int64 drawn)
{
	Store *store = insertion->store;

	if (insertion->highest == PG_INT64_MAX || drawn > insertion->highest)
		RefuseFull(store);
	ereport(
		ERROR,
		(errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
		 errmsg("the sequence of table \"%s\".\"%s\" is behind its messages: it gave " INT64_FORMAT
				", and must give more than " INT64_FORMAT,
				get_namespace_name(RelationGetNamespace(store->heap)), RelationGetRelationName(store->heap),
				drawn, insertion->highest),
		 errhint("Logical replication and a restore of rows alone bring no sequence along.  SELECT "
				 "setval(%s::regclass, " INT64_FORMAT ") puts it where it belongs.",
				 quote_literal_cstr(quote_qualified_identifier(
					 get_namespace_name(get_rel_namespace(store->sequence)), get_rel_name(store->sequence))),
				 insertion->highest)));
}

/*
 * When this session last looked for the highest global position of a table; a place for each of a few tables.
 */
typedef struct LastLook
{
	Oid table;
	TimestampTz time;
} LastLook;

#define LAST_LOOKS 64
#define LOOK_AGAIN_MS 1000

static LastLook last_looks[LAST_LOOKS];

static LastLook *
LastLookAt(Store *store)
{
	return &last_looks[RelationGetRelid(store->heap) % LAST_LOOKS];
}

/*
 * Returns the highest global position that there is: rows that come now must be above, or readers who were
 * there would never see them.  These functions keep it so; others may have written rows and left the sequence
 * where it was.  That does not happen all the time, so it is looked for at a session's first append to a
 * table, and once a second.  0: not looked for.
 */
static int64
HighestPosition(Store *store)
{
	LastLook *last = LastLookAt(store);
	StoreScan *scan;
	int64 highest = 0;
	bool isnull;

	if (last->table == RelationGetRelid(store->heap) &&
		!TimestampDifferenceExceeds(last->time, GetCurrentTransactionStartTimestamp(), LOOK_AGAIN_MS))
		return 0;
	scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotSelf, 0);
	StoreRescan(scan, NULL, 0);
	if (StoreScanNext(scan, BackwardScanDirection))
		highest = DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull));
	StoreEndScan(scan);
	return highest;
}

/* Keeps the rows' own positions and times, and lifts the sequence above them; it never goes back. */
static void
TakePositions(Store *store, NewRow **rows, int nrows)
{
	int64 highest = 0;

	for (int i = 0; i < nrows; i++)
	{
		SetPosition(rows[i], rows[i]->global_position, rows[i]->time);
		highest = Max(highest, rows[i]->global_position);
	}
	if (nextval_internal(store->sequence, false) <= highest)
		(void)DirectFunctionCall2(setval_oid, ObjectIdGetDatum(store->sequence), Int64GetDatum(highest));
}

/* ---- phase 2: heap --------------------------------------------------------------------------------- */

static void
InsertTuples(Insertion *insertion, NewRow **rows, int nrows)
{
	Relation heap = insertion->store->heap;
	CommandId cid = GetCurrentCommandId(true);

	if (!insertion->slots)
	{
		heap_insert(heap, rows[0]->tuple, cid, 0, NULL);
		return;
	}
	for (int i = 0; i < nrows; i++)
		ExecStoreHeapTuple(rows[i]->tuple, insertion->slots[i], false);
	heap_multi_insert(heap, insertion->slots, nrows, cid, 0, NULL);
	for (int i = 0; i < nrows; i++)
		rows[i]->tuple->t_self = insertion->slots[i]->tts_tid;
}

/* ---- phase 2: indexes ------------------------------------------------------------------------------- */

static OtherIndex *
BeginOtherIndex(Store *store, Relation index)
{
	OtherIndex *other = palloc0(sizeof(OtherIndex));

	other->info = BuildIndexInfo(index);
	other->estate = CreateExecutorState();
	other->predicate = ExecPrepareQual(other->info->ii_Predicate, other->estate);
	other->slot = MakeSingleTupleTableSlot(RelationGetDescr(store->heap), &TTSOpsHeapTuple);
	return other;
}

static void
EndOtherIndex(OtherIndex *other)
{
	ExecDropSingleTupleTableSlot(other->slot);
	FreeExecutorState(other->estate);
	pfree(other->info);
	pfree(other);
}

/* Computes an entry as the executor would; false when the index's predicate leaves the row out. */
static bool
FormOtherEntry(OtherIndex *other, NewRow *row, Datum *values, bool *isnull)
{
	ExprContext *context = GetPerTupleExprContext(other->estate);

	ResetPerTupleExprContext(other->estate);
	ExecStoreHeapTuple(row->tuple, other->slot, false);
	context->ecxt_scantuple = other->slot;
	if (other->predicate && !ExecQual(other->predicate, context))
		return false;
	FormIndexDatum(other->info, other->slot, other->estate, values, isnull);
	return true;
}

/*
 * Computes the entries of an index of our own kinds that has further columns: a user's expression may take
 * its time, or wait.  They live as long as the executor's state of the index.
 */
static void
ComputeEntries(Insertion *insertion, OpenIndex *which)
{
	OtherIndex *other = which->other;
	int natts = which->index->rd_index->indnatts;
	ExprContext *context = GetPerTupleExprContext(other->estate);

	other->values = palloc(sizeof(Datum) * natts * insertion->nrows);
	other->isnull = palloc(sizeof(bool) * natts * insertion->nrows);
	for (int i = 0; i < insertion->nrows; i++)
	{
		ExecStoreHeapTuple(insertion->rows[i]->tuple, other->slot, false);
		context->ecxt_scantuple = other->slot;
		FormIndexDatum(other->info, other->slot, other->estate, other->values + i * natts,
					   other->isnull + i * natts);
	}
}

/* Takes an entry that was computed before, and fills in the late columns. */
static void
TakeEntry(OpenIndex *which, NewRow *row, Datum *values, bool *isnull)
{
	Form_pg_index form = which->index->rd_index;
	int natts = form->indnatts;

	memcpy(values, which->other->values + row->number * natts, sizeof(Datum) * natts);
	memcpy(isnull, which->other->isnull + row->number * natts, sizeof(bool) * natts);
	for (int i = 0; i < natts; i++)
	{
		if (form->indkey.values[i] == COLUMN_GLOBAL_POSITION)
			values[i] = Int64GetDatum(row->global_position);
		else if (form->indkey.values[i] == COLUMN_TIME)
			values[i] = TimestampGetDatum(row->time);
	}
}

/* Computes the entry of one of our own indexes. */
static void
FormPlainEntry(StoreIndexKind kind, NewRow *row, Datum *values)
{
	switch (kind)
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
		case INDEX_OTHER:
			elog(ERROR, "an index of unknown shape has no plain entries");
	}
}

/* Inserts the entries of rows into one index; adds to the doubts those that may be duplicates. */
static void
InsertEntries(Insertion *insertion, OpenIndex *which, NewRow **rows, int nrows, IndexUniqueCheck check)
{
	IndexInfo plain_info = {.type = T_IndexInfo};
	IndexInfo *info = which->other ? which->other->info : &plain_info;
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS] = {false};

	if (!which->index->rd_index->indisunique)
		check = UNIQUE_CHECK_NO;
	for (int i = 0; i < nrows; i++)
	{
		bool unique;

		if (!which->other)
			FormPlainEntry(which->kind, rows[i], values);
		else if (which->other->values)
			TakeEntry(which, rows[i], values, isnull);
		else if (!FormOtherEntry(which->other, rows[i], values, isnull))
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
	CompatIndexInsertCleanup(which->index, info);
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

/* ---- phase 3: uniqueness ----------------------------------------------------------------------------- */

/*
 * Finds a live row with these keys, other than the row at `except` (which may be NULL).  Where the only one
 * is of a transaction in progress, waits for its end.  The row is in scan->slot.  The scan's snapshot must be
 * a dirty one.
 */
bool
StoreFindLive(StoreScan *scan, ScanKey keys, int nkeys, ItemPointer except)
{
	Snapshot dirty = scan->scan->xs_snapshot;
	TransactionId other;

	do
	{
		CHECK_FOR_INTERRUPTS();
		other = InvalidTransactionId;
		StoreRescan(scan, keys, nkeys);
		while (StoreScanNext(scan, ForwardScanDirection))
		{
			if (except && ItemPointerEquals(&scan->slot->tts_tid, except))
				continue;
			other = TransactionIdIsValid(dirty->xmin) ? dirty->xmin : dirty->xmax;
			if (!TransactionIdIsValid(other))
				return true;
			break;
		}
		if (TransactionIdIsValid(other))
		{
			ItemPointerData tid = scan->slot->tts_tid;

			StoreRestScan(scan);
			XactLockTableWait(other, scan->store->heap, &tid, XLTW_InsertIndex);
		}
	} while (TransactionIdIsValid(other));
	return false;
}

/* The same by id; the scan is on INDEX_ID. */
bool
StoreFindId(StoreScan *scan, const pg_uuid_t *id, ItemPointer except)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	return StoreFindLive(scan, &key, 1, except);
}

/* Raises MR002 when another row with the row's id is there to stay. */
static void
RecheckId(Store *store, NewRow *row)
{
	SnapshotData dirty;
	StoreScan *scan;

	InitDirtySnapshot(dirty);
	scan = StoreBeginScan(store, INDEX_ID, &dirty, 1);
	if (StoreFindId(scan, &row->id, &row->tuple->t_self))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT),
						errmsg("message id %s was stored by another transaction at the same time",
							   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&row->id)))),
						errhint("Repeat the append: it will say whether the message is the same.")));
	StoreEndScan(scan);
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
			RecheckId(insertion->store, doubt->row);
		else
			InsertEntries(insertion, doubt->index, &doubt->row, 1, UNIQUE_CHECK_EXISTING);
	}
}

/*
 * The append lock is free, but who takes it again at once is quicker than those who wait for it and have to
 * be woken: a call of many chunks would keep them all waiting.
 */
#define YIELD_US 100

/* ---- all phases --------------------------------------------------------------------------------------- */

static OpenIndex
BeginIndex(Insertion *insertion, const StoreIndex *which, Relation index)
{
	OpenIndex open = {which->kind, index, NULL};
	StoreCaller caller;

	if (which->plain)
		return open;
	caller = StoreBecomeOwner(insertion->store->heap);
	open.other = BeginOtherIndex(insertion->store, index);
	if (which->kind != INDEX_OTHER)
		ComputeEntries(insertion, &open);
	StoreBecomeCaller(caller);
	return open;
}

/*
 * Fills the indexes that reads do not stand on, whose expressions are the owner's, and waits where uniqueness
 * is in doubt.
 */
static void
FinishEntries(Insertion *insertion)
{
	bool plain = true;
	StoreCaller caller;

	for (int i = 0; plain && i < insertion->nindexes; i++)
		plain = insertion->indexes[i].other == NULL;
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

/*
 * Opens the indexes that are ready to be filled.  One that becomes ready from now on waits for this
 * transaction before it is made whole.
 */
static void
OpenIndexes(Insertion *insertion)
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
}

/*
 * Refuses, in the server's words, a name that an index has no room for.  The index would do so itself, under
 * the append lock.
 */
static void
CheckName(OpenIndex *which, NewRow *row)
{
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS] = {false};
	PageHeaderData page = {.pd_pagesize_version = BLCKSZ | PG_PAGE_LAYOUT_VERSION};
	IndexTuple entry;

	FormPlainEntry(which->kind, row, values);
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

			if (!which->other && (which->kind == INDEX_STREAM || which->kind == INDEX_CATEGORY))
				CheckName(which, insertion->rows[i]);
		}
	}
}

static void
BeginInsertion(Insertion *insertion)
{
	Store *store = insertion->store;
	Oid toast = store->heap->rd_rel->reltoastrelid;
	int natts = RelationGetDescr(store->heap)->natts;
	bool large = false;

	insertion->values = palloc0(sizeof(Datum) * natts);
	insertion->isnull = palloc(sizeof(bool) * natts);
	memset(insertion->isnull, true, sizeof(bool) * natts);
	for (int i = 0; i < insertion->nrows; i++)
	{
		insertion->rows[i]->number = i;
		FormTuple(insertion, insertion->rows[i]);
		large = large || insertion->rows[i]->tuple->t_len > TOAST_TUPLE_THRESHOLD;
	}
	OpenIndexes(insertion);
	CheckNames(insertion);
	insertion->sequence = relation_open(store->sequence, RowExclusiveLock);
	if (large && OidIsValid(toast))
	{
		insertion->toast = table_open(toast, RowExclusiveLock);
		(void)toast_open_indexes(insertion->toast, RowExclusiveLock, &insertion->toast_indexes,
								 &insertion->ntoast_indexes);
	}
	(void)GetCurrentTransactionId();
	if (insertion->nrows > 1)
	{
		int nslots = Min(insertion->nrows, INSERT_CHUNK);

		insertion->slots = palloc(sizeof(TupleTableSlot *) * nslots);
		for (int i = 0; i < nslots; i++)
			insertion->slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(store->heap), &TTSOpsHeapTuple);
	}
}

static void
InsertChunk(Insertion *insertion, NewRow **rows, int nrows, bool import)
{
	Store *store = insertion->store;
	volatile bool in_order = true;

	CHECK_FOR_INTERRUPTS();
	StoreLockAppends(store);
	PG_TRY();
	{
		if (import)
			TakePositions(store, rows, nrows);
		else
			in_order = DrawPositions(insertion, rows, nrows);
		if (in_order)
		{
			InsertTuples(insertion, rows, nrows);
			InsertAllEntries(insertion, true, rows, nrows);
		}
	}
	PG_CATCH();
	{
		StoreAbandonAppends(store);
		PG_RE_THROW();
	}
	PG_END_TRY();
	StoreUnlockAppends(store);
	if (!in_order)
		RefuseSequence(insertion, rows[0]->global_position);
}

/* Returns how many of the rows go into one chunk. */
static int
ChunkOf(NewRow **rows, int nrows)
{
	Size bytes = 0;
	int n = 0;

	while (n < Min(nrows, INSERT_CHUNK) && (n == 0 || bytes + rows[n]->tuple->t_len <= INSERT_CHUNK_BYTES))
		bytes += rows[n++]->tuple->t_len;
	return n;
}

static void
EndInsertion(Insertion *insertion)
{
	for (int i = 0; i < insertion->nindexes; i++)
	{
		if (insertion->indexes[i].other)
			EndOtherIndex(insertion->indexes[i].other);
		index_close(insertion->indexes[i].index, NoLock);
	}
	relation_close(insertion->sequence, NoLock);
	if (insertion->toast)
	{
		toast_close_indexes(insertion->toast_indexes, insertion->ntoast_indexes, NoLock);
		table_close(insertion->toast, NoLock);
	}
	for (int i = 0; insertion->slots && i < Min(insertion->nrows, INSERT_CHUNK); i++)
		ExecDropSingleTupleTableSlot(insertion->slots[i]);
}

/*
 * Inserts rows in order and gives each its global position; with `import` each brings its own, and its time.
 * The caller holds the locks of their streams.  Errors: MR002, or 23505 where somebody wrote into the table
 * without these functions.
 */
void
StoreInsert(Store *store, NewRow **rows, int nrows, bool import)
{
	Insertion insertion = {.store = store, .rows = rows, .nrows = nrows};

	BeginInsertion(&insertion);
	if (!import)
		insertion.highest = HighestPosition(store);
	for (int done = 0, n; done < nrows; done += n)
	{
		n = ChunkOf(rows + done, nrows - done);
		if (done > 0)
			pg_usleep(YIELD_US);
		InsertChunk(&insertion, rows + done, n, import);
	}
	if (insertion.highest > 0) /* and it was below what was drawn */
		*LastLookAt(store) = (LastLook){RelationGetRelid(store->heap), GetCurrentTransactionStartTimestamp()};
	FinishEntries(&insertion);
	StoreFireTriggers(store, rows, nrows);
	EndInsertion(&insertion);
}
