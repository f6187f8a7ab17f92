/*
 * settle.c: what a member says of its claim: that it is dealt with, or what of it is not, or that it takes
 * longer.
 *
 * It touches the claim's own row and takes no lock that others wait for, so it may stand in a long
 * transaction with all that was done for the messages: both are committed or neither.  What it says is taken
 * in by the next call of next() (fold.c).
 *
 * The row is looked for as it is now, also in a transaction that keeps its snapshot: what counts is whether
 * the claim is still the member's.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/errors.h"
#include "consumer/consumer.h"

static void
RaiseLost(const Consumer *consumer, int64 number)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_CLAIM_LOST),
					errmsg("claim " INT64_FORMAT " of consumer \"%s\" is lost", number,
						   text_to_cstring(consumer->name)),
					errdetail("It was settled already, or its lease ran out and its messages were given to "
							  "another member.")));
}

/* Finds and locks an open claim; returns whether there is one. */
static bool
LockClaim(ConsumerTables *tables, const Consumer *consumer, int64 number, Claim *claim)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!ClaimFind(tables, consumer->id, number, claim) || !claim->open)
			return false;
		if (RowLock(tables, TABLE_CLAIMS, &claim->tid, true))
			return true;
		/* Another transaction has changed it meanwhile; perhaps it is only extended. */
	}
}

/* ---- failures ------------------------------------------------------------------------------------ */

/* Finds where in the log the message is; MR009 when it is not one of the claim. */
static void
Locate(ConsumerTables *tables, const Consumer *consumer, const Claim *claim, Failure *failure)
{
	uint64 hash = StreamHash(SourceKey(consumer, failure->stream));

	for (int i = 0; i < claim->content.nspans; i++)
	{
		if (claim->content.spans[i].hash != hash)
			continue;
		failure->global_position =
			SpanFind(tables, consumer, claim, &claim->content.spans[i], failure->stream, failure->position);
		if (failure->global_position > 0)
			return;
	}
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
					errmsg("message " INT64_FORMAT " of stream \"%s\" is not in claim " INT64_FORMAT,
						   failure->position, text_to_cstring(failure->stream), claim->number)));
}

/* Of several failures of what is kept in order the first one counts: the others come back with it. */
static void
AddFailure(const Consumer *consumer, Content *content, const Failure *failure)
{
	text *key = SourceKey(consumer, failure->stream);

	for (int i = 0; i < content->nfailures; i++)
	{
		Failure *other = &content->failures[i];

		if (!SliceEqual(SliceOfText(SourceKey(consumer, other->stream)), SliceOfText(key)))
			continue;
		if (failure->global_position < other->global_position)
			*other = *failure;
		return;
	}
	content->failures[content->nfailures++] = *failure;
}

static void
TakeFailures(ConsumerTables *tables, const Consumer *consumer, Claim *claim, const Settlement *settlement)
{
	claim->content.failures = palloc(sizeof(Failure) * settlement->nfailures);
	for (int i = 0; i < settlement->nfailures; i++)
	{
		Failure *failure = &settlement->failures[i];

		Locate(tables, consumer, claim, failure);
		if (failure->global_position > settlement->settled_to)
			ereport(ERROR,
					(errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
					 errmsg("message " INT64_FORMAT " of stream \"%s\" can't have failed: it is given back",
							failure->position, text_to_cstring(failure->stream))));
		AddFailure(consumer, &claim->content, failure);
	}
}

/* ---- settle, extend ------------------------------------------------------------------------------ */

/*
 * Removes an open claim of which nothing is left; the newest one stays, as it says how far the consumer is,
 * but empty and settled.  Returns whether the claim was the caller's.
 */
static bool
EndClaim(ConsumerTables *tables, const Consumer *consumer, int64 number)
{
	Claim claim, newest;
	uint32 place;

	if (!ClaimFindNewest(tables, consumer->id, &newest))
		return false; /* the consumer was dropped meanwhile */
	while (newest.number != number)
	{
		CHECK_FOR_INTERRUPTS();
		if (!ClaimFind(tables, consumer->id, number, &claim) || !claim.open)
			return false;
		if (RowTryDelete(tables, TABLE_CLAIMS, &claim.tid))
			return true;
		/* Another transaction has changed it meanwhile; perhaps it is only extended. */
	}
	if (!LockClaim(tables, consumer, number, &claim))
		return false;
	ClaimNewest(tables, consumer->id, &newest);
	if (newest.number != number)
	{
		RowDelete(tables, TABLE_CLAIMS, &claim.tid);
		return true;
	}
	place = claim.content.place;
	memset(&claim.content, 0, sizeof(claim.content));
	claim.content.place = place;
	claim.content.settled_to = PG_INT64_MAX;
	claim.member = NULL;
	claim.request = NULL;
	claim.open = false;
	ClaimUpdate(tables, consumer->id, &claim);
	return true;
}

/*
 * Settles a claim: what is not among the failures and not above settled_to is dealt with.  Returns false when
 * the claim is not the caller's any more.  Errors: MR009 for a failure that is not in it.
 */
bool
ConsumerTrySettle(ConsumerTables *tables, const Consumer *consumer, const Settlement *settlement)
{
	Claim claim;

	PreventCommandIfReadOnly("millrace.consumer_settle()");
	if (settlement->nfailures == 0 && settlement->settled_to == PG_INT64_MAX)
		return EndClaim(tables, consumer, settlement->claim);
	if (!LockClaim(tables, consumer, settlement->claim, &claim))
		return false;
	if (settlement->nfailures > 0)
		TakeFailures(tables, consumer, &claim, settlement);
	claim.content.settled_to = settlement->settled_to;
	claim.open = false;
	ClaimUpdate(tables, consumer->id, &claim);
	return true;
}

/* The same, but a lost claim is an error, MR015. */
void
ConsumerSettle(ConsumerTables *tables, const Consumer *consumer, const Settlement *settlement)
{
	if (!ConsumerTrySettle(tables, consumer, settlement))
		RaiseLost(consumer, settlement->claim);
}

/*
 * Gives a claim back whose member never heard of it: one that was granted then, and not again since.  Returns
 * whether it was.
 */
bool
ConsumerRelease(ConsumerTables *tables, const Consumer *consumer, int64 number, TimestampTz granted)
{
	Claim claim;

	PreventCommandIfReadOnly("millrace.json_consumer_release()");
	if (!LockClaim(tables, consumer, number, &claim) || claim.granted != granted)
		return false;
	claim.content.settled_to = 0;
	claim.open = false;
	ClaimUpdate(tables, consumer->id, &claim);
	return true;
}

/* Makes the lease end so much later than now; 0: the time it was given for.  Errors: MR015. */
void
ConsumerExtend(ConsumerTables *tables, const Consumer *consumer, int64 number, int64 lease_ms)
{
	Claim claim;

	PreventCommandIfReadOnly("millrace.consumer_extend()");
	if (!LockClaim(tables, consumer, number, &claim))
		RaiseLost(consumer, number);
	if (lease_ms > 0)
		claim.content.lease_ms = lease_ms;
	claim.granted = GetCurrentTimestamp();
	claim.lease_until = TimestampTzPlusMilliseconds(claim.granted, claim.content.lease_ms);
	ClaimUpdate(tables, consumer->id, &claim);
}
