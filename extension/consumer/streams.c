/*
 * streams.c: the rows of streams that are retried, parked or have messages that were passed over.
 *
 * Those that are not parked are few, at most MAX_WAITING_STREAMS but for those that come back together, and a
 * call of next() has them all in memory.  A parked one is looked for by its name when one of its messages is
 * met.  What was changed is written once, at the end of the call.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "common/pg_prng.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "consumer/consumer.h"

/* In milliseconds: doubling from the first to the last, and give or take a fifth of it. */
#define BACKOFF_FIRST 1000
#define BACKOFF_LAST 60000
#define BACKOFF_SPREAD 0.2

typedef struct NameEntry
{
	uint64 hash; /* key */
	StreamRow *first;
} NameEntry;

/* FNV-1a, 64 bits (Fowler, Noll, Vo): the same on every machine, as it is stored.  0 stands for no stream. */
uint64
StreamHash(text *stream)
{
	const unsigned char *bytes = (const unsigned char *)VARDATA_ANY(stream);
	uint64 hash = UINT64CONST(0xcbf29ce484222325);

	if (VARSIZE_ANY_EXHDR(stream) == 0)
		return 0;
	for (size_t i = 0; i < VARSIZE_ANY_EXHDR(stream); i++)
		hash = (hash ^ bytes[i]) * UINT64CONST(0x100000001b3);
	return Max(hash, 1);
}

/* ---- rows ---------------------------------------------------------------------------------------- */

static int64
Int64Or(const ConsumerRow *row, int column, int64 otherwise)
{
	return row->isnull[column - 1] ? otherwise : DatumGetInt64(row->value[column - 1]);
}

static StreamRow *
FromRow(const ConsumerRow *row)
{
	StreamRow *stream = palloc0(sizeof(StreamRow));

	stream->stream = DatumGetTextPP(row->value[STREAM_STREAM - 1]);
	stream->hash = StreamHash(stream->stream);
	stream->position = DatumGetInt64(row->value[STREAM_POSITION - 1]);
	stream->global_position = DatumGetInt64(row->value[STREAM_GLOBAL_POSITION - 1]);
	stream->claim = Int64Or(row, STREAM_CLAIM, 0);
	stream->claimed_to = Int64Or(row, STREAM_CLAIMED_TO, 0);
	stream->attempts = DatumGetInt32(row->value[STREAM_ATTEMPTS - 1]);
	stream->suspect = DatumGetInt32(row->value[STREAM_SUSPECT - 1]);
	stream->retry_at = Int64Or(row, STREAM_RETRY_AT, 0);
	stream->first_failed = Int64Or(row, STREAM_FIRST_FAILED, 0);
	stream->parked_at = Int64Or(row, STREAM_PARKED_AT, 0);
	if (!row->isnull[STREAM_ERROR - 1])
		stream->error = DatumGetTextPP(row->value[STREAM_ERROR - 1]);
	stream->stored = true;
	stream->tid = row->tid;
	return stream;
}

static void
SetOr(ConsumerRow *row, int column, int64 value)
{
	row->value[column - 1] = Int64GetDatum(value);
	row->isnull[column - 1] = value == 0;
}

static void
ToRow(const StreamRow *stream, int64 consumer, ConsumerRow *row)
{
	memset(row->isnull, false, sizeof(row->isnull));
	row->value[STREAM_CONSUMER - 1] = Int64GetDatum(consumer);
	row->value[STREAM_STREAM - 1] = PointerGetDatum(stream->stream);
	row->value[STREAM_POSITION - 1] = Int64GetDatum(stream->position);
	row->value[STREAM_GLOBAL_POSITION - 1] = Int64GetDatum(stream->global_position);
	SetOr(row, STREAM_CLAIM, stream->claim);
	row->value[STREAM_CLAIMED_TO - 1] = Int64GetDatum(stream->claimed_to);
	row->isnull[STREAM_CLAIMED_TO - 1] = stream->claim == 0;
	row->value[STREAM_ATTEMPTS - 1] = Int32GetDatum(stream->attempts);
	row->value[STREAM_SUSPECT - 1] = Int32GetDatum(stream->suspect);
	SetOr(row, STREAM_RETRY_AT, stream->retry_at);
	SetOr(row, STREAM_FIRST_FAILED, stream->first_failed);
	SetOr(row, STREAM_PARKED_AT, stream->parked_at);
	row->value[STREAM_ERROR - 1] = PointerGetDatum(stream->error);
	row->isnull[STREAM_ERROR - 1] = stream->error == NULL;
	row->tid = stream->tid;
}

