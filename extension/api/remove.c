/*
 * remove.c: truncate_stream(), remove_stream(): a stream loses its oldest messages, or goes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "api/api.h"
#include "base/errors.h"
#include "core/read.h"
#include "core/version.h"
#include "retention/remove.h"

PG_FUNCTION_INFO_V1(millrace_truncate_stream);
PG_FUNCTION_INFO_V1(millrace_remove_stream);
PG_FUNCTION_INFO_V1(millrace_remove_messages);

extern Datum millrace_truncate_stream(PG_FUNCTION_ARGS);
extern Datum millrace_remove_stream(PG_FUNCTION_ARGS);
extern Datum millrace_remove_messages(PG_FUNCTION_ARGS);

static int64
ArgMaxRows(FunctionCallInfo fcinfo, int arg)
{
	int64 max_rows;

	CheckNotNull(PG_ARGISNULL(arg), "max_rows");
	max_rows = PG_GETARG_INT64(arg);
	if (max_rows < 1)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("max_rows " INT64_FORMAT " is out of range", max_rows),
						errhint("It is at least 1.")));
	return max_rows;
}

static Datum
Row(FunctionCallInfo fcinfo, Datum *values)
{
	bool isnull[3] = {false};

	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}

/*
 * truncate_stream(stream, before, max_rows, namespace) -> (removed, first_position, more).  The first
 * position is that of the first message that is left, or that the next one will have.
 */
Datum
millrace_truncate_stream(PG_FUNCTION_ARGS)
{
	RemoveStream stream = {.stream = ArgName(fcinfo, 0, "stream")};
	RemoveOptions options = {.remember_ids = true, .record = true};
	Store *store;
	Datum values[3];

	CheckNotNull(PG_ARGISNULL(1), "before");
	stream.max_rows = ArgMaxRows(fcinfo, 2);
	stream.before = PG_GETARG_INT64(1);
	if (stream.before < 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("before " INT64_FORMAT " is out of range", stream.before),
						errhint("It is the position of the first message that stays.")));
	store = RemoveOpen(ArgNamespaceOr(fcinfo, 3, SelectedNamespace()));
	StoreLockStream(StoreStreamHash(store, SliceOfText(stream.stream)));
	RemoveRows(store, &stream, 1, options);
	if (stream.first < 0)
		stream.first = PositionBehind(VersionOf(store, stream.stream).version);
	StoreClose(store);
	values[0] = Int64GetDatum(stream.removed);
	values[1] = Int64GetDatum(stream.first);
	values[2] = BoolGetDatum(stream.more);
	return Row(fcinfo, values);
}

/* remove_stream(stream, expected_version, forget, max_rows, namespace) -> (removed, more) */
Datum
millrace_remove_stream(PG_FUNCTION_ARGS)
{
	RemoveStream stream = {.stream = ArgName(fcinfo, 0, "stream"), .before = PG_INT64_MAX};
	RemoveOptions options = {.remember_ids = true, .record = true};
	int64 expected = ArgInt64(fcinfo, 1, EXPECT_ANY);
	int64 version;
	Store *store;
	Datum values[3];

	if (!PG_ARGISNULL(1))
		CheckExpectedVersion(expected);
	stream.max_rows = ArgMaxRows(fcinfo, 3);
	CheckNotNull(PG_ARGISNULL(2), "forget");
	options.forget = PG_GETARG_BOOL(2);
	store = RemoveOpen(ArgNamespaceOr(fcinfo, 4, SelectedNamespace()));
	StoreLockStream(StoreStreamHash(store, SliceOfText(stream.stream)));
	version = VersionOf(store, stream.stream).version;
	if (expected != EXPECT_ANY && expected != version)
		VersionRaiseConflict(stream.stream, expected, version);
	RemoveRows(store, &stream, 1, options);
	StoreClose(store);
	values[0] = Int64GetDatum(stream.removed);
	values[1] = BoolGetDatum(stream.more);
	return Row(fcinfo, values);
}

/* remove_messages(ids, forget, namespace) -> how many: exactly these, which are the first of their streams */
Datum
millrace_remove_messages(PG_FUNCTION_ARGS)
{
	RemoveOptions options = {.record = true};
	Store *store;
	Datum *elements;
	pg_uuid_t *ids;
	bool *isnull;
	int nids;
	int64 removed;

	CheckNotNull(PG_ARGISNULL(0), "ids");
	CheckNotNull(PG_ARGISNULL(1), "forget");
	options.forget = PG_GETARG_BOOL(1);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &elements, &isnull,
					  &nids);
	ids = palloc(sizeof(pg_uuid_t) * Max(nids, 1));
	for (int i = 0; i < nids; i++)
	{
		CheckNotNull(isnull[i], psprintf("ids[%d]", i + 1));
		ids[i] = *DatumGetUUIDP(elements[i]);
	}
	store = RemoveOpen(ArgNamespaceOr(fcinfo, 2, SelectedNamespace()));
	removed = RemoveIds(store, ids, nids, options);
	StoreClose(store);
	PG_RETURN_INT64(removed);
}
