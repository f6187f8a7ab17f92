/*
 * holds.c: up to where consumers let a category be swept.
 *
 * Those that read it hold it at their floors by themselves.  A policy names consumers besides: one that is
 * not there holds all, so that nothing goes before it is made, or after it was dropped by mistake.
 *
 * What is known holds to commit: floors sink only where a consumer is made or reset, which waits for the
 * category's lock, and that the sweep has.  A forced sweep locks the consumers as well, before it has any
 * stream, since it moves them on.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "retention/sweep.h"

static bool
IsNamed(const SweepRequest *request, text *name)
{
	for (int i = 0; i < request->nhold; i++)
		if (SliceEqual(SliceOfText(request->hold[i]), SliceOfText(name)))
			return true;
	return false;
}

static bool
IsThere(const ConsumerNames *names, text *name)
{
	for (int i = 0; i < names->nnames; i++)
		if (SliceEqual(SliceOfText(names->names[i]), SliceOfText(name)))
			return true;
	return false;
}

static void
Hold(Holds *holds, text *by, int64 floor)
{
	if (floor >= holds->floor)
		return;
	holds->floor = floor;
	holds->by = by;
}

/* Takes note of a consumer if it reads the category or is named. */
static void
AddConsumer(Holds *holds, const SweepRequest *request, text *name)
{
	Consumer *consumer = ConsumerFind(holds->tables, name);

	if (!consumer || !(ConsumerReads(consumer, SliceOfText(request->category)) || IsNamed(request, name)))
		return;
	if (request->forced)
	{
		ConsumerLock(holds->tables, consumer->id);
		consumer = ConsumerFind(holds->tables, name);
		if (!consumer)
			return;
	}
	holds->consumers[holds->nconsumers] = consumer;
	holds->floors[holds->nconsumers] = ConsumerFloorOf(holds->tables, consumer);
	Hold(holds, consumer->name, holds->floors[holds->nconsumers]);
	holds->nconsumers++;
}

/* Finds who holds the category.  Its lock is held. */
void
HoldsFind(const char *namespace_name, Store *store, const SweepRequest *request, Holds *holds)
{
	ConsumerNames none = {0}, *names = &none;

	memset(holds, 0, sizeof(*holds));
	holds->floor = PG_INT64_MAX;
	if (ConsumersExist(store))
	{
		holds->tables = ConsumerTablesOpen(namespace_name, request->forced);
		/* Of this moment, which is after the lock; those that may change are read as they are each time. */
		if (!request->forced)
			holds->tables->snapshot = RegisterSnapshot(GetLatestSnapshot());
		names = ConsumersAll(holds->tables);
		holds->consumers = palloc(sizeof(Consumer *) * Max(names->nnames, 1));
		holds->floors = palloc(sizeof(int64) * Max(names->nnames, 1));
		for (int i = 0; i < names->nnames; i++)
			AddConsumer(holds, request, names->names[i]);
		if (holds->tables->snapshot)
			UnregisterSnapshot(holds->tables->snapshot);
		holds->tables->snapshot = NULL;
	}
	for (int i = 0; i < request->nhold; i++)
		if (!IsThere(names, request->hold[i]))
			Hold(holds, request->hold[i], 0);
	if (!request->forced)
		return;
	holds->floor = PG_INT64_MAX;
	holds->by = NULL;
}

/*
 * Refuses what would go beyond a consumer of a category, up to a global position; keeps it so to commit.
 * Errors: MR023.
 */
void
HoldsCheck(const char *namespace_name, Store *store, text *category, int64 last)
{
	SweepRequest request = {.category = category};
	Holds holds;

	(void)StoreSweepCategory(store, SliceOfText(category), true);
	HoldsFind(namespace_name, store, &request, &holds);
	if (last > holds.floor)
		ereport(
			ERROR,
			(errcode(ERRCODE_MILLRACE_RETENTION_HELD),
			 errmsg("consumer \"%s\" holds category \"%s\": it is done up to global position " INT64_FORMAT,
					text_to_cstring(holds.by), text_to_cstring(category), holds.floor)));
	if (holds.tables)
		ConsumerTablesClose(holds.tables);
}

/*
 * Ends the step.  A forced one lets the consumers go on that stood before what was removed, and says which
 * they are.
 */
void
HoldsEnd(Holds *holds, const ConsumerLoss *losses, int nlosses, SweepOutcome *outcome)
{
	outcome->moved = palloc(sizeof(text *) * Max(holds->nconsumers, 1));
	for (int i = 0; i < holds->nconsumers && outcome->removed > 0; i++)
	{
		if (holds->floors[i] >= outcome->to)
			continue;
		ConsumerMoveOn(holds->tables, holds->consumers[i], losses, nlosses, outcome->to);
		outcome->moved[outcome->nmoved++] = holds->consumers[i]->name;
	}
	if (holds->tables)
		ConsumerTablesClose(holds->tables);
}