/* ---- in memory ----------------------------------------------------------------------------------- */

static void
Add(ConsumerWork *work, StreamRow *row)
{
	if (work->nstreams == work->streams_size)
	{
		work->streams_size *= 2;
		work->streams = repalloc(work->streams, sizeof(StreamRow *) * work->streams_size);
	}
	work->streams[work->nstreams++] = row;
	if (work->by_name)
	{
		bool found;
		NameEntry *entry = hash_search(work->by_name, &row->hash, HASH_ENTER, &found);

		row->same_hash = found ? entry->first : NULL;
		entry->first = row;
	}
}

static bool
AddRow(void *arg, const ConsumerRow *row)
{
	Add(arg, FromRow(row));
	return true;
}

/* It lives as long as the rows, though the caller may be reading, in a context that lasts for one message. */
static void
MakeTable(ConsumerWork *work)
{
	HASHCTL keys = {.keysize = sizeof(uint64),
					.entrysize = sizeof(NameEntry),
					.hcxt = GetMemoryChunkContext(work->streams)};
	StreamRow **rows = work->streams;
	int nrows = work->nstreams;

	work->by_name =
		hash_create("millrace streams of a consumer", 256, &keys, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	work->nstreams = 0;
	for (int i = 0; i < nrows; i++)
		Add(work, rows[i]);
}

/* Ends at the first row that is parked. */
static bool
AddUnparked(void *arg, const ConsumerRow *row)
{
	ConsumerWork *work = arg;

	work->any_parked = !row->isnull[STREAM_PARKED_AT - 1];
	if (!work->any_parked)
		Add(work, FromRow(row));
	return !work->any_parked;
}

/*
 * Reads the rows of streams that are not parked, and sees whether any is.  Those that are parked come first
 * by the index; mostly there are none, and all is read in one go.
 */
void
StreamsLoad(ConsumerWork *work)
{
	ScanKeyData keys[2];

	work->streams_size = 16;
	work->streams = palloc(sizeof(StreamRow *) * work->streams_size);
	work->nstreams = 0;
	work->nparked = -1;
	ScanKeyInit(&keys[0], STREAM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(work->consumer->id));
	RowEach(work->tables, TABLE_STREAMS, work->tables->parked, keys, 1, AddUnparked, work);
	if (!work->any_parked)
		return;
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, STREAM_PARKED_AT, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum)0);
	RowEach(work->tables, TABLE_STREAMS, work->tables->parked, keys, 2, AddRow, work);
}

/* Finds the row of a stream that is not parked, or is no longer; NULL: it has none. */
StreamRow *
StreamsFind(ConsumerWork *work, text *stream)
{
	uint64 hash;
	NameEntry *entry;

	if (work->nstreams == 0)
		return NULL;
	if (!work->by_name)
		MakeTable(work);
	hash = StreamHash(stream);
	entry = hash_search(work->by_name, &hash, HASH_FIND, NULL);
	for (StreamRow *row = entry ? entry->first : NULL; row; row = row->same_hash)
		if (SliceEqual(SliceOfText(row->stream), SliceOfText(stream)))
			return row->gone ? NULL : row;
	return NULL;
}

static bool
CountRow(void *arg, const ConsumerRow *row)
{
	ConsumerWork *work = arg;

	return ++work->nparked <= work->consumer->max_parked;
}

/* How many streams are parked; counts no further than to one more than may be. */
int
StreamsParked(ConsumerWork *work)
{
	ScanKeyData keys[2];

	if (work->nparked >= 0)
		return work->nparked;
	work->nparked = 0;
	ScanKeyInit(&keys[0], STREAM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(work->consumer->id));
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNOTNULL, STREAM_PARKED_AT, InvalidStrategy,
						   InvalidOid, InvalidOid, InvalidOid, (Datum)0);
	RowEach(work->tables, TABLE_STREAMS, work->tables->parked, keys, 2, CountRow, work);
	return work->nparked;
}

/* Whether any is, which needs no count. */
bool
StreamsAreParked(const ConsumerWork *work)
{
	return work->nparked >= 0 ? work->nparked > 0 : work->any_parked;
}

