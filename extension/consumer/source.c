/*
 * source.c: what a consumer reads: its messages in the log, by its filters.
 *
 * Where the order is of all streams, everything is one stream: its name is '', and its positions are the
 * global ones.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "consumer/consumer.h"
#include "core/query_scan.h"

/* What is kept in order: the stream, or ''.  The result may be the argument. */
text *
SourceKey(const Consumer *consumer, text *stream)
{
	return consumer->ordering == ORDERING_ALL ? cstring_to_text("") : stream;
}

/* A message's position in what is kept in order. */
int64
SourcePosition(const Consumer *consumer, const Message *message)
{
	return consumer->ordering == ORDERING_ALL ? message->global_position : message->position;
}

/*
 * Reads the log from a global position on, by a snapshot of this moment, and at most so many rows, whether
 * the filters let them pass or not.
 */
ReadOutcome
SourceRead(ConsumerTables *tables, const Consumer *consumer, int64 from, int64 rows, MessageSink sink,
		   void *arg)
{
	ReadRequest request = consumer->source;
	ReadOutcome outcome;

	request.max_rows = rows;
	if (request.kind == READ_STREAM)
		request.global_position = from;
	else
		request.position = from;
	PushActiveSnapshot(GetLatestSnapshot());
	outcome = ReadMessages(tables->store, &request, sink, arg);
	PopActiveSnapshot();
	return outcome;
}

/*
 * Reads one stream from a position on, by the consumer's filters; where the order is of all, the log.
 * `below`: global positions end there, without a look at what is behind; 0: no bound.
 */
void
SourceReadStream(ConsumerTables *tables, const Consumer *consumer, text *key, int64 position, int64 below,
				 int64 limit, MessageSink sink, void *arg)
{
	ReadRequest request = consumer->source;

	request.limit = limit;
	request.position = position;
	request.below = below;
	if (consumer->ordering != ORDERING_ALL)
	{
		request.kind = READ_STREAM;
		request.name = key;
	}
	else if (request.kind == READ_STREAM)
	{
		request.position = 0;
		request.global_position = position;
	}
	PushActiveSnapshot(GetLatestSnapshot());
	(void)ReadMessages(tables->store, &request, sink, arg);
	PopActiveSnapshot();
}

/* Whether the log can't be read, for want of the index that the consumer's query needs. */
bool
SourceLacksIndex(ConsumerTables *tables, const Consumer *consumer)
{
	const char *hint;

	return consumer->source.kind == READ_QUERY &&
		   QueryScanProblem(tables->store, consumer->source.query, &hint) != NULL;
}

typedef struct Found
{
	const Consumer *consumer;
	text *stream;
	int64 position;
	int64 global_position;
	bool found;
} Found;

static bool
TakeFirst(void *arg, const Message *message)
{
	Found *first = arg;

	first->found = true;
	first->position = first->consumer ? SourcePosition(first->consumer, message) : message->position;
	first->global_position = message->global_position;
	return false;
}

/*
 * Finds a stream's first message from a position on that is not above the ceiling; returns whether there is
 * one.
 */
bool
SourceNext(ConsumerTables *tables, const Consumer *consumer, text *key, int64 position, int64 ceiling,
		   int64 *found, int64 *global_position)
{
	Found first = {.consumer = consumer};

	SourceReadStream(tables, consumer, key, position, ceiling + 1, 1, TakeFirst, &first);
	*found = first.position;
	*global_position = first.global_position;
	return first.found;
}

static bool
TakeStream(void *arg, const Message *message)
{
	Found *first = arg;
	MemoryContext reading = MemoryContextSwitchTo(GetMemoryChunkContext(first->stream));

	first->found = true;
	first->position = message->position;
	first->global_position = message->global_position;
	first->stream = cstring_to_text_with_len(message->stream.bytes, message->stream.len);
	MemoryContextSwitchTo(reading);
	return false;
}

/* Finds the message at a global position, whatever the filters; returns whether it is there. */
bool
SourceAt(ConsumerTables *tables, int64 global_position, text **stream, int64 *position)
{
	ReadRequest request = {.kind = READ_ALL, .position = global_position, .limit = 1, .max_rows = 1};
	Found first = {.stream = cstring_to_text("")};

	PushActiveSnapshot(GetLatestSnapshot());
	(void)ReadMessages(tables->store, &request, TakeStream, &first);
	PopActiveSnapshot();
	*stream = first.stream;
	*position = first.position;
	return first.found && first.global_position == global_position;
}
