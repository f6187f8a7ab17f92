/*
 * status.c: how a consumer is doing, by what is committed; takes no lock, and works on a standby.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "consumer/consumer.h"

/* Messages are counted up to here; what is more is so much. */
#define LAG_MAX 10000

typedef struct Lag
{
	int64 count;
	int64 below;	/* global positions end here; 0: no bound */
	Timestamp time; /* of the first */
	int64 first;	/* global position; 0: none */
} Lag;

static bool
CountMessage(void *arg, const Message *message)
{
	Lag *lag = arg;

	if (lag->below > 0 && message->global_position >= lag->below)
		return false;
	if (lag->first == 0 || message->global_position < lag->first)
	{
		lag->first = message->global_position;
		lag->time = message->time;
	}
	return ++lag->count < LAG_MAX;
}

/* What waits in streams, but for what of it is in a claim. */
static void
AddStreams(ConsumerWork *work, Lag *lag, ConsumerStatus *status)
{
	for (int i = 0; i < work->nstreams; i++)
	{
		const StreamRow *row = work->streams[i];
		int64 from = row->claim != 0 ? row->claimed_to + 1 : row->position;

		if (row->gone || row->parked_at != 0)
			continue;
		status->waiting += row->claim == 0;
		status->retrying += row->attempts > 0;
		if (lag->count < LAG_MAX)
			SourceReadStream(work->tables, work->consumer, row->stream, from, work->newest.ceiling + 1,
							 LAG_MAX - lag->count, CountMessage, lag);
	}
}

static void
AddClaims(ConsumerWork *work, ConsumerStatus *status)
{
	for (int i = 0; i < work->nclaims; i++)
	{
		const Claim *claim = &work->claims[i];

		if (!claim->open)
			continue;
		if (status->claims++ == 0)
			status->oldest_claim = claim->granted;
		status->in_flight += ContentCount(&claim->content);
	}
}

/*
 * Fills in how the consumer is doing.  Where an index was dropped that its query needs, its lag is what the
 * next rows have: it must be shown all the same, and others beside it.
 */
void
ConsumerGetStatus(ConsumerTables *tables, Consumer *consumer, ConsumerStatus *status)
{
	ConsumerWork *work = ConsumerBegin(tables, consumer);
	Lag lag = {.below = work->newest.ceiling + 1}, oldest = {0};
	int64 rows = 0;

	memset(status, 0, sizeof(*status));
	if (SourceLacksIndex(tables, consumer))
	{
		consumer->source.kind = READ_ALL;
		rows = SCAN_ROWS;
	}
	/* What was settled is taken in by the next call of next(), whenever that comes. */
	ConsumerLook(work);
	status->ceiling = work->newest.ceiling;
	status->floor = ConsumerFloor(work);
	status->parked = StreamsParked(work);
	AddStreams(work, &lag, status);
	AddClaims(work, status);
	lag.below = 0;
	if (lag.count < LAG_MAX)
		(void)SourceRead(tables, consumer, status->ceiling + 1, rows, CountMessage, &lag);
	status->lag = Min(lag.count + status->in_flight, LAG_MAX);
	(void)SourceRead(tables, consumer, status->floor + 1, 1, CountMessage, &oldest);
	status->lag_since = oldest.first > 0 ? oldest.time : lag.first > 0 ? lag.time : 0;
}
