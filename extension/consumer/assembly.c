/*
 * assembly.c: what is put into a claim.
 *
 * First comes what is due again, then the log from the ceiling on.  A stream is given to one claim at a time,
 * so its messages are dealt with in order: those of a stream that is in a claim, waits for a retry or is
 * parked are passed over, and its row says from where on they are left.
 *
 * The ceiling follows the prefix rule (core/read.c): it never passes a row that may still commit, whether the
 * filters would let that row pass or not.
 */
#include "postgres.h"

#include "lib/binaryheap.h"
#include "utils/memutils.h"

#include "consumer/assembly.h"

static HTAB *
HashTable(const char *name, Size entry)
{
	HASHCTL keys = {.keysize = sizeof(uint64), .entrysize = entry, .hcxt = CurrentMemoryContext};

	return hash_create(name, 256, &keys, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* ---- messages ------------------------------------------------------------------------------------ */

static void *
Copy(const void *value)
{
	return value ? memcpy(palloc(VARSIZE_ANY(value)), value, VARSIZE_ANY(value)) : NULL;
}

/* Into the current memory context. */
void
AssemblyCopyMessage(const Message *from, Message *to)
{
	*to = *from;
	to->stream_text = Copy(from->stream_text);
	to->type_text = Copy(from->type_text);
	to->stream = SliceOfText(to->stream_text);
	to->type = SliceOfText(to->type_text);
	to->data = Copy(from->data);
	to->metadata = Copy(from->metadata);
	to->id = memcpy(palloc(sizeof(pg_uuid_t)), from->id, sizeof(pg_uuid_t));
}

static int64
SizeOf(const Message *message)
{
	return (int64)VARSIZE_ANY(message->stream_text) + VARSIZE_ANY(message->type_text) +
		   (message->data ? VARSIZE_ANY(message->data) : 0) +
		   (message->metadata ? VARSIZE_ANY(message->metadata) : 0);
}

/* A message that is larger than all that there is room for comes alone. */
static bool
HasRoomFor(const Assembly *claim, const Message *message)
{
	return claim->room > 0 && (SizeOf(message) <= claim->bytes_room || claim->nmessages == 0);
}

static void
AddMessage(Assembly *claim, text *key, const Message *message)
{
	MemoryContext reading = MemoryContextSwitchTo(claim->context);
	Delivered *delivered = &claim->messages[claim->nmessages++];
	uint64 hash = StreamHash(key);
	bool found;
	NewSpan *span = hash_search(claim->streams, &hash, HASH_ENTER, &found);

	AssemblyCopyMessage(message, &delivered->message);
	delivered->attempts = claim->row && claim->row->position == SourcePosition(claim->work->consumer, message)
							  ? claim->row->attempts
							  : 0;
	delivered->error = delivered->attempts > 0 ? claim->row->error : NULL;
	if (!found)
	{
		span->stream = Copy(key);
		span->global_position = message->global_position;
		span->count = 0;
	}
	span->count++;
	span->last = SourcePosition(claim->work->consumer, message);
	claim->room--;
	claim->bytes_room -= SizeOf(message);
	claim->bytes += SizeOf(message);
	MemoryContextSwitchTo(reading);
}

/* ---- what is due --------------------------------------------------------------------------------- */

static bool
AddDue(void *arg, const Message *message)
{
	Assembly *claim = arg;

	if (!HasRoomFor(claim, message))
		return false;
	AddMessage(claim, claim->row->stream, message);
	return claim->room > 0;
}

typedef enum Membership
{
	NOT_IN_CLAIM,
	IN_CLAIM,
	HAS_NAMESAKE /* another stream, whose name has the same hash, is in the claim */
} Membership;

/*
 * Streams in claims are told apart by the hash: of two that have the same, one waits for the other, in
 * whichever claim that is.
 */
static Membership
IsInClaim(const Assembly *claim, text *key, uint64 hash)
{
	NewSpan *span = hash_search(claim->streams, &hash, HASH_FIND, NULL);

	if (!span)
		return NOT_IN_CLAIM;
	return SliceEqual(SliceOfText(span->stream), SliceOfText(key)) ? IN_CLAIM : HAS_NAMESAKE;
}

static bool
IsDue(const ConsumerWork *work, const StreamRow *row)
{
	return !row->gone && row->parked_at == 0 && row->claim == 0 && row->retry_at <= work->now;
}

/* Adds at most so many messages of a stream that is due, up to the ceiling: above it the scan takes over. */
static void
TakeStream(Assembly *claim, StreamRow *row, int most)
{
	int before = claim->nmessages;

	if (IsInClaim(claim, row->stream, row->hash) == HAS_NAMESAKE ||
		(claim->claimed && hash_search(claim->claimed, &row->hash, HASH_FIND, NULL)))
		return;
	claim->row = row;
	SourceReadStream(claim->work->tables, claim->work->consumer, row->stream, row->position,
					 claim->work->newest.ceiling + 1, Min(most, claim->room), AddDue, claim);
	claim->row = NULL;
	if (claim->nmessages == before)
	{
		if (claim->room > 0 && claim->nmessages == 0) /* its messages were deleted meanwhile */
			StreamGoOn(claim->work, row, row->position);
		return;
	}
	row->changed = true;
	row->claim = -1; /* this one, whose number comes later */
	row->claimed_to = SourcePosition(claim->work->consumer, &claim->messages[claim->nmessages - 1].message);
}

/* Those under suspicion first, then by their messages' global positions; as a binaryheap compares. */
static int
OldestFirst(Datum a, Datum b, void *arg)
{
	const StreamRow *left = (const StreamRow *)DatumGetPointer(a);
	const StreamRow *right = (const StreamRow *)DatumGetPointer(b);

	if (left->suspect != right->suspect)
		return left->suspect > right->suspect ? 1 : -1;
	return left->global_position < right->global_position	? 1
		   : left->global_position > right->global_position ? -1
															: 0;
}

/*
 * The rows that are due.  They may be many of which a claim takes few, so they are put in order as they are
 * asked for.
 */
typedef struct DueRows
{
	binaryheap *rest;
	StreamRow **rows;
	int nrows;
} DueRows;

static DueRows
FindDueRows(ConsumerWork *work)
{
	DueRows due = {binaryheap_allocate(Max(work->nstreams, 1), OldestFirst, NULL)};

	due.rows = palloc(sizeof(StreamRow *) * Max(work->nstreams, 1));
	for (int i = 0; i < work->nstreams; i++)
		if (IsDue(work, work->streams[i]))
			binaryheap_add_unordered(due.rest, PointerGetDatum(work->streams[i]));
	binaryheap_build(due.rest);
	return due;
}

/* The first, the second...; NULL: there are no more. */
static StreamRow *
DueRow(DueRows *due, int number)
{
	while (due->nrows <= number)
	{
		if (binaryheap_empty(due->rest))
			return NULL;
		due->rows[due->nrows++] = (StreamRow *)DatumGetPointer(binaryheap_remove_first(due->rest));
	}
	return due->rows[number];
}

/* Of streams under suspicion a claim has a quarter, a sixteenth, or one, and nothing else. */
static bool
TakeSuspects(Assembly *claim, DueRows *due, int max)
{
	StreamRow *row = DueRow(due, 0);
	int suspect = row ? row->suspect : 0;

	if (suspect < SUSPECT_QUARTER)
		return false;
	claim->room =
		Min(claim->room, suspect >= SUSPECT_ALONE ? 1 : Max(max >> (2 * (suspect - SUSPECT_OUTAGE)), 1));
	for (int i = 0; claim->room > 0 && (row = DueRow(due, i)) != NULL && row->suspect == suspect; i++)
		TakeStream(claim, row, 1);
	return true;
}

static void
TakeDue(Assembly *claim, DueRows *due, int most)
{
	int kept_back = Max(claim->room - most, 0);
	StreamRow *row;

	claim->room -= kept_back;
	for (int i = 0; claim->room > 0 && (row = DueRow(due, i)) != NULL; i++)
		if (row->claim == 0 && !row->gone)
			TakeStream(claim, row, row->attempts > 0 ? 1 : claim->room);
	claim->room += kept_back;
}

/* ---- the log ------------------------------------------------------------------------------------- */

/* Passes over a message whose stream is in an open claim: the stream's row stands for it from now on. */
static bool
LeaveForLater(Assembly *claim, text *key, int64 holder, const Message *message)
{
	MemoryContext reading = MemoryContextSwitchTo(claim->context);
	StreamRow *row;

	if (claim->waiting >= MAX_WAITING_STREAMS)
	{
		MemoryContextSwitchTo(reading);
		return false;
	}
	claim->waiting++;
	row = StreamsFindOrAdd(claim->work, Copy(key));
	row->passed = true;
	row->position = SourcePosition(claim->work->consumer, message);
	row->global_position = message->global_position;
	row->claim = holder;
	row->claimed_to = row->position - 1;
	MemoryContextSwitchTo(reading);
	return true;
}

static bool
IsParked(const Assembly *claim, text *key)
{
	MemoryContext reading = MemoryContextSwitchTo(claim->context);
	bool parked = claim->parked && StreamsFindParked(claim->work, key) != NULL;

	MemoryContextSwitchTo(reading);
	return parked;
}

/* Sink: takes a message of the log, passes over it, or ends the scan below it. */
static bool
TakeFromLog(void *arg, const Message *message)
{
	Assembly *claim = arg;
	text *key = SourceKey(claim->work->consumer, message->stream_text);
	uint64 hash = StreamHash(key);
	ClaimedStream *holder, this_one = {.claim = -1};
	Membership membership;
	StreamRow *row;

	if (message->global_position == LAST_POSITION)
		return true;
	row = StreamsFind(claim->work, key);
	holder = claim->claimed && !row ? hash_search(claim->claimed, &hash, HASH_FIND, NULL) : NULL;
	membership = IsInClaim(claim, key, hash);
	if (!holder && membership == HAS_NAMESAKE)
		holder = &this_one;
	if (row || (membership != IN_CLAIM && IsParked(claim, key)))
		claim->ceiling = message->global_position;
	else if (holder ? LeaveForLater(claim, key, holder->claim, message) : HasRoomFor(claim, message))
	{
		if (!holder)
			AddMessage(claim, key, message);
		claim->ceiling = message->global_position;
	}
	else
		claim->blocked = true;
	return !claim->blocked && claim->room > 0;
}

static void
TakeLog(Assembly *claim)
{
	ConsumerWork *work = claim->work;
	ReadOutcome outcome;

	if (claim->room <= 0)
		return;
	outcome =
		SourceRead(work->tables, work->consumer, work->newest.ceiling + 1, SCAN_ROWS, TakeFromLog, claim);
	/* What the filters left out behind the last message need not be looked at again. */
	if (!claim->blocked && claim->room > 0 && outcome.last_global_position != LAST_POSITION)
		claim->ceiling = Max(claim->ceiling, outcome.last_global_position);
}

/* ---- all of it ----------------------------------------------------------------------------------- */

/* Takes what room there is: the consumer's open claims have the rest. */
void
AssemblyBegin(Assembly *claim, ConsumerWork *work, const NextRequest *request)
{
	memset(claim, 0, sizeof(*claim));
	claim->work = work;
	claim->context = CurrentMemoryContext;
	claim->ceiling = work->newest.ceiling;
	claim->room = MAX_CLAIM_MESSAGES;
	claim->bytes_room = MAX_CLAIM_BYTES;
	for (int i = 0; i < work->nclaims; i++)
	{
		const Claim *open = &work->claims[i];

		if (!open->open)
			continue;
		if (!claim->claimed)
			claim->claimed = HashTable("millrace claimed streams", sizeof(ClaimedStream));
		for (int j = 0; j < open->content.nspans; j++)
			((ClaimedStream *)hash_search(claim->claimed, &open->content.spans[j].hash, HASH_ENTER, NULL))
				->claim = open->number;
		claim->room -= (int)ContentCount(&open->content);
		claim->bytes_room -= open->content.bytes;
	}
	if (claim->bytes_room <= 0)
		claim->room = 0;
	claim->room = Min(claim->room, request->max);
	claim->bytes_room = Min(claim->bytes_room, request->max_bytes);
	claim->messages = palloc(sizeof(Delivered) * Max(claim->room, 1));
	claim->streams = HashTable("millrace streams of a claim", sizeof(NewSpan));
	claim->waiting = StreamsWaiting(work);
	claim->parked = claim->room > 0 && StreamsAreParked(work);
}

/* Fills the claim with what is due and with what the log has. */
void
AssemblyFill(Assembly *claim, int max)
{
	ConsumerWork *work = claim->work;
	DueRows due;

	if (claim->room <= 0)
		return;
	due = FindDueRows(work);
	if (TakeSuspects(claim, &due, max))
		return;
	if (work->consumer->ordering == ORDERING_ALL)
	{
		if (claim->claimed)
			return;
		if (StreamsWaiting(work) > 0 || claim->parked)
			TakeDue(claim, &due, claim->room);
		else
			TakeLog(claim);
		return;
	}
	TakeDue(claim, &due, (claim->room + 1) / 2);
	TakeLog(claim);
	TakeDue(claim, &due, claim->room);
}
