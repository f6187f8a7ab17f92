/*
 * fold.c: takes in what happened since the last call of next(): claims that were settled, leases that ran
 * out.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "consumer/consumer.h"

/* Begins the work on a consumer; the caller has its lock. */
ConsumerWork *
ConsumerBegin(ConsumerTables *tables, Consumer *consumer)
{
	ConsumerWork *work = palloc0(sizeof(ConsumerWork));

	work->tables = tables;
	work->consumer = consumer;
	work->now = GetCurrentTimestamp();
	ClaimNewest(tables, consumer->id, &work->newest);
	work->claims = ClaimsFrom(tables, consumer->id, work->newest.oldest, &work->nclaims);
	StreamsLoad(work);
	return work;
}

static bool
IsOpen(const ConsumerWork *work, int64 number)
{
	for (int i = 0; i < work->nclaims; i++)
		if (work->claims[i].number == number)
			return work->claims[i].open;
	return false;
}

/* ---- given back ---------------------------------------------------------------------------------- */

/* What a span's messages above a global position are found by. */
typedef struct SpanSearch
{
	const Consumer *consumer;
	int64 above;
	int64 position;
	int64 global_position;
	bool found;
} SpanSearch;

static bool
SearchSpan(void *arg, const Message *message)
{
	SpanSearch *search = arg;

	search->found = message->global_position > search->above;
	search->position = SourcePosition(search->consumer, message);
	search->global_position = message->global_position;
	return !search->found;
}

/*
 * Gives back the messages of a span that are above a global position: the stream's row stands at the first of
 * them.  Returns the row; NULL: there are none.
 */
static StreamRow *
GiveBack(ConsumerWork *work, const Claim *claim, const Span *span, int64 above)
{
	SpanSearch search = {.consumer = work->consumer, .above = above};
	text *key = SpanRead(work, claim, span, SearchSpan, &search);
	StreamRow *row;

	if (!search.found)
		return NULL;
	row = StreamsFindOrAdd(work, key);
	if (row->stored && row->claim == 0)
		return NULL; /* a failure has put it to where it goes on */
	row->changed = true;
	if (search.position != row->position)
		row->attempts = 0;
	row->position = search.position;
	row->global_position = search.global_position;
	row->claim = 0;
	return row;
}

/* ---- settled claims ------------------------------------------------------------------------------ */

static void
TakeFailure(ConsumerWork *work, const Failure *failure)
{
	StreamRow *row = StreamsFindOrAdd(work, SourceKey(work->consumer, failure->stream));
	int64 position = work->consumer->ordering == ORDERING_ALL ? failure->global_position : failure->position;

	if (row->position != position || !row->stored)
	{
		row->attempts = 0;
		row->first_failed = 0;
	}
	row->position = position;
	row->global_position = failure->global_position;
	row->suspect = 0;
	if (failure->kind == FAILURE_PARK)
	{
		row->attempts++;
		row->error = failure->error;
		row->first_failed = row->first_failed ? row->first_failed : work->now;
		StreamPark(work, row);
	}
	else
		StreamFailed(work, row, failure->delay_ms, failure->error);
}

static bool
HasFailed(const Content *content, const Consumer *consumer, uint64 hash)
{
	for (int i = 0; i < content->nfailures; i++)
		if (StreamHash(SourceKey(consumer, content->failures[i].stream)) == hash)
			return true;
	return false;
}

static void
TakeSettlement(ConsumerWork *work, const Claim *claim)
{
	const Content *content = &claim->content;

	for (int i = 0; i < content->nfailures; i++)
		TakeFailure(work, &content->failures[i]);
	if (content->settled_to == PG_INT64_MAX)
		return;
	for (int i = 0; i < content->nspans; i++)
		if (!HasFailed(content, work->consumer, content->spans[i].hash))
			(void)GiveBack(work, claim, &content->spans[i], content->settled_to);
}

