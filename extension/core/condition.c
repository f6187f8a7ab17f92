/*
 * condition.c: appends that depend on what a query finds.
 *
 * A condition holds when no message above its position matches its query, up to where the request's own
 * messages come.  No lock on tags or types is taken: the append lock alone makes it exact.
 *
 *   1. The end of the index on global positions is read, and then a snapshot is taken.  All entries up to
 *      there are in all indexes (store/entry.c), and every transaction that made one had its number before
 *      the snapshot.  So each message up to there is seen, or in doubt (its transaction may still commit), or
 *      gone.  One in doubt is waited for, or refuses the request; then all begins anew, from there on.
 *   2. Under the append lock nothing new can come.  What came since then is looked for in the index alone; as
 *      soon as there is anything that might match, the lock is given back and step 1 looks at it.  Else the
 *      rows go in, before the lock is free.
 *
 * So of two requests whose conditions the other's messages break, the one with the higher positions knows of
 * the other's: it met their entries in step 2.
 *
 * A snapshot that shows all that is there now, dirty or self, must not be used: between an old version of a
 * row and a new one it may see neither.  What is in doubt counts as a match by its hashes; its contents are
 * read when it has committed, since its transaction's end may take its long values away meanwhile.
 *
 * Everything here is for one namespace at a time: the namespaces of a call are judged and inserted one after
 * the other, in the order of their tables, so that two calls don't wait for each other.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "core/append_call.h"
#include "core/query_scan.h"
#include "core/row.h"
#include "tags/tags.h"

/*
 * As many entries are looked at where others wait meanwhile: under the append lock, and in a batch of many
 * clients' requests.  A descent counts for two, and each look-up has one besides.
 */
#define MAX_STEPS 1000

/* How far from the end its last entry is looked for first: it is the very last one, but after a crash. */
#define NEAR_END 1

/* What a look at a condition came to, and at which message. */
typedef enum Look
{
	LOOK_HOLDS,
	LOOK_FAILS,
	LOOK_DOUBT,
	LOOK_FAR /* not known after MAX_STEPS */
} Look;

typedef struct Match
{
	int64 position;
	char *stream; /* NULL with LOOK_DOUBT */
	char *type;
	TransactionId xid; /* LOOK_DOUBT: of the transaction that may break it */
} Match;

/* ---- where a look goes to ------------------------------------------------------------------------------ */

/* Opens what looks need, once; under the append lock nothing can be opened. */
static void
OpenPositions(OpenNamespace *space)
{
	if (space->positions)
		return;
	space->sequence = relation_open(space->store->sequence, RowExclusiveLock);
	space->positions = StoreBeginScan(space->store, INDEX_GLOBAL_POSITION, SnapshotAny, 2);
	space->positions->scan->xs_want_itup = true;
	space->scans = QueryScansBegin(space->store);
}

/* The last global position in the index from `least` to `most`; 0: there is none. */
static int64
LastBetween(OpenNamespace *space, int64 least, int64 most)
{
	IndexScanDesc index = space->positions->scan;
	int64 last = 0;
	ScanKeyData keys[2];
	bool isnull;

	StoreInt8Key(&keys[0], 1, BTGreaterEqualStrategyNumber, least);
	StoreInt8Key(&keys[1], 1, BTLessEqualStrategyNumber, most);
	StoreRescan(space->positions, keys, 2);
	if (index_getnext_tid(index, BackwardScanDirection))
		last = DatumGetInt64(index_getattr(index->xs_itup, 1, index->xs_itupdesc, &isnull));
	StoreRestScan(space->positions);
	return last;
}

/*
 * The last global position in the index that was given out: those above were put there by hand, and among
 * them may be none that is being appended.  It is looked for near the end first, as a scan reads all entries
 * of a page that it may return.
 */
static int64
LastEntry(OpenNamespace *space)
{
	int64 drawn = StoreLastDrawn(space->sequence);
	int64 last;

	if (drawn == space->head) /* there is that entry, and none behind it */
		return drawn;
	last = LastBetween(space, drawn - NEAR_END, drawn);
	return last > 0 ? last : LastBetween(space, 1, drawn);
}

/* Lets go of all pages and of the snapshot, which must be done before a wait. */
static void
Rest(OpenNamespace *space)
{
	if (!space->snapshot)
		return;
	PrefixEnd(space->prefix);
	UnregisterSnapshot(space->snapshot);
	space->snapshot = NULL;
}

/* Step 1: from now on conditions are looked at up to what is there now. */
static void
LookFromHere(OpenNamespace *space)
{
	Rest(space);
	OpenPositions(space);
	space->head = LastEntry(space);
	space->snapshot = RegisterSnapshot(GetLatestSnapshot());
	space->prefix = PrefixBeginLatest(space->positions, space->snapshot);
}

