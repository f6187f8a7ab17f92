/*
 * retention.c: steps of sweeps, strict reads, and what a purge leaves, for SQL.  sweep() and set_retention(),
 * which are SQL, are documented in README.md.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "retention/removals.h"
#include "retention/remove.h"
#include "retention/sweep.h"

PG_FUNCTION_INFO_V1(millrace_lock_sweep);
PG_FUNCTION_INFO_V1(millrace_sweep_category);
PG_FUNCTION_INFO_V1(millrace_check_removals);
PG_FUNCTION_INFO_V1(millrace_dead_rows);
PG_FUNCTION_INFO_V1(millrace_await_disk);

extern Datum millrace_lock_sweep(PG_FUNCTION_ARGS);
extern Datum millrace_sweep_category(PG_FUNCTION_ARGS);
extern Datum millrace_check_removals(PG_FUNCTION_ARGS);
extern Datum millrace_dead_rows(PG_FUNCTION_ARGS);
extern Datum millrace_await_disk(PG_FUNCTION_ARGS);

/*
 * lock_sweep(namespace, wait) -> whether this transaction, and no other one, may sweep the namespace.  As for
 * removals the caller must have DELETE on the table, so that no other role holds up sweeps.
 */
Datum
millrace_lock_sweep(PG_FUNCTION_ARGS)
{
	Store *store = RemoveOpen(ArgNamespace(fcinfo, 0));
	bool locked = StoreLockSweep(store, PG_GETARG_BOOL(1));

	StoreClose(store);
	PG_RETURN_BOOL(locked);
}

/* ---- a step -------------------------------------------------------------------------------------- */

/* An array of text or bytea. */
static Datum
ArrayOf(Oid type, void *elements, int nelements)
{
	Datum *values = palloc(sizeof(Datum) * Max(nelements, 1));

	for (int i = 0; i < nelements; i++)
		values[i] = PointerGetDatum(((struct varlena **)elements)[i]);
	return PointerGetDatum(construct_array(values, nelements, type, -1, false, TYPALIGN_INT));
}

/* (rows, removed, streams, next_position, left_position, more, from_position, to_position, held_by,
 * held_position, moved) */
#define STEP_COLUMNS 11

static Datum
StepRow(FunctionCallInfo fcinfo, const SweepOutcome *outcome)
{
	TupleDesc desc = BlessTupleDesc(ResultRowType(fcinfo));
	Datum values[STEP_COLUMNS];
	bool isnull[STEP_COLUMNS] = {false};

	values[0] = Int64GetDatum(outcome->rows);
	values[1] = Int64GetDatum(outcome->removed);
	values[2] = ArrayOf(BYTEAOID, outcome->streams, outcome->nstreams);
	values[3] = Int64GetDatum(outcome->next);
	values[4] = Int64GetDatum(outcome->left);
	isnull[4] = outcome->left == PG_INT64_MAX;
	values[5] = BoolGetDatum(outcome->more);
	values[6] = Int64GetDatum(outcome->from);
	values[7] = Int64GetDatum(outcome->to);
	isnull[6] = isnull[7] = outcome->removed == 0;
	values[8] = PointerGetDatum(outcome->held_by);
	values[9] = Int64GetDatum(outcome->held_position);
	isnull[8] = isnull[9] = outcome->held_by == NULL;
	values[10] = ArrayOf(TEXTOID, outcome->moved, outcome->nmoved);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
}

static void
TakeNames(ArrayType *array, SweepRequest *request)
{
	Datum *names;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &request->nhold);
	request->hold = palloc(sizeof(text *) * Max(request->nhold, 1));
	for (int i = 0; i < request->nhold; i++)
		request->hold[i] = DatumGetTextPP(names[i]);
}

/*
 * sweep_category(namespace, category, position, young, keep, forget, forced, hold, max_rows, max_streams): by
 * age where `young` is given, else by count.  sweep_step() has looked at the values and has the lock.
 */
Datum
millrace_sweep_category(PG_FUNCTION_ARGS)
{
	SweepRequest request = {.rule = PG_ARGISNULL(3) ? SWEEP_COUNT : SWEEP_AGE};
	SweepOutcome outcome;

	for (int arg = 0; arg < PG_NARGS(); arg++)
		CheckNotNull(PG_ARGISNULL(arg) && arg != 3 && (arg != 4 || request.rule == SWEEP_COUNT),
					 "an argument");
	request.category = PG_GETARG_TEXT_PP(1);
	request.position = PG_GETARG_INT64(2);
	request.forget = PG_GETARG_BOOL(5);
	request.forced = PG_GETARG_BOOL(6);
	request.max_rows = Max(PG_GETARG_INT64(8), 1);
	request.max_streams = Max(Min(PG_GETARG_INT32(9), MAX_SWEPT_STREAMS), 1);
	if (request.rule == SWEEP_AGE)
		request.young = (Timestamp)PG_GETARG_TIMESTAMPTZ(3);
	else
		request.keep = Max(PG_GETARG_INT64(4), 1);
	TakeNames(PG_GETARG_ARRAYTYPE_P(7), &request);
	SweepCategory(text_to_cstring(PG_GETARG_TEXT_PP(0)), &request, &outcome);
	return StepRow(fcinfo, &outcome);
}

/* ---- strict reads -------------------------------------------------------------------------------- */

/*
 * check_removals(stream, category, position, removals_seen, namespace, global_position): of a stream, a
 * category, which may be '' for all as over HTTP, or with neither of all; MR022
 */
Datum
millrace_check_removals(PG_FUNCTION_ARGS)
{
	const char *namespace_name = ArgNamespaceOr(fcinfo, 4, SelectedNamespace());
	text *stream = ArgTextOrNull(fcinfo, 0), *category = ArgTextOrNull(fcinfo, 1);
	int64 seen = ArgInt64(fcinfo, 3, -1);
	Store *store = StoreOpen(namespace_name, STORE_READ);

	if (stream)
		RemovalsCheckStream(store, stream, ArgInt64(fcinfo, 2, 0), ArgInt64(fcinfo, 5, 0), seen);
	else
		RemovalsCheckCategory(store, namespace_name,
							  category && VARSIZE_ANY_EXHDR(category) > 0 ? category : NULL,
							  ArgInt64(fcinfo, 2, 1), seen);
	StoreClose(store);
	PG_RETURN_VOID();
}

/* await_disk() -> true, when what the statement sees is on disk: for the numbers that removals() tells */
Datum
millrace_await_disk(PG_FUNCTION_ARGS)
{
	StoreAwaitDisk();
	PG_RETURN_BOOL(true);
}

/* ---- purging ------------------------------------------------------------------------------------- */

/* dead_rows(table) -> how many rows VACUUM has left; errors as of CountDeadRows() */
Datum
millrace_dead_rows(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(CountDeadRows(PG_GETARG_OID(0)));
}
