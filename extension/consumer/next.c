/*
 * next.c: gives members claims, or one again that was given for the same request.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/errors.h"
#include "consumer/assembly.h"

/* A ceiling that moved by less, past nothing but what the filters leave out, is not written down. */
#define CEILING_STEP 1000

/* ---- the claim ----------------------------------------------------------------------------------- */

static int
ByGlobalPosition(const void *a, const void *b)
{
	int64 left = ((const Delivered *)a)->message.global_position;
	int64 right = ((const Delivered *)b)->message.global_position;

	return left < right ? -1 : left > right;
}

static int
SpansByGlobalPosition(const void *a, const void *b)
{
	int64 left = ((const Span *)a)->global_position, right = ((const Span *)b)->global_position;

	return left < right ? -1 : left > right;
}

static void
SetSpans(const Assembly *claim, Content *content)
{
	HASH_SEQ_STATUS status;
	NewSpan *span;

	content->spans = palloc(sizeof(Span) * Max(claim->nmessages, 1));
	content->nspans = 0;
	hash_seq_init(&status, claim->streams);
	while ((span = hash_seq_search(&status)) != NULL)
		content->spans[content->nspans++] = (Span){span->hash, span->global_position, span->count};
	qsort(content->spans, content->nspans, sizeof(Span), SpansByGlobalPosition);
}

/* Gives the rows of streams in the new claim its number; those that were passed over stay passed over. */
static void
NameClaim(ConsumerWork *work, int64 number)
{
	for (int i = 0; i < work->nstreams; i++)
	{
		if (work->streams[i]->claim == -1)
			work->streams[i]->claim = number;
		work->streams[i]->passed = false;
	}
}

/* The new claim takes the place of the settled ones. */
static void
AddToWork(ConsumerWork *work, const Claim *granted)
{
	for (int i = 0; i < work->nclaims; i++)
	{
		Claim *claim = &work->claims[i];

		if (claim->open || claim->gone)
			continue;
		RowDelete(work->tables, TABLE_CLAIMS, &claim->tid);
		claim->gone = true;
	}
	work->claims = repalloc(work->claims, sizeof(Claim) * (work->nclaims + 1));
	work->claims[work->nclaims++] = *granted;
	work->newest = *granted;
}

/* Writes the new claim; without messages it only says how far the log was looked through. */
static int64
Grant(Assembly *claim, const NextRequest *request, int64 lease_ms, TimestampTz *now)
{
	ConsumerWork *work = claim->work;
	Claim granted = {.open = claim->nmessages > 0, .granted = GetCurrentTimestamp()};
	bool jumped;

	granted.number = ConsumerNumber(work->tables, work->newest.content.place, &jumped);
	granted.ceiling = claim->ceiling;
	granted.oldest = ConsumerOldest(work, granted.number);
	granted.lease_until = TimestampTzPlusMilliseconds(granted.granted, lease_ms);
	granted.content.place = ConsumerPlace(work->tables);
	granted.content.lease_ms = lease_ms;
	granted.content.bytes = claim->bytes;
	granted.content.settled_to = PG_INT64_MAX;
	if (granted.open)
	{
		granted.member = request->member;
		granted.request = request->request;
		SetSpans(claim, &granted.content);
	}
	*now = granted.granted;
	NameClaim(work, granted.number);
	ClaimInsert(work->tables, work->consumer->id, &granted);
	AddToWork(work, &granted);
	return granted.number;
}

/* ---- the same claim again ------------------------------------------------------------------------ */

typedef struct Again
{
	ConsumerWork *work;
	MemoryContext context;
	Delivery *delivery;
} Again;

static bool
AddAgain(void *arg, const Message *message)
{
	Again *again = arg;
	const Consumer *consumer = again->work->consumer;
	MemoryContext reading = MemoryContextSwitchTo(again->context);
	Delivered *delivered = &again->delivery->messages[again->delivery->nmessages++];
	StreamRow *row = StreamsFind(again->work, SourceKey(consumer, message->stream_text));

	AssemblyCopyMessage(message, &delivered->message);
	delivered->attempts = row && row->position == SourcePosition(consumer, message) ? row->attempts : 0;
	delivered->error = delivered->attempts > 0 ? row->error : NULL;
	MemoryContextSwitchTo(reading);
	return true;
}

/*
 * Grants a claim anew: its lease begins when its member hears of it, and who granted it before can tell.
 * Returns whether it is still open, and no other transaction is settling it.
 */
static bool
GrantAgain(ConsumerWork *work, Claim *claim)
{
	if (!RowLock(work->tables, TABLE_CLAIMS, &claim->tid, false))
		return false;
	claim->granted = Max(GetCurrentTimestamp(), claim->granted + 1);
	claim->lease_until = TimestampTzPlusMilliseconds(claim->granted, claim->content.lease_ms);
	ClaimUpdate(work->tables, work->consumer->id, claim);
	return true;
}