/* Finds the row of a parked stream, and keeps it in memory, too; NULL: it is not parked. */
StreamRow *
StreamsFindParked(ConsumerWork *work, text *stream)
{
	ConsumerTables *tables = work->tables;
	ScanKeyData keys[2];
	ConsumerRow row;

	ScanKeyInit(&keys[0], STREAM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(work->consumer->id));
	ScanKeyEntryInitialize(&keys[1], 0, STREAM_STREAM, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID,
						   F_TEXTEQ, PointerGetDatum(stream));
	if (!RowFirst(tables, TABLE_STREAMS, tables->key[TABLE_STREAMS], keys, 2, ForwardScanDirection, &row) ||
		row.isnull[STREAM_PARKED_AT - 1])
		return NULL;
	Add(work, FromRow(&row));
	return work->streams[work->nstreams - 1];
}

/* The stream's row; else a new one, whose position the caller sets. */
StreamRow *
StreamsFindOrAdd(ConsumerWork *work, text *stream)
{
	StreamRow *row = StreamsFind(work, stream);

	if (row)
		return row;
	row = palloc0(sizeof(StreamRow));
	row->stream = stream;
	row->hash = StreamHash(stream);
	row->changed = true;
	Add(work, row);
	return row;
}

static bool
TakeLowest(void *arg, const ConsumerRow *row)
{
	int64 *lowest = arg;

	*lowest = Min(*lowest, DatumGetInt64(row->value[STREAM_GLOBAL_POSITION - 1]));
	return true;
}

/* The lowest global position at which a stream is parked; PG_INT64_MAX: none is. */
int64
StreamsLowestParked(ConsumerTables *tables, int64 consumer)
{
	int64 lowest = PG_INT64_MAX;
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], STREAM_CONSUMER, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(consumer));
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNOTNULL, STREAM_PARKED_AT, InvalidStrategy,
						   InvalidOid, InvalidOid, InvalidOid, (Datum)0);
	RowEach(tables, TABLE_STREAMS, tables->parked, keys, 2, TakeLowest, &lowest);
	return lowest;
}

/* How many rows are not parked. */
int
StreamsWaiting(const ConsumerWork *work)
{
	int waiting = 0;

	for (int i = 0; i < work->nstreams; i++)
		waiting += !work->streams[i]->gone && work->streams[i]->parked_at == 0;
	return waiting;
}

/* Drops the rows that were made for messages which the scan passed over: the ceiling stays below them. */
void
StreamsForget(ConsumerWork *work)
{
	for (int i = 0; i < work->nstreams; i++)
		if (work->streams[i]->passed)
			work->streams[i]->gone = true;
}

/* Writes what was changed. */
void
StreamsStore(ConsumerWork *work)
{
	for (int i = 0; i < work->nstreams; i++)
	{
		StreamRow *stream = work->streams[i];
		ConsumerRow row;

		if (!stream->changed)
			continue;
		stream->changed = false;
		ToRow(stream, work->consumer->id, &row);
		if (stream->gone && stream->stored)
			RowDelete(work->tables, TABLE_STREAMS, &stream->tid);
		else if (!stream->gone && stream->stored)
			RowUpdate(work->tables, TABLE_STREAMS, &row);
		else if (!stream->gone)
			RowInsert(work->tables, TABLE_STREAMS, &row);
		stream->stored = !stream->gone;
		stream->tid = row.tid;
	}
}

/* ---- what happens to a stream -------------------------------------------------------------------- */

/* Everything before the position is settled: the row stands for what is left up to the ceiling, or goes. */
void
StreamGoOn(ConsumerWork *work, StreamRow *row, int64 position)
{
	int64 found, global_position;

	row->changed = true;
	row->claim = 0;
	row->attempts = 0;
	row->suspect = 0;
	row->retry_at = row->first_failed = row->parked_at = 0;
	row->error = NULL;
	row->gone = !SourceNext(work->tables, work->consumer, row->stream, position, work->newest.ceiling, &found,
							&global_position);
	if (row->gone)
		return;
	row->position = found;
	row->global_position = global_position;
}

