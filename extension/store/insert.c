/*
 * insert.c: putting rows into a namespace's table.
 *
 * Phases, and what is locked in each:
 *
 *   1. form and compress tuples (tuple.c),        the caller's stream locks
 *      open indexes, take all heavyweight locks,
 *      check what can be checked
 *   2. draw global positions, take the time,      the append lock, too, which is taken and released
 *      insert tuples and index entries            for each chunk
 *   3. insert an import's ids (sorted.c),         the caller's stream locks
 *      fill a user's own indexes, check again
 *      what might not be unique (entry.c),
 *      fire a user's triggers (trigger.c)
 *
 * Phase 2 never waits for another transaction, and must not: PostgreSQL detects no deadlock between sessions
 * of which one waits under a lightweight lock.  What might not be unique is decided in phase 3 (entry.c),
 * where a wait for another transaction holds up this append only.  The relations that phase 2 uses are locked
 * in phase 1, the sequence and the toast table too, which stay open, with its indexes, so that it looks
 * nothing up.  It evaluates no user's expression.  An error in it releases the lock before it travels on, and
 * one in phase 3 releases the page that an index has kept locked.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "miscadmin.h"

#include "base/errors.h"
#include "store/below.h"
#include "store/insert.h"

/*
 * Tuples of one heap_multi_insert(), as COPY does it, and their bytes; the append lock, which can't be
 * interrupted, is held for no more, but for a tuple that is larger by itself.  Half a MiB takes about ten
 * milliseconds where it is toasted.
 */
#define INSERT_CHUNK 1000
#define INSERT_CHUNK_BYTES 524288

/* Entries of tags under one append lock, but for a tuple that has more by itself; some microseconds each. */
#define INSERT_CHUNK_ENTRIES 5000

/*
 * The pause between two chunks.  The append lock is free then, but a session that takes it again at once is
 * quicker than waiting ones, which have to be woken: a call of many chunks would keep them all waiting.
 */
#define YIELD_US 100

/* ---- phase 1 ------------------------------------------------------------------------------------------- */

/*
 * Makes slots for a chunk.  They have a descriptor that nobody counts the uses of, so there is nothing to be
 * given back but memory.
 */
static void
MakeSlots(Insertion *insertion)
{
	TupleDesc columns = CreateTupleDescCopy(RelationGetDescr(insertion->store->heap));
	int nslots = Min(insertion->nrows, INSERT_CHUNK);

	insertion->slots = palloc(sizeof(TupleTableSlot *) * nslots);
	for (int i = 0; i < nslots; i++)
		insertion->slots[i] = MakeSingleTupleTableSlot(columns, &TTSOpsHeapTuple);
}

static void
BeginInsertion(Insertion *insertion)
{
	Store *store = insertion->store;
	Oid toast = store->heap->rd_rel->reltoastrelid;
	bool large = InsertionFormTuples(insertion);

	InsertionOpenIndexes(insertion);
	insertion->sequence = relation_open(store->sequence, RowExclusiveLock);
	if (large && OidIsValid(toast))
	{
		insertion->toast = table_open(toast, RowExclusiveLock);
		(void)toast_open_indexes(insertion->toast, RowExclusiveLock, &insertion->toast_indexes,
								 &insertion->ntoast_indexes);
	}
	(void)GetCurrentTransactionId();
	if (insertion->nrows > 1)
		MakeSlots(insertion);
}

/* ---- phase 2 ------------------------------------------------------------------------------------------- */

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
	/* A tuple that is the slot's own is not copied; it is ours again afterwards. */
	for (int i = 0; i < nrows; i++)
		ExecStoreHeapTuple(rows[i]->tuple, insertion->slots[i], true);
	heap_multi_insert(heap, insertion->slots, nrows, cid, 0, NULL);
	for (int i = 0; i < nrows; i++)
	{
		insertion->slots[i]->tts_flags &= ~TTS_FLAG_SHOULDFREE;
		/* Triggers look for it here; of a row with values out of line only the copy has it so far. */
		rows[i]->tuple->t_self = insertion->slots[i]->tts_tid;
	}
}

static void
EndBelow(Insertion *insertion)
{
	if (insertion->below)
		StoreEndBelow();
	insertion->below = false;
}

