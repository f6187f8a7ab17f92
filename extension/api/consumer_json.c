/*
 * consumer_json.c: claims as the HTTP side answers them, in finished JSON text.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "api/api.h"
#include "api/consumer.h"
#include "base/errors.h"
#include "json/out.h"

PG_FUNCTION_INFO_V1(millrace_json_consumer_next);
PG_FUNCTION_INFO_V1(millrace_json_consumer_release);
PG_FUNCTION_INFO_V1(millrace_json_consumer_settle);

extern Datum millrace_json_consumer_next(PG_FUNCTION_ARGS);
extern Datum millrace_json_consumer_release(PG_FUNCTION_ARGS);
extern Datum millrace_json_consumer_settle(PG_FUNCTION_ARGS);

/* Of one transaction, and of one call of next(). */
#define MAX_CALLS 1000
#define MAX_SETTLEMENTS 1000

/* ,"retries":{"account-9":{"position":3,"attempt":4,"error":"..."}} */
static void
AppendRetries(StringInfo out, const Delivery *delivery)
{
	int count = 0;

	for (int i = 0; i < delivery->nmessages; i++)
	{
		const Delivered *delivered = &delivery->messages[i];

		if (delivered->attempts == 0)
			continue;
		appendStringInfoString(out, count++ == 0 ? ",\"retries\":{" : ",");
		JsonAppendString(out, delivered->message.stream);
		appendStringInfo(out, ":{\"position\":" INT64_FORMAT ",\"attempt\":%d", delivered->message.position,
						 delivered->attempts + 1);
		if (delivered->error)
		{
			appendStringInfoString(out, ",\"error\":");
			JsonAppendString(out, SliceOfText(delivered->error));
		}
		appendStringInfoChar(out, '}');
	}
	if (count > 0)
		appendStringInfoChar(out, '}');
}

static void
AppendConsumerState(StringInfo out, const Delivery *delivery)
{
	if (delivery->state == STATE_RUNNING)
		return;
	appendStringInfoString(out, ",\"state\":\"");
	appendStringInfoString(out, ConsumerStateName(delivery->state));
	appendStringInfoChar(out, '"');
	if (delivery->reason)
	{
		appendStringInfoString(out, ",\"reason\":");
		JsonAppendString(out, SliceOfText(delivery->reason));
	}
}

/* One call of next(), of those that are made, or whose claims are settled, in one transaction. */
typedef struct Call
{
	NextRequest request;
	Settlement *settlements;
	bool *is_lost; /* of each */
	int nsettlements;
} Call;

/* "claim":18,"leaseMs":30000,"retries":{...},"messages":[...] */
static void
AppendDelivery(StringInfo out, const Delivery *delivery)
{
	if (delivery->claim != 0)
		appendStringInfo(out, "\"claim\":" INT64_FORMAT ",\"leaseMs\":" INT64_FORMAT, delivery->claim,
						 delivery->lease_ms);
	else
		appendStringInfoString(out, "\"claim\":null");
	AppendRetries(out, delivery);
	if (delivery->next_due_ms >= 0)
		appendStringInfo(out, ",\"nextDueMs\":" INT64_FORMAT, delivery->next_due_ms);
	AppendConsumerState(out, delivery);
	appendStringInfoString(out, ",\"messages\":[");
	for (int i = 0; i < delivery->nmessages; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		JsonAppendMessage(out, &delivery->messages[i].message, true);
	}
	appendStringInfoChar(out, ']');
}

/* ---- requests ------------------------------------------------------------------------------------ */

static Settlement
SettlementOf(const JsonbValue *element)
{
	static const char *const known[] = {"claim", "failed", "release", "upTo"};
	JsonbContainer *object = ObjectOf(element, "a settlement");
	JsonbContainer *failures = NULL;
	JsonbValue found;
	int64 claim, up_to;
	bool has_up_to;

	CheckMembers(object, "a settlement", known, lengthof(known));
	claim = NumberMember(object, "claim", -1);
	if (claim < 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("a settlement must have a claim")));
	if (Member(object, "failed", &found) && found.type != jbvNull)
	{
		if (found.type != jbvBinary)
			ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("failed must be an array")));
		failures = found.val.binary.data;
	}
	has_up_to = Member(object, "upTo", &found) && found.type != jbvNull;
	up_to = NumberMember(object, "upTo", 0);
	return MakeSettlement(claim, failures, BoolMember(object, "release"), has_up_to, up_to);
}