static int64
BackOff(int attempts)
{
	int64 ms = BACKOFF_LAST;

	if (attempts <= 6)
		ms = Min((int64)BACKOFF_FIRST << (attempts - 1), BACKOFF_LAST);
	return (int64)((double)ms *
				   (1 - BACKOFF_SPREAD + 2 * BACKOFF_SPREAD * pg_prng_double(&pg_global_prng_state)));
}

/* Keeps in mind what an operator can't find in the log: a message that was given up. */
static void
RecordSkipped(ConsumerWork *work, const StreamRow *stream)
{
	ConsumerRow row = {0}, before;
	ScanKeyData keys[2];

	row.value[SKIPPED_CONSUMER - 1] = Int64GetDatum(work->consumer->id);
	row.value[SKIPPED_GLOBAL_POSITION - 1] = Int64GetDatum(stream->global_position);
	row.value[SKIPPED_STREAM - 1] = PointerGetDatum(stream->stream);
	row.value[SKIPPED_POSITION - 1] = Int64GetDatum(stream->position);
	row.value[SKIPPED_ATTEMPTS - 1] = Int32GetDatum(stream->attempts);
	row.value[SKIPPED_AT - 1] = TimestampTzGetDatum(work->now);
	row.value[SKIPPED_ERROR - 1] = PointerGetDatum(stream->error);
	row.isnull[SKIPPED_ERROR - 1] = stream->error == NULL;
	/* After a reset it may be given up a second time. */
	ScanKeyInit(&keys[0], SKIPPED_CONSUMER, BTEqualStrategyNumber, F_INT8EQ, row.value[SKIPPED_CONSUMER - 1]);
	ScanKeyInit(&keys[1], SKIPPED_GLOBAL_POSITION, BTEqualStrategyNumber, F_INT8EQ,
				row.value[SKIPPED_GLOBAL_POSITION - 1]);
	if (RowFirst(work->tables, TABLE_SKIPPED, work->tables->key[TABLE_SKIPPED], keys, 2, ForwardScanDirection,
				 &before))
		RowDelete(work->tables, TABLE_SKIPPED, &before.tid);
	RowInsert(work->tables, TABLE_SKIPPED, &row);
}

/* Goes past the row's message without its being dealt with; it is recorded. */
void
StreamSkip(ConsumerWork *work, StreamRow *row)
{
	RecordSkipped(work, row);
	StreamGoOn(work, row, row->position + 1);
}

static void
Stop(ConsumerWork *work, char *reason)
{
	if (!work->look_only)
		ConsumerSetState(work->tables, work->consumer, STATE_STOPPED, cstring_to_text(reason));
}

/* Takes the stream out of the consumer's way until unpark() or skip(). */
void
StreamPark(ConsumerWork *work, StreamRow *row)
{
	row->changed = true;
	row->claim = 0;
	row->suspect = 0;
	row->retry_at = 0;
	row->parked_at = work->now;
	work->nparked = StreamsParked(work) + 1;
	if (work->nparked >= work->consumer->max_parked && work->consumer->state == STATE_RUNNING)
		Stop(work, psprintf("%d streams are parked", work->nparked));
}

static void
Poisoned(ConsumerWork *work, StreamRow *row)
{
	switch (work->consumer->on_poison)
	{
		case POISON_PARK:
			StreamPark(work, row);
			break;
		case POISON_SKIP:
			StreamSkip(work, row);
			break;
		case POISON_STOP:
			Stop(work, psprintf("message " INT64_FORMAT " of stream \"%s\" failed %d times", row->position,
								text_to_cstring(row->stream), row->attempts));
	}
}

/*
 * The message at the row's position was not dealt with, once more.  delay_ms: when it comes again; -1: by the
 * number of attempts.  After the last attempt, and not sooner than PARK_AFTER_MS after the first, it is
 * poison.
 */
void
StreamFailed(ConsumerWork *work, StreamRow *row, int64 delay_ms, text *error)
{
	row->changed = true;
	row->claim = 0;
	row->attempts++;
	row->error = error;
	if (row->first_failed == 0)
		row->first_failed = work->now;
	row->retry_at = TimestampTzPlusMilliseconds(work->now, delay_ms >= 0 ? delay_ms : BackOff(row->attempts));
	if (!work->look_only && row->attempts >= work->consumer->max_attempts &&
		work->now >= TimestampTzPlusMilliseconds(row->first_failed, PARK_AFTER_MS))
		Poisoned(work, row);
}
