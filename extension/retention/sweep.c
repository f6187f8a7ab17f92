/*
 * sweep.c: one step of a sweep: through a part of one category, by one rule, in the caller's transaction.
 *
 *   1. The category is locked, without waiting, against consumers that are made, reset or dropped, and it is
 *      found out up to where those that there are let it be swept (holds.c).
 *   2. A walk by global position from where the last step ended, by the prefix rule, so that nothing is
 *      passed that may still commit.  By age it ends at the first message that is young enough: what is above
 *      stays, however old its time says it is, as clocks step.  By count it looks at the streams of the
 *      messages that it meets: only those that were appended to since can have too many.  It ends below what
 *      is undecided in any category, and at the bounds of messages, of streams, and of rows that it has to
 *      pass over, as no VACUUM has taken away yet what was removed before.
 *   3. The streams are locked, without waiting.  One that is not free, or that an earlier step has left, is
 *      left alone, or there would be a hole in its middle: a stream loses its first messages, one behind the
 *      other, and under its lock it is looked up which these are.
 *   4. They are removed (remove.c).
 *
 * What was left is met again by the next sweep, which begins at the lowest of it.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/read.h"
#include "core/undecided.h"
#include "retention/remove.h"
#include "retention/sweep.h"
#include "store/floors.h"

/* What two look-ups in an index count, in rows. */
#define LOOKUP_ROWS 4

/* Rows that are gone and that no VACUUM has taken away yet, so many of which count one. */
#define GONE_PER_ROW 50

/* A stream that has something to be removed. */
typedef struct SweptStream
{
	text *name;
	uint64 hash;
	int64 met;	/* the lowest global position at which it was met */
	int64 keep; /* by count: the first position that stays */
} SweptStream;

/* What is known of a stream that was met. */
typedef struct MetStream
{
	uint64 hash; /* key */
	int stream;	 /* among those that have something; -1: it has nothing */
} MetStream;

typedef struct Sweep
{
	Store *store;
	const SweepRequest *request;
	SweepOutcome *outcome;
	Holds holds;
	HTAB *met;
	MemoryContext context;
	SweptStream *streams;
	int nstreams;
	int64 end;	 /* global positions below are met, and may go */
	int64 room;	 /* rows that may still be looked at */
	int64 found; /* rows that go */
} Sweep;

static void
Leave(Sweep *sweep, int64 global_position)
{
	sweep->outcome->left = Min(sweep->outcome->left, global_position);
}

static void
SayHeld(Sweep *sweep)
{
	sweep->outcome->held_by = sweep->holds.by;
	sweep->outcome->held_position = sweep->holds.floor;
}

/* ---- the walk ------------------------------------------------------------------------------------ */

/* The first row of a stream, as the caller's snapshot sees it; false: there is none. */
static bool
FirstOfStream(Sweep *sweep, text *stream, int64 *position, int64 *global_position)
{
	StoreScan *scan = StoreBeginScan(sweep->store, INDEX_STREAM, GetActiveSnapshot(), 1);
	ScanKeyData key;
	bool isnull, found;

	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, stream);
	StoreRescan(scan, &key, 1);
	found = StoreScanNext(scan, ForwardScanDirection);
	if (found)
	{
		*position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
		*global_position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull));
	}
	StoreEndScan(scan);
	return found;
}

static void
AddStream(Sweep *sweep, MetStream *met, const Message *message, int64 keep)
{
	MemoryContext reading = MemoryContextSwitchTo(sweep->context);
	SweptStream *stream = &sweep->streams[sweep->nstreams];

	stream->name = cstring_to_text_with_len(message->stream.bytes, message->stream.len);
	stream->hash = met->hash;
	stream->met = message->global_position;
	stream->keep = keep;
	met->stream = sweep->nstreams++;
	MemoryContextSwitchTo(reading);
}

/* Ends the walk before a message; `bound`: as the step has done enough. */
static bool
EndBefore(Sweep *sweep, const Message *message, bool bound)
{
	sweep->outcome->next = sweep->end = message->global_position;
	sweep->outcome->more = bound;
	return false;
}