static void
DeliverAgain(ConsumerWork *work, Claim *claim, Delivery *delivery)
{
	Again again = {work, CurrentMemoryContext, delivery};

	if (!GrantAgain(work, claim))
		return;
	delivery->claim = claim->number;
	delivery->granted = claim->granted;
	delivery->lease_ms = claim->content.lease_ms;
	delivery->messages = palloc(sizeof(Delivered) * Max(ContentCount(&claim->content), 1));
	for (int i = 0; i < claim->content.nspans; i++)
		(void)SpanRead(work, claim, &claim->content.spans[i], AddAgain, &again);
	qsort(delivery->messages, delivery->nmessages, sizeof(Delivered), ByGlobalPosition);
}

/* Finds the open claim that was given for the same request; NULL: there is none. */
static Claim *
FindRequest(ConsumerWork *work, const pg_uuid_t *request)
{
	for (int i = 0; request && i < work->nclaims; i++)
	{
		Claim *claim = &work->claims[i];

		if (claim->open && claim->request && memcmp(claim->request, request, sizeof(*request)) == 0)
			return claim;
	}
	return NULL;
}

/* ---- next ---------------------------------------------------------------------------------------- */

/* When a retry comes or a lease runs out, in ms; -1: neither will. */
static int64
NextDue(const ConsumerWork *work)
{
	TimestampTz next = DT_NOEND;

	if (work->consumer->state != STATE_RUNNING)
		return -1;
	for (int i = 0; i < work->nstreams; i++)
	{
		const StreamRow *row = work->streams[i];

		if (!row->gone && row->claim == 0 && row->parked_at == 0)
			next = Min(next, Max(row->retry_at, work->now));
	}
	for (int i = 0; i < work->nclaims; i++)
		if (work->claims[i].open)
			next = Min(next, ClaimEnd(&work->claims[i]));
	return next == DT_NOEND ? -1 : Max((next - work->now + 999) / 1000, 0);
}

static void
CheckAllowed(const Consumer *consumer)
{
	PreventCommandIfReadOnly("millrace.consumer_next()");
	PreventCommandIfParallelMode("millrace.consumer_next()");
	PreventCommandDuringRecovery("millrace.consumer_next()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("a claim can't be given in a transaction of isolation level REPEATABLE READ "
							   "or SERIALIZABLE"),
						errhint("It must see what others settled; call it in READ COMMITTED.")));
	if (consumer->ordering == ORDERING_MANUAL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("consumer \"%s\" is moved by hand and gives no claims",
							   text_to_cstring(consumer->name)),
						errhint("Read the messages and call millrace.consumer_move().")));
}

/*
 * Begins to give claims: takes in what happened since the last time.  The caller has the consumer's lock.
 * Errors: 25001 above READ COMMITTED, 25006 in recovery, 22023 for an order by hand.
 */
ConsumerWork *
ConsumerNextBegin(ConsumerTables *tables, Consumer *consumer)
{
	bool claims_only = ConsumerCommitBegin();
	ConsumerWork *work;

	CheckAllowed(consumer);
	work = ConsumerBegin(tables, consumer);
	work->claims_only = claims_only;
	ConsumerFold(work);
	return work;
}

static void
Deliver(ConsumerWork *work, const NextRequest *request, Delivery *delivery)
{
	Assembly claim;

	AssemblyBegin(&claim, work, request);
	AssemblyFill(&claim, request->max);
	delivery->lease_ms = request->lease_ms ? request->lease_ms : work->consumer->lease_ms;
	if (claim.nmessages > 0 || claim.ceiling - work->newest.ceiling >= CEILING_STEP)
		delivery->claim = Grant(&claim, request, delivery->lease_ms, &delivery->granted);
	else
		StreamsForget(work);
	if (claim.nmessages == 0)
		delivery->claim = 0;
	delivery->messages = claim.messages;
	delivery->nmessages = claim.nmessages;
	qsort(delivery->messages, delivery->nmessages, sizeof(Delivered), ByGlobalPosition);
}

/* Gives a member a claim, if there is anything to do; it counts from the commit on. */
void
ConsumerNext(ConsumerWork *work, const NextRequest *request, Delivery *delivery)
{
	Claim *known = FindRequest(work, request->request);

	memset(delivery, 0, sizeof(*delivery));
	delivery->next_due_ms = -1;
	if (known)
		DeliverAgain(work, known, delivery);
	else if (work->consumer->state == STATE_RUNNING)
		Deliver(work, request, delivery);
	if (delivery->claim == 0)
		delivery->next_due_ms = NextDue(work);
	delivery->state = work->consumer->state;
	delivery->reason = work->consumer->reason;
}

/* Writes what became of streams. */
void
ConsumerNextEnd(ConsumerWork *work)
{
	StreamsStore(work);
	ConsumerCommitEnd(work->claims_only && work->expired == 0);
}
