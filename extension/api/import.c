/*
 * import.c: import_batch(): messages with their own positions, ids and times, and what an export says of
 * those that were removed, in one frame (protocol.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "base/errors.h"
#include "api/frame.h"
#include "core/import.h"
#include "core/redacted.h"
#include "retention/remove.h"
#include "store/floors.h"

PG_FUNCTION_INFO_V1(millrace_import_batch);

extern Datum millrace_import_batch(PG_FUNCTION_ARGS);

/* The least that a record takes: id, four string lengths with a NUL for three, three integers. */
#define RECORD_LEAST (FRAME_ID_LEN + 4 * sizeof(uint32) + 3 + 3 * sizeof(int64))

/* The least that one takes with the byte before it: the last position. */
#define MARK_LEAST (1 + sizeof(int64))

/* So many records go together: the more there are, the more of them belong on one page of an index. */
#define PART_RECORDS (4 * IMPORT_BATCH_RECORDS)

/* What a common record takes, so that a part asks for memory once; for a part it is 8 MiB. */
#define RECORD_MEMORY 2048

/*
 * The largest position, and global position, that can be brought along: behind it there must be room for what
 * is appended.
 */
#define MAX_POSITION (INT64CONST(1) << 62)

/* Reads a record; returns what is wrong with its positions or time, or NULL. */
static char *
ReadRecord(FrameReader *reader, NewRow *row)
{
	memcpy(row->id.data, FrameBytes(reader, FRAME_ID_LEN), FRAME_ID_LEN);
	row->stream = FrameName(reader, "stream");
	row->type = FrameName(reader, "type");
	row->position = FrameInt64(reader);
	row->global_position = FrameInt64(reader);
	row->time = FrameInt64(reader);
	row->data = FrameObject(reader, "data", true);
	row->metadata = FrameObject(reader, "metadata", false);
	row->id_is_new = true; /* a duplicate that comes in between is a unique violation */
	if (row->position < 0)
		return psprintf("position " INT64_FORMAT " is negative", row->position);
	if (row->position > MAX_POSITION)
		return psprintf("position " INT64_FORMAT " is out of range", row->position);
	if (row->global_position < 1 || row->global_position > MAX_POSITION)
		return psprintf("global position " INT64_FORMAT " is out of range", row->global_position);
	if (!IS_VALID_TIMESTAMP(row->time))
		return psprintf("time " INT64_FORMAT " is out of range", row->time);
	return NULL;
}

/* What became of some records: all are stored, or none and one is at fault. */
typedef struct ImportOutcome
{
	int64 imported; /* messages */
	int64 last;		/* the highest of their global positions */
	int failed;		/* the record; -1: none */
	int sqlerrcode;
	char *message;
} ImportOutcome;

static ImportOutcome
Refused(int record, int sqlerrcode, char *message)
{
	return (ImportOutcome){.failed = record, .sqlerrcode = sqlerrcode, .message = message};
}

static Datum
ImportResult(FunctionCallInfo fcinfo, const ImportOutcome *outcome)
{
	bool refused = outcome->failed >= 0;
	Datum values[5];
	bool isnull[5] = {false, !refused, !refused, !refused, refused};

	values[0] = Int64GetDatum(outcome->imported);
	values[1] = Int32GetDatum(outcome->failed);
	values[2] = CStringGetTextDatum(unpack_sql_state(outcome->sqlerrcode));
	values[3] = CStringGetTextDatum(outcome->message ? outcome->message : "");
	values[4] = Int64GetDatum(outcome->last);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}

/* ---- what is no message ---------------------------------------------------------------------------- */

/* What a frame has. */
typedef struct ImportRecords
{
	NewRow *rows;
	int *row_numbers; /* which records they are */
	int nrows;
	FloorOfKey *floors;
	int nfloors;
	int64 last; /* 0: none */
} ImportRecords;

