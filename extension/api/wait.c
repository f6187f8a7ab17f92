/*
 * wait.c: what tells a subscriber's server that it may be worth its while to read.
 *
 * A message becomes readable, or stops to hold back those behind it, when a transaction ends that wrote
 * something: one that committed or aborted, in whatever session, by whatever program, also by COMMIT
 * PREPARED; a subtransaction that aborted; on a standby, one whose end was replayed.  Postgres counts these
 * in shared memory, for its own snapshots, under the lock under which it takes them.  So nothing is added to
 * an append, nothing needs shared memory of ours, and no end is missed: whoever has seen the count change,
 * and takes a snapshot then, has it in there.  The count is of the whole server, so it changes for others'
 * transactions too.
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

#define LOOK_MS 5
#define MAX_TIMEOUT_MS 60000

PG_FUNCTION_INFO_V1(millrace_wait_for_commits);

extern Datum millrace_wait_for_commits(PG_FUNCTION_ARGS);

/* What this session has told, and to whom; behind a pooler there may be several who ask. */
typedef struct Told
{
	int64 asker;
	uint64 heard; /* the count up to which it has looked */
	uint64 told;  /* the count when it was answered last */
} Told;

static Told last_told;

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
 * asker: any number that nobody else has; the first call of one in a session returns at once.  heard: true
 * when the asker has looked since the call before returned, false when it took that for the end of the time;
 * what it was told then is told again.  timeout_ms: milliseconds, at most 60000.  Errors: 25001 in a
 * transaction or a function, 22023 for another timeout, MR005 for NULL.
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
	if (last_told.asker != asker)
	{
		last_told = (Told){.asker = asker};
		last_told.heard = last_told.told = CompatCompletedTransactions();
		PG_RETURN_VOID();
	}
	if (PG_GETARG_BOOL(1))
		last_told.heard = last_told.told;
	WaitForCount(last_told.heard, timeout_ms);
	last_told.told = CompatCompletedTransactions();
	PG_RETURN_VOID();
}
