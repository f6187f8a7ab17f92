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

#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "retention/sweep.h"

typedef struct Names
{
	text *names[MAX_CONSUMERS];
	int nnames;
} Names;

static bool
AddName(void *arg, const ConsumerRow *row)
{
	Names *names = arg;

	names->names[names->nnames++] = DatumGetTextPP(row->value[CONSUMER_NAME - 1]);
	return names->nnames < MAX_CONSUMERS;
}

static bool
IsNamed(const SweepRequest *request, text *name)
{
	for (int i = 0; i < request->nhold; i++)
		if (SliceEqual(SliceOfText(request->hold[i]), SliceOfText(name)))
			return true;
	return false;
}

static bool
IsThere(const Names *names, text *name)
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
	Names *names = palloc0(sizeof(Names));

	memset(holds, 0, sizeof(*holds));
	holds->floor = PG_INT64_MAX;
	if (ConsumersExist(store))
	{
		holds->tables = ConsumerTablesOpen(namespace_name, request->forced);
		/* Of this moment, which is after the lock; those that may change are read as they are each time. */
		if (!request->forced)
			holds->tables->snapshot = RegisterSnapshot(GetLatestSnapshot());
		RowEach(holds->tables, TABLE_CONSUMERS, holds->tables->key[TABLE_CONSUMERS], NULL, 0, AddName, names);
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