static char *
ReadFloor(FrameReader *reader, FloorOfKey *floor)
{
	int flags;

	memcpy(floor->key, FrameBytes(reader, IMPORT_FLOOR_KEY_LEN), IMPORT_FLOOR_KEY_LEN);
	floor->floor.version = FrameInt64(reader);
	flags = (unsigned char)*FrameBytes(reader, 1);
	floor->floor.closed = (flags & IMPORT_FLOOR_CLOSED) != 0;
	floor->floor.restored = (flags & IMPORT_FLOOR_RESTORED) != 0;
	if (floor->floor.version < 0 || floor->floor.version > MAX_POSITION)
		return psprintf("version " INT64_FORMAT " is out of range", floor->floor.version);
	return NULL;
}

static char *
ReadLast(FrameReader *reader, int64 *last)
{
	int64 position = FrameInt64(reader);

	*last = Max(*last, position);
	if (position < 1 || position > MAX_POSITION)
		return psprintf("global position " INT64_FORMAT " is out of range", position);
	return NULL;
}

/* Reads record i. */
static char *
ReadAny(FrameReader *reader, ImportRecords *records, int i)
{
	int kind = reader->version == IMPORT_VERSION ? IMPORT_MESSAGE : *FrameBytes(reader, 1);

	switch (kind)
	{
		case IMPORT_MESSAGE:
			records->row_numbers[records->nrows] = i;
			return ReadRecord(reader, &records->rows[records->nrows++]);
		case IMPORT_FLOOR:
			return ReadFloor(reader, &records->floors[records->nfloors++]);
		case IMPORT_LAST:
			return ReadLast(reader, &records->last);
		default:
			ereport(ERROR, (errcode(ERRCODE_MILLRACE_MALFORMED_BATCH),
							errmsg("malformed batch: there is no record of kind %d", kind)));
	}
}

static void
ImportFloors(Store *store, const ImportRecords *records)
{
	if (records->nfloors == 0 && records->last == 0)
		return;
	if (!StoreHasFloors(store))
		RemoveCreateFloors(RelationGetNamespace(store->heap));
	if (records->nfloors > 0)
		StoreBringFloors(store, records->floors, records->nfloors);
}

static void
ImportLast(Store *store, const ImportRecords *records)
{
	if (records->last == 0)
		return;
	StoreLift(store, records->last);
	StoreNoteLoss(store);
}

/* Who could not redact here brings no messages that say that they were redacted.  Errors: 42501. */
static void
CheckRedacted(Store *store, const NewRow *rows, int nrows)
{
	JsonbValue value;

	for (int i = 0; i < nrows; i++)
		if (HasRedactedMember(rows[i].metadata, &value) && !StoreMayRedact(RelationGetRelid(store->heap)))
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(store->heap));
}

/* Imports the next n records of a frame, of which the first is number `first`; all, or none. */
static ImportOutcome
ImportWhole(Store *store, FrameReader *reader, int first, int n)
{
	ImportRecords records = {0};
	ImportOutcome outcome = {.failed = -1};
	ImportVerdict verdict = {.failed = -1};
	ImportOrder order;

	records.rows = palloc0(sizeof(NewRow) * n);
	records.row_numbers = palloc(sizeof(int) * n);
	records.floors = palloc(sizeof(FloorOfKey) * n);
	for (int i = first; i < first + n; i++)
	{
		char *problem = ReadAny(reader, &records, i);

		if (problem)
			return Refused(i, ERRCODE_MILLRACE_POSITION_OUT_OF_RANGE, problem);
	}
	CheckRedacted(store, records.rows, records.nrows);
	if (records.nrows > 0)
		verdict = ImportJudge(store, records.rows, records.nrows, &order);
	if (verdict.failed >= 0)
		return Refused(records.row_numbers[verdict.failed], ERRCODE_MILLRACE_POSITION_EXISTS,
					   verdict.message);
	/* Floors first, wherever they stand: a message that comes back below one says so there. */
	ImportFloors(store, &records);
	if (records.nrows > 0)
		ImportStore(store, &order, records.nrows);
	ImportLast(store, &records);
	outcome.imported = records.nrows;
	for (int i = 0; i < records.nrows; i++)
		outcome.last = Max(outcome.last, records.rows[i].global_position);
	return outcome;
}