/* Looks up whether a stream that was met has something to be removed; false: the walk ends before it. */
static bool
MeetStream(Sweep *sweep, const Message *message, uint64 hash)
{
	bool by_count = sweep->request->rule == SWEEP_COUNT;
	int64 keep = 0, first, first_global;
	MetStream *met;

	if (by_count)
	{
		sweep->room -= LOOKUP_ROWS;
		keep = ReadStreamTail(sweep->store, message->stream_text) - sweep->request->keep + 1;
	}
	if (!by_count || (FirstOfStream(sweep, message->stream_text, &first, &first_global) && first < keep))
	{
		if (by_count && first_global > sweep->holds.floor)
		{
			SayHeld(sweep);
			return EndBefore(sweep, message, false);
		}
		if (sweep->nstreams == sweep->request->max_streams)
			return EndBefore(sweep, message, true);
		met = hash_search(sweep->met, &hash, HASH_ENTER, NULL);
		AddStream(sweep, met, message, keep);
		return true;
	}
	met = hash_search(sweep->met, &hash, HASH_ENTER, NULL);
	met->stream = -1;
	return true;
}

/* Sink of the walk. */
static bool
Meet(void *arg, const Message *message)
{
	Sweep *sweep = arg;
	uint64 hash = StoreStreamHash(sweep->store, message->stream);
	MetStream *met;

	if (sweep->request->rule == SWEEP_AGE)
	{
		if (message->time >= sweep->request->young)
			return EndBefore(sweep, message, false);
		if (message->global_position > sweep->holds.floor)
		{
			SayHeld(sweep);
			return EndBefore(sweep, message, false);
		}
	}
	if (sweep->room <= 0)
		return EndBefore(sweep, message, true);
	met = hash_search(sweep->met, &hash, HASH_FIND, NULL);
	if (!met && !MeetStream(sweep, message, hash))
		return false;
	/* Another stream of the same hash is met by the next sweep. */
	if (met && met->stream >= 0 &&
		!SliceEqual(SliceOfText(sweep->streams[met->stream].name), message->stream))
		Leave(sweep, message->global_position);
	sweep->room--;
	sweep->end = PositionBehind(message->global_position);
	sweep->outcome->next = sweep->end;
	return true;
}

static void
Walk(Sweep *sweep)
{
	HASHCTL keys = {.keysize = sizeof(uint64), .entrysize = sizeof(MetStream), .hcxt = sweep->context};
	ReadRequest read = {.kind = READ_CATEGORY,
						.name = sweep->request->category,
						.position = sweep->request->position,
						.limit = NO_LIMIT,
						.heads = true};
	int64 for_removal = sweep->request->rule == SWEEP_COUNT ? sweep->room / 2 : 0;
	int64 decided, bound;

	sweep->room -= for_removal;
	read.max_gone = Max(sweep->room, 1) * GONE_PER_ROW;
	sweep->met = hash_create("millrace swept streams", 1024, &keys, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	sweep->streams = palloc(sizeof(SweptStream) * sweep->request->max_streams);
	bound = ReadMessages(sweep->store, &read, Meet, sweep).bound_position;
	if (bound > 0)
	{
		sweep->room = 0;
		sweep->outcome->next = bound;
		sweep->outcome->more = true;
	}
	sweep->room += for_removal;
	sweep->outcome->rows = sweep->request->max_rows - sweep->room;
	if (sweep->nstreams == 0)
		return;
	/* Below what may still commit in the other categories, too: those who read all are not there yet. */
	decided = DecidedUpTo(sweep->store, GetActiveSnapshot(), sweep->end - 1);
	if (decided >= sweep->end - 1)
		return;
	sweep->end = decided + 1;
	sweep->outcome->next = Min(sweep->outcome->next, Max(sweep->end, sweep->request->position));
	sweep->outcome->more = false;
}

/* ---- which messages of a stream ------------------------------------------------------------------ */

/* Whether a row of a stream goes, whose lock is held and of which all before this one goes. */
static bool
Goes(Sweep *sweep, const SweptStream *stream, int64 position, int64 global_position)
{
	if (sweep->request->rule == SWEEP_AGE)
		return global_position < sweep->end && global_position >= sweep->request->position;
	if (position >= stream->keep)
		return false;
	if (global_position > sweep->holds.floor)
	{
		SayHeld(sweep);
		Leave(sweep, stream->met);
		return false;
	}
	if (sweep->room <= 0 && sweep->found > 0)
	{
		/* The rest is for the next step. */
		sweep->outcome->next = Min(sweep->outcome->next, stream->met);
		sweep->outcome->more = true;
		return false;
	}
	return global_position < sweep->end;
}

/* Finds the first messages of a stream that go; false: there are none. */
static bool
FindFirsts(Sweep *sweep, StoreScan *scan, SweptStream *stream, RemoveStream *remove)
{
	ScanKeyData key;

	remove->stream = stream->name;
	remove->before = 0;
	remove->max_rows = PG_INT64_MAX;
	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, stream->name);
	StoreRescan(scan, &key, 1);
	while (StoreScanNext(scan, ForwardScanDirection))
	{
		bool isnull;
		int64 position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
		int64 global_position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (!Goes(sweep, stream, position, global_position))
		{
			if (sweep->request->rule == SWEEP_AGE && remove->before == 0)
				Leave(sweep, Min(stream->met, global_position));
			break;
		}
		remove->before = position + 1;
		sweep->found++;
		sweep->room -= sweep->request->rule == SWEEP_COUNT;
	}
	return remove->before > 0;
}

