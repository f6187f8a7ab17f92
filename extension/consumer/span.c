/*
 * span.c: which messages of the log a span of a claim is.
 *
 * A span is told by its first message, but any of its messages may have been deleted since, the first one,
 * too.  So their number is no more than a bound, and where they end is found by what was true when they were
 * handed out: those of a stream that had a row end where the row says; of the others everything from the
 * first up to the claim's ceiling was taken.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "consumer/consumer.h"

/* ---- the stream of a span ------------------------------------------------------------------------ */

/* The row of a stream whose messages are in the claim since they were due; NULL: they came from the log. */
static StreamRow *
FindRow(const ConsumerWork *work, const Claim *claim, uint64 hash)
{
	for (int i = 0; i < work->nstreams; i++)
	{
		StreamRow *row = work->streams[i];

		if (row->claim == claim->number && row->hash == hash && row->position <= row->claimed_to)
			return row;
	}
	return NULL;
}

typedef struct StreamSearch
{
	ConsumerWork *work;
	const Claim *claim;
	const Span *span;
	MemoryContext context; /* of the name */
	text *stream;		   /* NULL: not found */
	int64 position;
} StreamSearch;

/* A stream of the same hash has waited for the claim, as its row says; it is not the one. */
static bool
IsOfStream(void *arg, const Message *message)
{
	StreamSearch *search = arg;
	MemoryContext reading;
	StreamRow *row;

	if (message->global_position > search->claim->ceiling)
		return false;
	if (StreamHash(message->stream_text) != search->span->hash)
		return true;
	reading = MemoryContextSwitchTo(search->context);
	row = StreamsFind(search->work, message->stream_text);
	if (!row || row->claim != search->claim->number || message->position <= row->claimed_to)
	{
		search->stream = cstring_to_text_with_len(message->stream.bytes, message->stream.len);
		search->position = message->position;
	}
	MemoryContextSwitchTo(reading);
	return search->stream == NULL;
}

/* Finds what is kept in order, and from where on; false: nothing of it is left. */
static bool
FindStart(ConsumerWork *work, const Claim *claim, const Span *span, text **key, int64 *position)
{
	StreamSearch search = {work, claim, span, CurrentMemoryContext};
	StreamRow *row;

	if (work->consumer->ordering == ORDERING_ALL)
	{
		*key = SourceKey(work->consumer, NULL);
		*position = span->global_position;
		return true;
	}
	if (SourceAt(work->tables, span->global_position, key, position))
		return true;
	/* The first one was deleted. */
	row = FindRow(work, claim, span->hash);
	if (row)
	{
		*key = row->stream;
		*position = row->position;
		return true;
	}
	(void)SourceRead(work->tables, work->consumer, span->global_position, SCAN_ROWS, IsOfStream, &search);
	*key = search.stream;
	*position = search.position;
	return search.stream != NULL;
}

/* ---- reading ------------------------------------------------------------------------------------- */

typedef struct Reading
{
	const Consumer *consumer;
	int64 last;
	MessageSink sink;
	void *arg;
} Reading;

static bool
HandOn(void *arg, const Message *message)
{
	Reading *reading = arg;

	return SourcePosition(reading->consumer, message) <= reading->last &&
		   reading->sink(reading->arg, message);
}

/*
 * Hands what is left of a span's messages to the sink, in order.  Returns what they are kept in order by;
 * NULL: there are none.
 */
text *
SpanRead(ConsumerWork *work, const Claim *claim, const Span *span, MessageSink sink, void *arg)
{
	Reading reading = {work->consumer, PG_INT64_MAX, sink, arg};
	StreamRow *row;
	text *key;
	int64 position;

	if (!FindStart(work, claim, span, &key, &position))
		return NULL;
	row = StreamsFind(work, key);
	if (row && row->claim == claim->number)
		reading.last = row->claimed_to;
	SourceReadStream(work->tables, work->consumer, key, position, claim->ceiling + 1, span->count, HandOn,
					 &reading);
	return key;
}

/* ---- one message --------------------------------------------------------------------------------- */

/* Where what is in the claim ends, if the stream has a row for it; without the consumer's lock. */
static int64
ClaimedTo(ConsumerTables *tables, const Consumer *consumer, text *key, int64 claim)
{
	ScanKeyData keys[2];
	ConsumerRow row;

	ScanKeyInit(&keys[0], STREAM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(consumer->id));
	ScanKeyEntryInitialize(&keys[1], 0, STREAM_STREAM, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
						   F_TEXTEQ, PointerGetDatum(key));
	if (RowFirst(tables, TABLE_STREAMS, tables->key[TABLE_STREAMS], keys, 2, ForwardScanDirection, &row) &&
		!row.isnull[STREAM_CLAIM - 1] && DatumGetInt64(row.value[STREAM_CLAIM - 1]) == claim)
		return DatumGetInt64(row.value[STREAM_CLAIMED_TO - 1]);
	return PG_INT64_MAX;
}

typedef struct MessageSearch
{
	text *stream;
	int64 position;
	int64 global_position; /* 0: not found */
} MessageSearch;

static bool
IsMessage(void *arg, const Message *message)
{
	MessageSearch *search = arg;

	if (message->position != search->position || !SliceEqual(message->stream, SliceOfText(search->stream)))
		return true;
	search->global_position = message->global_position;
	return false;
}

/* The message's global position if it is one of the span, whose hash is its stream's; else 0. */
int64
SpanFind(ConsumerTables *tables, const Consumer *consumer, const Claim *claim, const Span *span, text *stream,
		 int64 position)
{
	bool all = consumer->ordering == ORDERING_ALL;
	text *key = SourceKey(consumer, stream), *first;
	int64 first_position;
	MessageSearch search = {stream, position, 0};

	if (!all && SourceAt(tables, span->global_position, &first, &first_position) &&
		!SliceEqual(SliceOfText(first), SliceOfText(stream)))
		return 0;
	SourceReadStream(tables, consumer, key, all ? span->global_position : position, claim->ceiling + 1,
					 all ? span->count : 1, IsMessage, &search);
	if (search.global_position < span->global_position ||
		(all ? search.global_position : position) > ClaimedTo(tables, consumer, key, claim->number))
		return 0;
	return search.global_position;
}