static void
TakeSettlements(JsonbContainer *object, Call *call)
{
	JsonbValue found, value;
	JsonbIterator *iterator;
	JsonbIteratorToken token;

	if (!Member(object, "settle", &found) || found.type == jbvNull)
		return;
	if (found.type != jbvBinary)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("settle must be an array")));
	iterator = ElementsOf(found.val.binary.data, "settle", MAX_SETTLEMENTS);
	call->settlements = palloc(sizeof(Settlement) * MAX_SETTLEMENTS);
	call->is_lost = palloc(sizeof(bool) * MAX_SETTLEMENTS);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			call->settlements[call->nsettlements++] = SettlementOf(&value);
}

static pg_uuid_t *
UuidMember(JsonbContainer *object, const char *name)
{
	text *value = TextMember(object, name);

	return value ? DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text_to_cstring(value))))
				 : NULL;
}

static void
TakeCall(const JsonbValue *element, bool settles, Call *call)
{
	static const char *const known[] = {"max", "maxBytes", "leaseMs", "member", "request", "settle"};
	JsonbContainer *object = ObjectOf(element, "a call of next");
	int64 lease_ms = NumberMember(object, "leaseMs", -1);

	CheckMembers(object, "a call of next", known, lengthof(known) - !settles);
	call->request.max = CheckMax(NumberMember(object, "max", DEFAULT_CLAIM_MESSAGES));
	call->request.max_bytes = NumberMember(object, "maxBytes", DEFAULT_CLAIM_BYTES);
	call->request.lease_ms = lease_ms == -1 ? 0 : CheckLease(lease_ms);
	call->request.member = TextMember(object, "member");
	call->request.request = UuidMember(object, "request");
	CheckNextRequest(&call->request);
	if (settles)
		TakeSettlements(object, call);
}

static Call *
CallsOf(Jsonb *requests, bool settle, int *ncalls)
{
	Call *calls = palloc0(sizeof(Call) * MAX_CALLS);
	JsonbIterator *iterator = ElementsOf(&requests->root, "requests", MAX_CALLS);
	JsonbValue value;
	JsonbIteratorToken token;

	*ncalls = 0;
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			TakeCall(&value, settle, &calls[(*ncalls)++]);
	return calls;
}

/* ---- settle -------------------------------------------------------------------------------------- */

typedef struct Pending
{
	Settlement *settlement;
	bool *is_lost;
} Pending;

/* Of one claim the settlement that was said first. */
static int
ByClaim(const void *a, const void *b)
{
	const Pending *left = a, *right = b;

	if (left->settlement->claim != right->settlement->claim)
		return left->settlement->claim < right->settlement->claim ? -1 : 1;
	return left->settlement < right->settlement ? -1 : left->settlement > right->settlement;
}

/* By number, so that transactions that settle the same claims do not wait for each other in a circle. */
static void
SettleCalls(OpenConsumer open, Call *calls, int ncalls)
{
	Pending *pending;
	int npending = 0;

	for (int i = 0; i < ncalls; i++)
		npending += calls[i].nsettlements;
	pending = palloc(sizeof(Pending) * Max(npending, 1));
	npending = 0;
	for (int i = 0; i < ncalls; i++)
		for (int j = 0; j < calls[i].nsettlements; j++)
			pending[npending++] = (Pending){&calls[i].settlements[j], &calls[i].is_lost[j]};
	qsort(pending, npending, sizeof(Pending), ByClaim);
	for (int i = 0; i < npending; i++)
		*pending[i].is_lost = !ConsumerTrySettle(open.tables, open.consumer, pending[i].settlement);
}

/* "settled":[17]; returns how many. */
static int
AppendClaims(StringInfo out, const char *name, const Call *call, bool lost)
{
	int count = 0;

	appendStringInfo(out, ",\"%s\":[", name);
	for (int i = 0; i < call->nsettlements; i++)
		if (call->is_lost[i] == lost)
			appendStringInfo(out, count++ > 0 ? "," INT64_FORMAT : INT64_FORMAT, call->settlements[i].claim);
	appendStringInfoChar(out, ']');
	return count;
}

