/*
 * floor.c: up to where a consumer has dealt with everything, on which retention waits, and what becomes of a
 * consumer when a forced sweep does not.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "consumer/consumer.h"

/*
 * The global position up to which all is settled: below the lowest message that waits, is parked or is in an
 * open claim, else the ceiling.
 */
int64
ConsumerFloor(const ConsumerWork *work)
{
	int64 floor = Min(work->newest.ceiling, StreamsLowestParked(work->tables, work->consumer->id) - 1);

	for (int i = 0; i < work->nstreams; i++)
		if (!work->streams[i]->gone)
			floor = Min(floor, work->streams[i]->global_position - 1);
	for (int i = 0; i < work->nclaims; i++)
		if (work->claims[i].open && work->claims[i].content.nspans > 0)
			floor = Min(floor, work->claims[i].content.spans[0].global_position - 1);
	return floor;
}

/* The same of a consumer that nothing is known of yet. */
int64
ConsumerFloorOf(ConsumerTables *tables, Consumer *consumer)
{
	ConsumerWork *work = ConsumerBegin(tables, consumer);

	ConsumerLook(work);
	return ConsumerFloor(work);
}

/* Whether the namespace has ever had a consumer. */
bool
ConsumersExist(Store *store)
{
	return OidIsValid(get_relname_relid("consumers", RelationGetNamespace(store->heap)));
}

/* Whether the consumer reads messages of a category. */
bool
ConsumerReads(const Consumer *consumer, Slice category)
{
	const ReadRequest *source = &consumer->source;

	if (source->kind == READ_ALL || source->kind == READ_QUERY)
		return true;
	return SliceEqual(category, source->kind == READ_CATEGORY ? SliceOfText(source->name)
															  : NameCategory(SliceOfText(source->name)));
}

/* To commit: nothing of what a consumer of this category or stream (neither: all) reads is swept. */
void
ConsumerKeepSource(ConsumerTables *tables, text *category, text *stream)
{
	Slice name = {"", 0};

	if (category)
		name = SliceOfText(category);
	else if (stream)
		name = NameCategory(SliceOfText(stream));
	StoreKeepCategory(tables->store, name);
}

/* ---- after a forced sweep ------------------------------------------------------------------------ */

/* What waited or was parked in a stream goes on with what is left of it. */
static void
GoOn(ConsumerWork *work, text *stream, int64 before)
{
	StreamRow *row = StreamsFind(work, SourceKey(work->consumer, stream));

	if (!row)
		row = StreamsFindParked(work, SourceKey(work->consumer, stream));
	if (row && !row->gone && row->claim == 0 && row->position < before)
		StreamGoOn(work, row, before);
}

/*
 * Lets a consumer, whose lock is held, go on without messages that were removed before it had dealt with
 * them: the first of each stream, below a position.  Open claims stay; what is gone of them does not come
 * again.  The reason says so until the consumer is paused, resumed or stopped.
 */
void
ConsumerMoveOn(ConsumerTables *tables, Consumer *consumer, const ConsumerLoss *losses, int nlosses,
			   int64 last)
{
	ConsumerWork *work = ConsumerBegin(tables, consumer);

	ConsumerFold(work);
	for (int i = 0; i < nlosses; i++)
		GoOn(work, losses[i].stream,
			 consumer->ordering == ORDERING_ALL ? losses[i].last_global_position + 1 : losses[i].before);
	StreamsStore(work);
	ConsumerSetState(tables, consumer, consumer->state,
					 cstring_to_text(psprintf("a forced sweep removed messages that were not settled, up to "
											  "global position " INT64_FORMAT,
											  last)));
}