/* Removes a claim in which nothing is left, but the newest one stays as an empty one. */
static void
RemoveClaim(ConsumerWork *work, Claim *claim)
{
	uint32 place = claim->content.place;

	if (work->look_only)
		return;
	if (claim->number != work->newest.number)
	{
		RowDelete(work->tables, TABLE_CLAIMS, &claim->tid);
		claim->gone = true;
	}
	else if (claim->open || claim->content.nspans > 0)
	{
		memset(&claim->content, 0, sizeof(claim->content));
		claim->content.place = place;
		claim->content.settled_to = PG_INT64_MAX;
		claim->open = false;
		claim->member = NULL;
		claim->request = NULL;
		ClaimUpdate(work->tables, work->consumer->id, claim);
		work->newest = *claim;
	}
	claim->open = false;
}

/* ---- leases -------------------------------------------------------------------------------------- */

/*
 * A lease ran out.  Of a message that was alone it is an attempt.  Of several any may be what the member died
 * of: they come again in smaller and smaller claims.
 *
 * When every member is gone at once it is an outage, and none of the messages is to blame, but only where its
 * stream is not suspected yet.  Two messages that kill two members at the same time would look like outages
 * for ever, and be given first for ever.
 */
static void
Expire(ConsumerWork *work, Claim *claim, bool outage)
{
	bool alone = ContentCount(&claim->content) == 1;

	for (int i = 0; i < claim->content.nspans; i++)
	{
		StreamRow *row = GiveBack(work, claim, &claim->content.spans[i], 0);

		if (!row)
			continue;
		if (outage && row->suspect == 0)
		{
			row->suspect = SUSPECT_OUTAGE;
			continue;
		}
		row->suspect = alone ? SUSPECT_ALONE : Min(Max(row->suspect, SUSPECT_OUTAGE) + 1, SUSPECT_ALONE);
		if (alone)
			StreamFailed(work, row, -1, cstring_to_text("the lease ran out"));
	}
	work->expired++;
}

static bool
HasRunOut(const ConsumerWork *work, const Claim *claim)
{
	return claim->open && ClaimEnd(claim) <= work->now;
}

static void
Reap(ConsumerWork *work)
{
	int open = 0, run_out = 0;

	for (int i = 0; i < work->nclaims; i++)
	{
		open += work->claims[i].open;
		run_out += HasRunOut(work, &work->claims[i]);
	}
	for (int i = 0; run_out > 0 && i < work->nclaims; i++)
	{
		Claim *claim = &work->claims[i];

		/*
		 * One that its member is settling in this moment, in a transaction of its own, stays that member's.
		 */
		if (!HasRunOut(work, claim) || !RowLock(work->tables, TABLE_CLAIMS, &claim->tid, false))
			continue;
		Expire(work, claim, open > 1 && run_out == open);
		RemoveClaim(work, claim);
	}
}

static void
TakeSettlements(ConsumerWork *work)
{
	for (int i = 0; i < work->nclaims; i++)
	{
		Claim *claim = &work->claims[i];

		if (claim->open)
			continue;
		TakeSettlement(work, claim);
		RemoveClaim(work, claim);
	}
}

/*
 * What a claim had that is not there any more was settled without a word, or nothing of it is left.  With
 * that, streams go on that have only waited for it.
 */
static void
LetGoOn(ConsumerWork *work)
{
	for (int i = 0; i < work->nstreams; i++)
	{
		StreamRow *row = work->streams[i];

		if (row->claim != 0 && !row->gone && !IsOpen(work, row->claim))
			StreamGoOn(work, row, row->claimed_to + 1);
	}
}

/*
 * Takes in what was settled, and the leases that ran out.  Afterwards the rows of streams, in memory, and the
 * claims are as they are now.
 */
void
ConsumerFold(ConsumerWork *work)
{
	TakeSettlements(work);
	Reap(work);
	LetGoOn(work);
}

/* Takes in, in memory only, what was settled. */
void
ConsumerLook(ConsumerWork *work)
{
	work->look_only = true;
	TakeSettlements(work);
	LetGoOn(work);
}

/* The lowest open claim; without one, what the caller says. */
int64
ConsumerOldest(const ConsumerWork *work, int64 otherwise)
{
	for (int i = 0; i < work->nclaims; i++)
		if (work->claims[i].open)
			return work->claims[i].number;
	return otherwise;
}