static void
PutSettled(ResultSet *set, const Call *call)
{
	StringInfoData out;
	Datum values[4];
	bool isnull[4] = {false};
	int64 nfailed = 0;

	for (int i = 0; i < call->nsettlements; i++)
		nfailed += call->is_lost[i] ? 0 : call->settlements[i].nfailures;
	TextBegin(&out);
	values[1] = Int64GetDatum(AppendClaims(&out, "settled", call, false));
	values[2] = Int64GetDatum(AppendClaims(&out, "lost", call, true));
	values[0] = PointerGetDatum(TextEnd(&out));
	values[3] = Int64GetDatum(nfailed);
	ResultSetPut(set, values, isnull);
}

/*
 * json_consumer_settle(namespace, consumer, requests) -> for each request of the array, in order, (members of
 * an object that say what came of its `settle`, claims settled, claims lost, messages failed).  The requests
 * are those of json_consumer_next() with what is to be settled, and are checked as there: what can't be asked
 * for is an error before anything is settled.  It does not take the consumer's lock, so that nobody waits
 * for the disk with it
 */
Datum
millrace_json_consumer_settle(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	char *namespace_name = ArgNamespace(fcinfo, 0);
	text *name = ArgName(fcinfo, 1, "consumer");
	int ncalls;
	Call *calls = CallsOf(PG_GETARG_JSONB_P(2), true, &ncalls);
	OpenConsumer open = OpenConsumerOf(namespace_name, name, USE_CLAIM);

	SettleCalls(open, calls, ncalls);
	for (int i = 0; i < ncalls; i++)
		PutSettled(set, &calls[i]);
	CloseConsumer(open);
	return (Datum)0;
}

/*
 * json_consumer_release(namespace, consumer, claim, granted) -> whether it was given back.  For a claim whose
 * client was gone when json_consumer_next() gave it; one that was given again since, as the client has sent
 * its request again, stays the client's
 */
Datum
millrace_json_consumer_release(PG_FUNCTION_ARGS)
{
	OpenConsumer open = OpenConsumerOf(ArgNamespace(fcinfo, 0), ArgName(fcinfo, 1, "consumer"), USE_CLAIM);
	bool released = ConsumerRelease(open.tables, open.consumer, PG_GETARG_INT64(2), PG_GETARG_INT64(3));

	CloseConsumer(open);
	PG_RETURN_BOOL(released);
}

/* ---- next ---------------------------------------------------------------------------------------- */

static void
PutCall(ResultSet *set, ConsumerWork *work, const Call *call, int64 expired)
{
	Delivery delivery;
	StringInfoData out;
	Datum values[5];
	bool isnull[5] = {false};

	ConsumerNext(work, &call->request, &delivery);
	TextBegin(&out);
	AppendDelivery(&out, &delivery);
	values[0] = PointerGetDatum(TextEnd(&out));
	values[1] = Int64GetDatum(delivery.claim);
	isnull[1] = delivery.claim == 0;
	values[2] = Int64GetDatum(delivery.next_due_ms);
	isnull[2] = delivery.next_due_ms < 0;
	values[3] = Int64GetDatum(expired);
	values[4] = Int64GetDatum(delivery.granted);
	ResultSetPut(set, values, isnull);
}

/* What happened since the last time is taken in once for all calls. */
static void
PutCalls(ResultSet *set, OpenConsumer open, const Call *calls, int ncalls)
{
	ConsumerWork *work = ConsumerNextBegin(open.tables, open.consumer);

	for (int i = 0; i < ncalls; i++)
		PutCall(set, work, &calls[i], i == 0 ? work->expired : 0);
	ConsumerNextEnd(work);
}

/*
 * json_consumer_next(namespace, consumer, requests) -> for each request of the array, in order, (members of
 * an object, claim or NULL, next_due_ms or NULL, expired leases, when the claim was granted).  No rows where
 * another transaction has the consumer's lock
 */
Datum
millrace_json_consumer_next(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	char *namespace_name = ArgNamespace(fcinfo, 0);
	text *name = ArgName(fcinfo, 1, "consumer");
	int ncalls;
	Call *calls = CallsOf(PG_GETARG_JSONB_P(2), false, &ncalls);
	OpenConsumer open = OpenConsumerOf(namespace_name, name, USE_CLAIM);
	int64 locked = open.consumer->id;

	if (ConsumerTryLock(open.tables, locked) &&
		(open.consumer = ConsumerOpen(open.tables, name))->id == locked) /* as it is under the lock */
		PutCalls(set, open, calls, ncalls);
	CloseConsumer(open);
	return (Datum)0;
}
