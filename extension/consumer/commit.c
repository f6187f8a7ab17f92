/*
 * commit.c: a claim need not be on disk when its member gets it.
 *
 * The consumer's lock is held to commit.  Were the commit to wait for the disk, one claim at a time would be
 * given for each flush, and no two members share one.  So a transaction that does nothing but give claims is
 * committed without waiting.  Nothing is lost by that: what settles a claim is committed as usual, behind the
 * claim in the WAL.  A crash may take back a claim that a member has, but nothing settled, as if it had not
 * been given: its messages are given again, under a higher number (ConsumerNumber()), and the member's own is
 * lost.
 *
 * A call that found a lease run out waits for the disk: were that taken back, the earlier claim would be its
 * member's again, who could settle it under the lower number after another has begun with its messages.
 *
 * A transaction that has written anything else, by the position of its last record in the WAL, is committed
 * as the session asks.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"

#include "consumer/consumer.h"

/* The end of this transaction's WAL if all of it is of claims; else InvalidXLogRecPtr. */
static XLogRecPtr claims_end = InvalidXLogRecPtr;
static int asked = -1; /* synchronous_commit, while it is replaced for one commit */

static void
AtEnd(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && claims_end != InvalidXLogRecPtr && XactLastRecEnd == claims_end)
	{
		asked = synchronous_commit;
		synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	}
	else if (asked >= 0)
	{
		synchronous_commit = asked;
		asked = -1;
	}
	claims_end = InvalidXLogRecPtr;
}

/* Whether what this transaction has written so far is of claims only. */
bool
ConsumerCommitBegin(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(AtEnd, NULL);
	registered = true;
	return XactLastRecEnd == claims_end;
}

/* What it has written since it said so is of claims, too. */
void
ConsumerCommitEnd(bool claims_only)
{
	claims_end = claims_only ? XactLastRecEnd : InvalidXLogRecPtr;
}
