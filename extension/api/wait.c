/*
 * wait.c: wait_for_commits(), which returns when there may be new messages to read.
 *
 * A message becomes readable, or stops to hold back those behind it, when a transaction ends that wrote
 * something: one that committed or aborted, in any session, by any program, also by COMMIT PREPARED; a
 * subtransaction that aborted; on a standby, one whose end was replayed.  Postgres counts these
 * in shared memory, for its own snapshots, under the lock under which it takes them.  So nothing is added to
 * an append, nothing needs shared memory of ours, and no end is missed: a snapshot that is taken after the
 * count has changed includes it.  The count is of the whole server, so it changes for transactions of other
 * databases and programs, too.
 *
 * Looking at it takes no transaction, lock or snapshot, and is done every few milliseconds.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "api/api.h"
#include "base/compat.h"

/* How often the count is looked at. */
#define LOOK_MS 5
#define MAX_TIMEOUT_MS 60000

PG_FUNCTION_INFO_V1(millrace_wait_for_commits);

extern Datum millrace_wait_for_commits(PG_FUNCTION_ARGS);

/* What this session has answered last; behind a pooler several clients may ask it in turn. */
typedef struct Answer
{
	int64 asker;
	uint64 seen;	/* the count up to which the asker has looked */
	uint64 current; /* the count at the answer */
} Answer;

static Answer last;

/*
 * Lets go of the snapshot that CALL has taken, so that a session that waits keeps no VACUUM from its work.
 * That can be done where a procedure could commit.
 */
static void
DropSnapshots(FunctionCallInfo fcinfo)
{
	if (fcinfo->context && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		ForgetPortalSnapshots();
	InvalidateCatalogSnapshot();
	if (HaveRegisteredOrActiveSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("millrace.wait_for_commits cannot be called in a transaction or by a function"),
				 errhint("It would see nothing of what it waits for.  CALL it by itself.")));
}

/* Waits until the count is another one. */
static void
WaitForCount(uint64 count, int timeout_ms)
{
	instr_time begin, passed;

	INSTR_TIME_SET_CURRENT(begin);
	INSTR_TIME_SET_ZERO(passed);
	while (CompatCompletedTransactions() == count && INSTR_TIME_GET_MILLISEC(passed) < timeout_ms)
	{
		(void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(passed);
		INSTR_TIME_SUBTRACT(passed, begin);
	}
}

/*
 * wait_for_commits(asker, heard, timeout_ms): returns as soon as a transaction that wrote has ended since an
 * earlier return, or when the time is over.
 *
 * asker: any number that no other caller uses; the first call of one in a session returns at once.  heard:
 * true when the asker has looked since the call before returned; false when it did not, so that this one
 * returns at once for the same transactions.  timeout_ms: milliseconds, at most MAX_TIMEOUT_MS.  Errors:
 * 25001 in a transaction or a function, 22023 for another timeout, MR005 for NULL.
 */
Datum
millrace_wait_for_commits(PG_FUNCTION_ARGS)
{
	int64 asker;
	int timeout_ms;

	CheckNotNull(PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2), "asker, heard and timeout_ms");
	asker = PG_GETARG_INT64(0);
	timeout_ms = PG_GETARG_INT32(2);
	if (timeout_ms < 0 || timeout_ms > MAX_TIMEOUT_MS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("timeout_ms %d is out of range: 0 to %d", timeout_ms, MAX_TIMEOUT_MS)));
	DropSnapshots(fcinfo);
	if (last.asker != asker)
	{
		last = (Answer){.asker = asker};
		last.seen = last.current = CompatCompletedTransactions();
		PG_RETURN_VOID();
	}
	if (PG_GETARG_BOOL(1))
		last.seen = last.current;
	WaitForCount(last.seen, timeout_ms);
	last.current = CompatCompletedTransactions();
	PG_RETURN_VOID();
}
