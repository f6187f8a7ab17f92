/*
 * watch.c: what holds readers back, for the views of operators and for queries that read the table
 * themselves.
 *
 * A reader's prefix ends at the first row that its snapshot doesn't see and that may still commit, or did
 * so later (core/read.c).  Here that row is looked for by the active snapshot, the one of the statement
 * that asks, so that what else the statement reads of the table ends at the same row (core/undecided.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "core/read.h"
#include "core/undecided.h"
#include "retention/removals.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(millrace_first_undecided);
PG_FUNCTION_INFO_V1(millrace_decided_to);
PG_FUNCTION_INFO_V1(millrace_position_reached);
PG_FUNCTION_INFO_V1(millrace_timeline);

extern Datum millrace_first_undecided(PG_FUNCTION_ARGS);
extern Datum millrace_decided_to(PG_FUNCTION_ARGS);
extern Datum millrace_position_reached(PG_FUNCTION_ARGS);
extern Datum millrace_timeline(PG_FUNCTION_ARGS);

/*
 * first_undecided(namespace, position) -> (head, global_position, xid): what the statement's snapshot makes
 * readers stop at, from a position on or (NULL) anywhere, NULL when at nothing; and one more than the highest
 * global position.  0.1.0 gave a time between the two arguments, below which nothing was looked at.
 *
 * xid is that of the top-level transaction: a subtransaction has no lock any more once it is committed, and
 * the process is found by the lock.
 */
Datum
millrace_first_undecided(PG_FUNCTION_ARGS)
{
	int position = PG_NARGS() - 1;
	Store *store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	int64 head = ReadHead(store); /* first: what is inserted from now on is not below it */
	Undecided first = PG_ARGISNULL(position)
						  ? FirstUndecided(store, GetActiveSnapshot())
						  : FirstUndecidedFrom(store, PG_GETARG_INT64(position), GetActiveSnapshot());
	bool none = first.global_position == PG_INT64_MAX;
	Datum values[3] = {Int64GetDatum(head)};
	bool isnull[3] = {false, none, none};

	if (!none)
	{
		values[1] = Int64GetDatum(first.global_position);
		values[2] = TransactionIdGetDatum(SubTransGetTopmostTransaction(first.xid));
	}
	StoreClose(store);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}

/*
 * decided_to(namespace) -> the same without who it is, cheap to be asked again and again: the highest global
 * position below what readers stop at
 */
Datum
millrace_decided_to(PG_FUNCTION_ARGS)
{
	Store *store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	int64 position = DecidedTo(store, GetActiveSnapshot());

	StoreClose(store);
	PG_RETURN_INT64(position);
}

/*
 * position_reached(position, namespace) -> whether this statement's snapshot has all there is up to a global
 * position: no message up to there may still commit that it does not see.  On a standby it is so when that
 * was replayed.  A position that is behind all messages is reached where one from there on was removed: what
 * is removed was there, and so was what came before it.  Errors: MR005 for a NULL position, MR003.
 */
Datum
millrace_position_reached(PG_FUNCTION_ARGS)
{
	const char *namespace_name = ArgNamespaceOr(fcinfo, 1, SelectedNamespace());
	int64 position, last;
	bool reached;
	Store *store;

	CheckNotNull(PG_ARGISNULL(0), "position");
	position = PG_GETARG_INT64(0);
	store = StoreOpen(namespace_name, STORE_READ);
	last = ReadHead(store) - 1;
	if (position > last && !RemovalsReach(namespace_name, position))
		reached = false;
	else
	{
		int64 wanted = Min(position, last);

		reached = DecidedUpTo(store, GetActiveSnapshot(), wanted) >= wanted;
	}
	StoreClose(store);
	PG_RETURN_BOOL(reached);
}

/* timeline() -> bigint; each failover begins a new one. */
Datum
millrace_timeline(PG_FUNCTION_ARGS)
{
	TimeLineID timeline;

	if (RecoveryInProgress())
		GetXLogReplayRecPtr(&timeline);
	else
		timeline = GetWALInsertionTimeLine();
	PG_RETURN_INT64((int64)timeline);
}