/* Returns false when the guard did not let it. */
static bool
InsertChunk(Insertion *insertion, NewRow **rows, int nrows, const StoreGuard *guard)
{
	Store *store = insertion->store;
	volatile bool in_order = true;
	volatile bool holds = true;

	CHECK_FOR_INTERRUPTS();
	StoreLockAppends(store);
	PG_TRY();
	{
		if (guard)
			holds = guard->holds(guard->arg);
		if (holds && insertion->import)
			InsertionTakePositions(insertion, rows, nrows);
		else if (holds)
			in_order = InsertionDrawPositions(insertion, rows, nrows);
		if (holds && in_order)
		{
			InsertTuples(insertion, rows, nrows);
			if (insertion->import)
				InsertionAddSorted(insertion, rows, nrows);
			else
				InsertionAddEntries(insertion, rows, nrows);
		}
	}
	PG_CATCH();
	{
		EndBelow(insertion);
		StoreAbandonAppends(store);
		PG_RE_THROW();
	}
	PG_END_TRY();
	EndBelow(insertion);
	StoreUnlockAppends(store);
	if (!in_order)
		InsertionRefusePositions(insertion, rows[0]->global_position);
	if (guard && holds)
		guard->inserted(guard->arg, rows[nrows - 1]->global_position);
	return holds;
}

/* Returns how many of the rows go into one chunk. */
static int
ChunkOf(NewRow **rows, int nrows)
{
	Size bytes = 0;
	int entries = 0;
	int n = 0;

	for (; n < Min(nrows, INSERT_CHUNK); n++)
	{
		bytes += rows[n]->tuple->t_len;
		entries += rows[n]->ntag_entries;
		if (n > 0 && (bytes > INSERT_CHUNK_BYTES || entries > INSERT_CHUNK_ENTRIES))
			break;
	}
	return n;
}

/* ---- all phases ---------------------------------------------------------------------------------------- */

static void
EndInsertion(Insertion *insertion)
{
	InsertionCloseIndexes(insertion);
	relation_close(insertion->sequence, NoLock);
	if (insertion->toast)
	{
		toast_close_indexes(insertion->toast_indexes, insertion->ntoast_indexes, NoLock);
		table_close(insertion->toast, NoLock);
	}
}

static void
RefuseRest(void)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_APPEND_CONDITION_FAILED),
					errmsg("a condition ceased to hold after a part of the messages was in"),
					errhint("Nothing of the call is stored.  Repeat it; with fewer or smaller messages it is "
							"not divided.")));
}

/* Returns false when the guard let none of the rows in. */
static bool
InsertRows(Insertion *insertion, const StoreGuard *guard)
{
	NewRow **rows = insertion->rows;
	int nrows = insertion->nrows;

	BeginInsertion(insertion);
	if (!insertion->import)
		InsertionFindHighest(insertion);
	for (int done = 0, n; done < nrows; done += n)
	{
		n = ChunkOf(rows + done, nrows - done);
		if (done > 0)
			pg_usleep(YIELD_US);
		while (!InsertChunk(insertion, rows + done, n, guard))
		{
			/* The analyzer can't know that without a guard each chunk goes in. */
			if (guard->again(guard->arg)) /* NOLINT(clang-analyzer-core.NullDereference) */
				continue;
			if (done > 0)
				RefuseRest();
			EndInsertion(insertion);
			return false;
		}
	}
	InsertionKeepHighest(insertion);
	if (insertion->import)
		InsertionAddIds(insertion);
	InsertionFinishEntries(insertion);
	StoreFireTriggers(insertion->store, rows, nrows);
	EndInsertion(insertion);
	return true;
}

/*
 * Inserts rows in order and gives each its global position and time.  The caller holds the locks of their
 * streams.  Returns false when the guard, which may be NULL, let none of them in.  Errors: MR019 when it let
 * in only some; MR002 for an id that another transaction stored at the same time; 23505 for what a plain
 * INSERT has put into the table; MR010 where no global position is left, or the sequence is behind; 23502,
 * and what a user's indexes and triggers raise.
 */
bool
StoreInsert(Store *store, NewRow **rows, int nrows, const StoreGuard *guard)
{
	Insertion insertion = {.store = store, .rows = rows, .nrows = nrows};

	return InsertRows(&insertion, guard);
}

/*
 * The same for rows that bring their global positions and times.  Errors: 23505 for a key that another
 * transaction stored at the same time, and those of StoreInsert().
 */
void
StoreImport(Store *store, const StoreOrders *orders, int nrows)
{
	Insertion insertion = {
		.store = store, .rows = orders->rows[INDEX_GLOBAL_POSITION], .nrows = nrows, .import = orders};

	(void)InsertRows(&insertion, NULL);
}