/* ---- a look at a condition ----------------------------------------------------------------------------- */

static int64
FirstUnchecked(const Condition *condition)
{
	return PositionBehind(Max(condition->after, condition->checked));
}

/* Judges the row that an entry leads to. */
static Look
LookAtRow(OpenNamespace *space, const Condition *condition, const Candidate *candidate, Match *match)
{
	Message message;
	HeapTuple row;
	PrefixStep step = QueryScanJudge(condition->scan, space->prefix, &row);

	if (step == PREFIX_NO_MORE)
		return LOOK_HOLDS;
	*match = (Match){.position = candidate->global_position};
	match->xid = HeapTupleHeaderGetXmin(row->t_data);
	if (step == PREFIX_UNDECIDED && !TransactionIdIsCurrentTransactionId(match->xid))
		return LOOK_DOUBT;
	MessageFromRow(space->store, row, &message);
	if (!QueryMatches(condition->query, message.type, message.metadata))
		return LOOK_HOLDS;
	match->stream = text_to_cstring(message.stream_text);
	match->type = text_to_cstring(message.type_text);
	return LOOK_FAILS;
}

static int
StepsFor(const Condition *condition)
{
	return MAX_STEPS + 2 * condition->query->nlookups;
}

/* Looks for a match up to the head. */
static Look
LookOnce(OpenNamespace *space, Condition *condition, Match *match)
{
	Look look = LOOK_HOLDS;
	int64 checked = space->head;
	int steps = StepsFor(condition);
	Candidate candidate;

	if (!condition->scan)
		condition->scan = QueryScanBegin(space->scans, condition->query);
	QueryScanBound(condition->scan, space->hurried ? &steps : NULL);
	QueryScanSeek(condition->scan, FirstUnchecked(condition), ForwardScanDirection);
	while (look == LOOK_HOLDS && QueryScanNext(condition->scan, &candidate) &&
		   candidate.global_position <= space->head)
		look = LookAtRow(space, condition, &candidate, match);
	QueryScanRest(condition->scan);
	if (look == LOOK_HOLDS && steps < 0)
		return LOOK_FAR;
	if (look != LOOK_HOLDS)
		checked = candidate.global_position - 1;
	condition->checked = Max(condition->checked, checked);
	return look;
}

/*
 * The same until it is decided; LOOK_DOUBT and LOOK_FAR only where the call does not wait.  A transaction
 * that has ended in the meantime is in doubt for the snapshot alone.
 */
static Look
LookUntilDecided(OpenNamespace *space, Condition *condition, bool wait, Match *match)
{
	for (;;)
	{
		Look look;

		if (!space->snapshot)
			LookFromHere(space);
		if (condition->scan && condition->checked >= space->head)
			return LOOK_HOLDS;
		look = LookOnce(space, condition, match);
		PrefixRest(space->prefix);
		if (look != LOOK_DOUBT || (!wait && TransactionIdIsInProgress(match->xid)))
			return look;
		Rest(space);
		XactLockTableWait(match->xid, NULL, NULL, XLTW_None);
	}
}

/*
 * Before any lock is taken: looks at each condition once, and waits for what is in doubt.  What is found is
 * no answer yet, as ids come first.
 */
void
ConditionsAwait(AppendCall *call)
{
	Match match;

	for (int i = 0; i < call->nrequests; i++)
	{
		AppendRequest *request = &call->requests[i];

		for (int j = 0; request->space->store && j < request->nconditions; j++)
			if (request->conditions[j].query)
				(void)LookUntilDecided(request->space, &request->conditions[j], true, &match);
	}
}

/* ---- verdicts ------------------------------------------------------------------------------------------ */

static void
RefuseAfter(AppendRequest *request, const Condition *condition, int64 drawn)
{
	AppendRefuse(request, 0, ERRCODE_MILLRACE_OUT_OF_RANGE,
				 psprintf("after " INT64_FORMAT
						  " is out of range: the last global position given out is " INT64_FORMAT,
						  condition->after, drawn));
}

static void
RefuseDoubt(AppendRequest *request, const Match *match)
{
	AppendRefuse(request, 0, ERRCODE_LOCK_NOT_AVAILABLE,
				 psprintf("transaction %u may still commit a message that the condition is on, at global "
						  "position " INT64_FORMAT,
						  match->xid, match->position));
}

static void
RefuseFar(AppendRequest *request)
{
	AppendRefuse(request, 0, ERRCODE_LOCK_NOT_AVAILABLE,
				 "the condition is not decided by the entries of the index that a request may look at while "
				 "others wait for it");
}

