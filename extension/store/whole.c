/*
 * whole.c: a namespace's table as a whole: walking through its rows, counting them, emptying it.
 *
 * None of it is left to SQL, which would run, with the caller's rights, what the owner of the schema has
 * put in the place of the table.  The table is found once; from then on it is held by its lock, not by its
 * name.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/catalog.h"
#include "catalog/pg_trigger.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/fence.h"
#include "store/floors.h"
#include "store/store.h"

/* Begins a walk through all rows.  Errors: 40001, 42501, MR010. */
StoreWalk *
StoreBeginWalk(Oid schema)
{
	StoreWalk *walk = palloc(sizeof(StoreWalk));

	walk->heap = StoreOpenHeap(schema, AccessShareLock, ACL_SELECT);
	walk->snapshot = StoreWholeSnapshot(walk->heap);
	walk->scan = CompatTableBeginScan(walk->heap, walk->snapshot);
	walk->slot = table_slot_create(walk->heap, NULL);
	return walk;
}

/* Puts the next row into the walk's slot; false: there is none. */
bool
StoreWalkNext(StoreWalk *walk)
{
	CHECK_FOR_INTERRUPTS();
	return table_scan_getnextslot(walk->scan, ForwardScanDirection, walk->slot);
}

/* Ends a walk, at its end or before. */
void
StoreEndWalk(StoreWalk *walk)
{
	ExecDropSingleTupleTableSlot(walk->slot);
	table_endscan(walk->scan);
	UnregisterSnapshot(walk->snapshot);
	relation_close(walk->heap, NoLock);
	pfree(walk);
}

/* Counts the rows.  Errors: 40001, 42501, MR010. */
int64
StoreCountRows(Oid schema)
{
	StoreWalk *walk = StoreBeginWalk(schema);
	int64 count = 0;

	while (StoreWalkNext(walk))
		count++;
	StoreEndWalk(walk);
	return count;
}

static bool
IsOfTruncate(const Trigger *trigger)
{
	return TRIGGER_FOR_TRUNCATE(trigger->tgtype);
}

/*
 * Empties the table, as TRUNCATE does, and with it what is left of messages that were removed, and returns
 * how many rows were there.  Errors: 42501, MR010, and TRUNCATE's own.
 */
int64
StoreTruncate(Oid schema)
{
	Relation heap;
	Oid relid;
	int64 count;

	PreventCommandIfReadOnly("TRUNCATE");
	PreventCommandIfParallelMode("TRUNCATE");
	PreventCommandDuringRecovery("TRUNCATE");
	heap = StoreOpenHeap(schema, AccessExclusiveLock, ACL_SELECT | ACL_TRUNCATE);
	relid = RelationGetRelid(heap);
	FenceCheck(heap, true);
	if (FenceHasOthers(heap, IsOfTruncate))
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
				 errmsg("table \"%s\".\"%s\" can't be emptied: it has triggers on TRUNCATE",
						get_namespace_name(RelationGetNamespace(heap)), RelationGetRelationName(heap))));
	CheckTableNotInUse(heap, "TRUNCATE");
	PushActiveSnapshot(GetLatestSnapshot()); /* with what was written while this waited for the lock */
	count = StoreCountRows(schema);
	PopActiveSnapshot();
	StoreForgetRemains(heap);
	CompatTruncate(list_make1(heap), list_make1_oid(relid),
				   RelationIsLogicallyLogged(heap) ? list_make1_oid(relid) : NIL);
	relation_close(heap, NoLock);
	return count;
}
