/*
 * import.c: import_batch(): messages with their own positions, ids and times, in one frame (protocol.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "base/errors.h"
#include "api/frame.h"
#include "core/import.h"

PG_FUNCTION_INFO_V1(millrace_import_batch);

extern Datum millrace_import_batch(PG_FUNCTION_ARGS);

/* The least that a record takes: id, four string lengths with a NUL for three, three integers. */
#define RECORD_LEAST (FRAME_ID_LEN + 4 * sizeof(uint32) + 3 + 3 * sizeof(int64))

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

static Datum
ImportResult(FunctionCallInfo fcinfo, int64 imported, int failed, int sqlerrcode, const char *message,
			 int64 last)
{
	Datum values[5];
	bool isnull[5] = {false, failed < 0, failed < 0, failed < 0, failed >= 0};

	values[0] = Int64GetDatum(imported);
	values[1] = Int32GetDatum(failed);
	values[2] = CStringGetTextDatum(unpack_sql_state(sqlerrcode));
	values[3] = CStringGetTextDatum(message ? message : "");
	values[4] = Int64GetDatum(last);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}

/* import_batch(namespace, batch) -> (imported, failed_record, sqlstate, message, last_global_position) */
Datum
millrace_import_batch(PG_FUNCTION_ARGS)
{
	FrameReader reader;
	int nrows;
	NewRow *rows;
	ImportVerdict verdict;
	Store *store;
	int64 last = 0;

	CheckNotNull(PG_ARGISNULL(1), "batch");
	reader = FrameOpen(PG_GETARG_BYTEA_PP(1), IMPORT_VERSION);
	nrows = FrameCount(&reader, RECORD_LEAST);
	rows = palloc0(sizeof(NewRow) * nrows);
	for (int i = 0; i < nrows; i++)
	{
		char *problem = ReadRecord(&reader, &rows[i]);

		if (problem)
			return ImportResult(fcinfo, 0, i, ERRCODE_MILLRACE_POSITION_OUT_OF_RANGE, problem, 0);
		last = Max(last, rows[i].global_position);
	}
	FrameClose(&reader);
	store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_APPEND);
	verdict = ImportRows(store, rows, nrows);
	StoreClose(store);
	if (verdict.failed >= 0)
		return ImportResult(fcinfo, 0, verdict.failed, ERRCODE_MILLRACE_POSITION_EXISTS, verdict.message, 0);
	return ImportResult(fcinfo, nrows, -1, 0, NULL, last);
}
