/*
 * trigger.c: a user's AFTER INSERT ... FOR EACH ROW triggers, foreign keys and what a tool like
 * pg_repack puts on the table while it runs.
 *
 * They are queued and fired as the executor does it for an INSERT, with the same states (ENABLE ALWAYS,
 * session_replication_role) and conditions, but with the rights of the table's owner, like all that they
 * have put into it (store/owner.c); so a user's deferred one is refused by Postgres.  Foreign keys look
 * after their rights themselves, and may be deferred.  That is at the end of StoreInsert: the append lock
 * is free, the rows are in all indexes and are known to be unique.  A trigger can't come between a look at
 * the table and the end of the transaction, since CREATE TRIGGER waits for transactions with the table lock
 * of an append.
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"

#include "store/store.h"

/* Says whether there is one to fire: a user's, or one of Postgres's own, which keep foreign keys. */
static bool
HasTrigger(TriggerDesc *triggers, bool internal)
{
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgisinternal == internal && TRIGGER_FOR_ROW(trigger->tgtype) &&
			TRIGGER_FOR_AFTER(trigger->tgtype) && TRIGGER_FOR_INSERT(trigger->tgtype))
			return true;
	}
	return false;
}

/* Leaves those of one kind to be queued.  The list is a copy, which is not looked at when they are fired. */
static void
KeepTriggers(TriggerDesc *triggers, bool internal)
{
	for (int i = 0; i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgisinternal != internal)
			triggers->triggers[i].tgenabled = TRIGGER_DISABLED;
}

static void
FireTriggers(Store *store, NewRow **rows, int nrows, bool internal)
{
	EState *estate = CreateExecutorState();
	ResultRelInfo *relation = makeNode(ResultRelInfo);
	TupleTableSlot *slot;

	InitResultRelInfo(relation, store->heap, 0, NULL, 0);
	KeepTriggers(relation->ri_TrigDesc, internal);
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
}

/*
 * Fires the triggers for rows that were just inserted; for tables without them it does nothing.  Foreign keys
 * by themselves, not as the owner: then a deferred one would be refused as soon as there is a user's trigger,
 * too.
 */
void
StoreFireTriggers(Store *store, NewRow **rows, int nrows)
{
	TriggerDesc *triggers = store->heap->trigdesc;
	bool users;
	StoreCaller caller;

	if (!triggers || !triggers->trig_insert_after_row)
		return;
	users = HasTrigger(triggers, false); /* before any is fired, which might change the list */
	if (HasTrigger(triggers, true))
		FireTriggers(store, rows, nrows, true);
	if (!users)
		return;
	caller = StoreBecomeOwner(store->heap);
	FireTriggers(store, rows, nrows, false);
	StoreBecomeCaller(caller);
}
