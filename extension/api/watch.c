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
#include "fmgr.h"
#include "funcapi.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "core/read.h"
#include "core/undecided.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(millrace_first_undecided);
PG_FUNCTION_INFO_V1(millrace_decided_to);

extern Datum millrace_first_undecided(PG_FUNCTION_ARGS);
extern Datum millrace_decided_to(PG_FUNCTION_ARGS);

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
