/*
 * position.c: global positions, which appended rows draw from the table's sequence and imported ones bring.
 *
 * What is appended must lie above all rows that are there, or a reader that has come so far would never
 * see it.  So the highest position is looked for now and then, and a sequence that is behind it is refused.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/below.h"
#include "store/insert.h"

/* Writes the columns that are known under the append lock only. */
static void
SetPosition(NewRow *row, int64 global_position, Timestamp time)
{
	char *fixed = (char *)row->tuple->t_data + row->tuple->t_data->t_hoff;

	row->global_position = global_position;
	row->time = time;
	memcpy(fixed, &global_position, sizeof(int64));
	memcpy(fixed + 2 * sizeof(int64), &time, sizeof(Timestamp));
}

/* ---- drawn --------------------------------------------------------------------------------------------- */

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
 * Looks for the highest global position that there is: rows that come now must be above.  Appends keep it so;
 * a plain INSERT or a restore may have brought rows and left the sequence where it was.  That is rare, so it
 * is looked for at a session's first append to a table, and once a second.  0: not looked for.
 */
void
InsertionFindHighest(Insertion *insertion)
{
	Store *store = insertion->store;
	LastLook *last = LastLookAt(store);
	StoreScan *scan;
	bool isnull;

	if (last->table == RelationGetRelid(store->heap) &&
		!TimestampDifferenceExceeds(last->time, GetCurrentTransactionStartTimestamp(), LOOK_AGAIN_MS))
		return;
	scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotSelf, 0);
	StoreRescan(scan, NULL, 0);
	if (StoreScanNext(scan, BackwardScanDirection))
		insertion->highest = DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull));
	StoreEndScan(scan);
}

/* Phase 2 is done: what was drawn lies above the highest position that was found, if it was looked for. */
void
InsertionKeepHighest(const Insertion *insertion)
{
	if (insertion->highest > 0)
		*LastLookAt(insertion->store) =
			(LastLook){RelationGetRelid(insertion->store->heap), GetCurrentTransactionStartTimestamp()};
}

/*
 * Phase 2: gives rows the next positions, and this moment as their time.  Returns whether all are above those
 * that were there before, and have one above them; if not, the caller refuses them when the lock is free.
 */
bool
InsertionDrawPositions(Insertion *insertion, NewRow **rows, int nrows)
{
	Timestamp now = GetCurrentTimestamp();

	for (int i = 0; i < nrows; i++)
		SetPosition(rows[i], nextval_internal(insertion->store->sequence, false), now);
	return rows[0]->global_position > insertion->highest && rows[nrows - 1]->global_position < PG_INT64_MAX;
}

static void
RefuseFull(Store *store)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
					errmsg("table \"%s\".\"%s\" is full: there is no global position behind " INT64_FORMAT,
						   get_namespace_name(RelationGetNamespace(store->heap)),
						   RelationGetRelationName(store->heap), PG_INT64_MAX),
					errhint("If a message was put there by hand, give it another global position.")));
}

/*
 * Refuses the append for which `drawn` was given.  Not under the append lock: names are looked up.  Errors:
 * MR010.
 */
void
InsertionRefusePositions(const Insertion *insertion, int64 drawn)
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
 * The last global position that was given out, or by an import; 0: none.  The sequence is open and locked;
 * nothing is looked up nor waited for.  Unlike pg_sequence_last_value() it asks for no privilege, and of a
 * sequence that is to begin somewhere (ALTER SEQUENCE RESTART) it says what is before that.
 */
int64
StoreLastDrawn(Relation sequence)
{
	Buffer buffer = ReadBuffer(sequence, 0);
	Page page = BufferGetPage(buffer);
	HeapTupleHeader row;
	Form_pg_sequence_data data;
	int64 last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	row = (HeapTupleHeader)PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	data = (Form_pg_sequence_data)((char *)row + row->t_hoff);
	last = data->is_called ? data->last_value : data->last_value - 1;
	UnlockReleaseBuffer(buffer);
	return last;
}

/* ---- brought ------------------------------------------------------------------------------------------- */

/* Under the append lock. */
static void
Lift(Relation sequence, int64 drawn, int64 position)
{
	if (drawn < position)
		(void)DirectFunctionCall2(setval_oid, ObjectIdGetDatum(RelationGetRelid(sequence)),
								  Int64GetDatum(position));
}

/*
 * Phase 2 of an import: keeps the rows' own positions and times, and lifts the sequence to them; it never
 * goes back, and none of its positions is used up.  The rows are in order.  Says so where they lie below
 * others.
 */
void
InsertionTakePositions(Insertion *insertion, NewRow **rows, int nrows)
{
	int64 drawn = StoreLastDrawn(insertion->sequence);
	int64 highest = 0;

	for (int i = 0; i < nrows; i++)
	{
		SetPosition(rows[i], rows[i]->global_position, rows[i]->time);
		highest = Max(highest, rows[i]->global_position);
	}
	insertion->below = rows[0]->global_position <= drawn;
	if (insertion->below)
		StoreBeginBelow();
	Lift(insertion->sequence, drawn, highest);
}

/* Lifts the sequence to a position that was given out elsewhere; it never goes back. */
void
StoreLift(Store *store, int64 position)
{
	Relation sequence = relation_open(store->sequence, RowExclusiveLock);

	StoreLockAppends(store);
	PG_TRY();
	{
		Lift(sequence, StoreLastDrawn(sequence), position);
	}
	PG_CATCH();
	{
		StoreAbandonAppends(store);
		PG_RE_THROW();
	}
	PG_END_TRY();
	StoreUnlockAppends(store);
	relation_close(sequence, NoLock);
}