static void
RefuseMatch(AppendRequest *request, const Condition *condition, const Match *match)
{
	AppendRefuse(
		request, 0, ERRCODE_MILLRACE_APPEND_CONDITION_FAILED,
		psprintf("append condition failed: a message of stream \"%s\" with type \"%s\", after global "
				 "position " INT64_FORMAT ", matches",
				 match->stream, match->type, condition->after));
	request->verdict.expected = condition->after;
	request->verdict.actual = match->position;
	request->verdict.stream = match->stream;
	request->verdict.type = match->type;
}

/* Judges one condition; returns whether it holds. */
static bool
JudgeCondition(AppendCall *call, AppendRequest *request, Condition *condition)
{
	OpenNamespace *space = request->space;
	AppendMessage *accepted = AcceptedFind(space, condition->query);
	Match match;

	if (accepted)
	{
		match.stream = text_to_cstring(accepted->stream);
		match.type = text_to_cstring(accepted->type);
		match.position = 0; /* AppendRequests() knows it when the message is in */
		RefuseMatch(request, condition, &match);
		request->verdict.match = accepted;
		return false;
	}
	OpenPositions(space);
	if (condition->after > space->head) /* else the position was given out */
	{
		int64 drawn = StoreLastDrawn(space->sequence);

		if (condition->after > drawn)
		{
			RefuseAfter(request, condition, drawn);
			return false;
		}
	}
	switch (LookUntilDecided(space, condition, call->doubt == APPEND_WAIT && !call->begun, &match))
	{
		case LOOK_HOLDS:
			return true;
		case LOOK_FAILS:
			RefuseMatch(request, condition, &match);
			return false;
		case LOOK_DOUBT:
			RefuseDoubt(request, &match);
			return false;
		case LOOK_FAR:
			RefuseFar(request);
			return false;
	}
	return false;
}

/* Judges the conditions of a request that are on queries; refuses it where one does not hold. */
bool
ConditionsJudge(AppendCall *call, AppendRequest *request)
{
	for (int i = 0; i < request->nconditions; i++)
		if (request->conditions[i].query && !JudgeCondition(call, request, &request->conditions[i]))
			return false;
	return true;
}

/* ---- under the append lock ----------------------------------------------------------------------------- */

/*
 * Whether nothing that came since a condition was looked at might match; by the index alone, and as far as
 * the steps last.
 */
static bool
IsUntouched(Condition *condition, int64 last, int *steps)
{
	Candidate candidate;
	bool found;

	if (condition->checked >= last)
		return true;
	*steps += 2 * condition->query->nlookups;
	QueryScanBound(condition->scan, steps);
	QueryScanSeek(condition->scan, FirstUnchecked(condition), ForwardScanDirection);
	found = QueryScanNext(condition->scan, &candidate) && candidate.global_position <= last;
	QueryScanRest(condition->scan);
	if (found || *steps < 0)
		return false;
	condition->checked = last;
	return true;
}

/* A StoreGuard's `holds`: asked under the append lock. */
static bool
GroupHolds(void *arg)
{
	AppendGroup *group = arg;
	int64 last = LastEntry(group->space);
	int steps = MAX_STEPS;
	bool holds = true;

	for (int i = 0; holds && i < group->nconditions; i++)
		holds = IsUntouched(group->conditions[i], last, &steps);
	return holds;
}

/* Its `again`: looks at what came, without the lock.  What is in doubt is for the judge, who may wait. */
static bool
GroupHoldsStill(void *arg)
{
	AppendGroup *group = arg;
	bool holds = true;
	Match match;

	LookFromHere(group->space);
	for (int i = 0; holds && i < group->nconditions; i++)
		holds = LookUntilDecided(group->space, group->conditions[i], false, &match) == LOOK_HOLDS;
	return holds;
}

/* Its `inserted`: what the group itself has put in breaks none of its conditions. */
static void
GroupInserted(void *arg, int64 last)
{
	AppendGroup *group = arg;

	for (int i = 0; i < group->nconditions; i++)
		group->conditions[i]->checked = Max(group->conditions[i]->checked, last);
}

StoreGuard
ConditionsGuard(AppendGroup *group)
{
	return (StoreGuard){GroupHolds, GroupHoldsStill, GroupInserted, group};
}

/* Ends the scans of a namespace. */
void
ConditionsEnd(OpenNamespace *space)
{
	Rest(space);
	if (!space->positions)
		return;
	QueryScansEnd(space->scans);
	StoreEndScan(space->positions);
	relation_close(space->sequence, NoLock);
}