/* Goes over a record; returns the name of its stream, or NULL. */
static const char *
SkipRecord(FrameReader *reader)
{
	int kind = reader->version == IMPORT_VERSION ? IMPORT_MESSAGE : *FrameBytes(reader, 1);
	const char *stream;

	if (kind != IMPORT_MESSAGE)
	{
		(void)FrameBytes(reader,
						 kind == IMPORT_FLOOR ? IMPORT_FLOOR_KEY_LEN + sizeof(int64) + 1 : sizeof(int64));
		return NULL;
	}
	(void)FrameBytes(reader, FRAME_ID_LEN);
	stream = FrameRequiredString(reader);
	FrameSkipString(reader);
	(void)FrameBytes(reader, 3 * sizeof(int64));
	FrameSkipString(reader);
	FrameSkipString(reader);
	return stream;
}

/*
 * Locks the streams of all batches of a frame before its first: in any other order two imports, or one and
 * an append, could deadlock.  Errors: MR009 for too many.
 */
static void
LockStreams(Store *store, FrameReader reader, int nrecords)
{
	uint64 *hashes = palloc(sizeof(uint64) * nrecords);
	int n = 0;

	for (int i = 0; i < nrecords; i++)
	{
		const char *stream = SkipRecord(&reader);

		if (stream)
			hashes[n++] = StoreStreamHash(store, (Slice){stream, (int)strlen(stream)});
	}
	StoreSortAndLockStreams(hashes, n);
	pfree(hashes);
}

/*
 * Imports a part of a frame.  Where a record is refused nothing has been done, and the batches before its own
 * go once more.
 */
static ImportOutcome
ImportPart(Store *store, FrameReader *reader, int first, int n)
{
	const FrameReader start = *reader;
	ImportOutcome refused = {.failed = -1};

	for (;;)
	{
		ImportOutcome outcome = ImportWhole(store, reader, first, n);

		if (outcome.failed < 0)
		{
			refused.imported = outcome.imported;
			refused.last = outcome.last;
			return refused;
		}
		refused = outcome;
		n = (outcome.failed - first) / IMPORT_BATCH_RECORDS * IMPORT_BATCH_RECORDS;
		if (n == 0)
			return refused;
		*reader = start;
	}
}

/*
 * Imports a frame part by part, up to a record that is refused.  A part's memory is the next one's, so that
 * it stays in the processor's cache.
 */
static ImportOutcome
ImportFrame(Store *store, FrameReader *reader, int nrecords)
{
	Size memory = (Size)RECORD_MEMORY * Min(nrecords, PART_RECORDS);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "part of an import", memory,
												  ALLOCSET_DEFAULT_INITSIZE, ALLOCSET_DEFAULT_MAXSIZE);
	MemoryContext callers = MemoryContextSwitchTo(context);
	ImportOutcome all = {.failed = -1};

	if (nrecords > PART_RECORDS)
		LockStreams(store, *reader, nrecords);
	for (int done = 0; done < nrecords && all.failed < 0; done += PART_RECORDS)
	{
		ImportOutcome outcome = ImportPart(store, reader, done, Min(nrecords - done, PART_RECORDS));

		outcome.imported += all.imported;
		outcome.last = Max(outcome.last, all.last);
		all = outcome;
		if (all.failed < 0)
			MemoryContextReset(context);
	}
	MemoryContextSwitchTo(callers);
	return all;
}

/*
 * import_batch(namespace, batch) -> (imported, failed_record, sqlstate, message, last_global_position)
 *
 * Where a record is at fault the batches before its own are stored.
 */
Datum
millrace_import_batch(PG_FUNCTION_ARGS)
{
	ImportOutcome outcome;
	FrameReader reader;
	int nrecords;
	Store *store;

	CheckNotNull(PG_ARGISNULL(1), "batch");
	reader = FrameOpen(PG_GETARG_BYTEA_PP(1), IMPORT_VERSION_MARKS);
	nrecords = FrameCount(&reader, reader.version == IMPORT_VERSION ? RECORD_LEAST : MARK_LEAST);
	store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_APPEND);
	outcome = ImportFrame(store, &reader, nrecords);
	StoreClose(store);
	if (outcome.failed < 0)
		FrameClose(&reader);
	return ImportResult(fcinfo, &outcome);
}