/* Locks the streams that are free, and removes what goes of them. */
static void
Remove(Sweep *sweep)
{
	RemoveStream *removes = palloc0(sizeof(RemoveStream) * Max(sweep->nstreams, 1));
	StoreScan *scan =
		sweep->nstreams > 0 ? StoreBeginScan(sweep->store, INDEX_STREAM, SnapshotSelf, 1) : NULL;
	SweepOutcome *outcome = sweep->outcome;
	ConsumerLoss *losses;
	int nremoves = 0;

	for (int i = 0; i < sweep->nstreams; i++)
	{
		SweptStream *stream = &sweep->streams[i];

		if (!StoreTryLockStream(stream->hash))
			Leave(sweep, stream->met);
		else if (FindFirsts(sweep, scan, stream, &removes[nremoves]))
			nremoves++;
	}
	if (scan)
		StoreEndScan(scan);
	if (nremoves > 0)
		RemoveRows(sweep->store, removes, nremoves,
				   (RemoveOptions){.forget = sweep->request->forget, .record = true});
	losses = palloc(sizeof(ConsumerLoss) * Max(nremoves, 1));
	outcome->streams = palloc(sizeof(bytea *) * Max(nremoves, 1));
	outcome->from = PG_INT64_MAX;
	for (int i = 0; i < nremoves; i++)
	{
		outcome->removed += removes[i].removed;
		outcome->streams[i] = StoreFloorKey(removes[i].stream);
		outcome->from = Min(outcome->from, removes[i].first_global);
		outcome->to = Max(outcome->to, removes[i].last_global);
		losses[i] = (ConsumerLoss){removes[i].stream, removes[i].before, removes[i].last_global};
	}
	outcome->nstreams = nremoves;
	if (sweep->request->rule == SWEEP_COUNT)
		outcome->rows = sweep->request->max_rows - sweep->room;
	HoldsEnd(&sweep->holds, losses, nremoves, outcome);
}

/*
 * Makes a step.  Where a consumer of the category is being made, reset or dropped, or another transaction has
 * removed something, nothing is done, and there is no more.  Errors: those of RemoveOpen() and RemoveRows().
 */
void
SweepCategory(const char *namespace_name, const SweepRequest *request, SweepOutcome *outcome)
{
	Store *store = RemoveOpen(namespace_name);
	Sweep sweep = {.store = store,
				   .request = request,
				   .outcome = outcome,
				   .context = CurrentMemoryContext,
				   .end = request->position,
				   .room = request->max_rows};

	*outcome = (SweepOutcome){.next = request->position, .left = PG_INT64_MAX};
	/* Nobody waits for another removal with the streams locked. */
	if (StoreSweepCategory(store, SliceOfText(request->category), false) && StoreLockRemovals(store, false))
	{
		HoldsFind(namespace_name, store, request, &sweep.holds);
		PushActiveSnapshot(GetLatestSnapshot());
		Walk(&sweep);
		PopActiveSnapshot();
		Remove(&sweep);
	}
	else
		Leave(&sweep, request->position);
	StoreClose(store);
}
