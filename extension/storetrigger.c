/*
 * storetrigger.c: a user's AFTER INSERT ... FOR EACH ROW triggers, foreign keys and what a tool like pg_repack puts on the table while it runs.
 *
 * They are queued and fired as the executor does it for an INSERT, with the same states (ENABLE ALWAYS, session_replication_role) and conditions, but
 * with the rights of the table's owner, like all that they have put into it (storeowner.c); so a user's deferred one is refused by Postgres.  Foreign
 * keys look after their rights themselves, and may be deferred.  That is at the end of StoreInsert: the append lock is free, the rows
 * are in all indexes and are known to be unique.
 * A trigger can't come between a look at the table and the end of the transaction, since CREATE TRIGGER waits for who has the lock of an append.
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"

#include "store.h"

static bool
HasUsersTrigger(TriggerDesc *triggers)
{
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];

		if (!trigger->tgisinternal && TRIGGER_FOR_ROW(trigger->tgtype) &&
			TRIGGER_FOR_AFTER(trigger->tgtype) && TRIGGER_FOR_INSERT(trigger->tgtype))
			return true;
	}
	return false;
}

/* Fires the triggers for rows that were just inserted; for tables without them it does nothing. */
void
StoreFireTriggers(Store *store, NewRow **rows, int nrows)
{
	TriggerDesc *triggers = store->heap->trigdesc;
	EState *estate;
	ResultRelInfo *relation;
	TupleTableSlot *slot;
	StoreCaller caller = {0};
	bool as_owner;

	if (!triggers || !triggers->trig_insert_after_row)
		return;
	as_owner = HasUsersTrigger(triggers);
	if (as_owner)
		caller = StoreBecomeOwner(store->heap);
	estate = CreateExecutorState();
	relation = makeNode(ResultRelInfo);
	InitResultRelInfo(relation, store->heap, 0, NULL, 0);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(store->heap), &TTSOpsHeapTuple);
	AfterTriggerBeginQuery();
	for (int i = 0; i < nrows; i++)
	{
		ExecStoreHeapTuple(rows[i]->tuple, slot, false);
		slot->tts_tableOid = RelationGetRelid(store->heap);
		ExecARInsertTriggers(estate, relation, slot, NIL, NULL);
		ResetPerTupleExprContext(estate);
	}
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	if (as_owner)
		StoreBecomeCaller(caller);
}
