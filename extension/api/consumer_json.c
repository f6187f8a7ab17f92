/*
 * consumer_json.c: claims as the HTTP side answers them, in finished JSON text.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "api/consumer.h"
#include "json/out.h"

PG_FUNCTION_INFO_V1(millrace_json_consumer_next);

extern Datum millrace_json_consumer_next(PG_FUNCTION_ARGS);

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

/* "claim":18,"leaseMs":30000,"messages":[...] without the braces, so that more can be added */
static void
AppendDelivery(StringInfo out, const Delivery *delivery)
{
	if (delivery->claim != 0)
	{
		appendStringInfo(out, "\"claim\":" INT64_FORMAT ",\"leaseMs\":" INT64_FORMAT, delivery->claim,
						 delivery->lease_ms);
		AppendRetries(out, delivery);
	}
	else
	{
		appendStringInfoString(out, "\"claim\":null");
		if (delivery->next_due_ms >= 0)
			appendStringInfo(out, ",\"nextDueMs\":" INT64_FORMAT, delivery->next_due_ms);
	}
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

/*
 * json_consumer_next(namespace, consumer, max, max_bytes, lease_ms, member, request) -> (body, claim or NULL,
 * next_due_ms or NULL, expired); no body where another transaction has the consumer's lock
 */
Datum
millrace_json_consumer_next(PG_FUNCTION_ARGS)
{
	NextRequest request = {.max = PG_ARGISNULL(2) ? DEFAULT_CLAIM_MESSAGES : PG_GETARG_INT32(2)};
	char *namespace_name = ArgNamespace(fcinfo, 0);
	text *name = ArgName(fcinfo, 1, "consumer");
	OpenConsumer open;
	Delivery delivery = {0};
	StringInfoData out;
	Datum values[4] = {0};
	bool isnull[4] = {true, true, true, false};

	request.max_bytes = PG_ARGISNULL(3) ? DEFAULT_CLAIM_BYTES : PG_GETARG_INT32(3);
	request.lease_ms = PG_ARGISNULL(4) ? 0 : CheckLease(PG_GETARG_INT64(4));
	request.member = ArgTextOrNull(fcinfo, 5);
	request.request = PG_ARGISNULL(6) ? NULL : PG_GETARG_UUID_P(6);
	CheckNextRequest(&request);
	open = OpenConsumerOf(namespace_name, name, USE_CLAIM);
	if (ConsumerTryLock(open.tables, open.consumer->id))
	{
		open.consumer = ConsumerOpen(open.tables, name);
		ConsumerNext(open.tables, open.consumer, &request, &delivery);
		TextBegin(&out);
		AppendDelivery(&out, &delivery);
		values[0] = PointerGetDatum(TextEnd(&out));
		isnull[0] = false;
		values[1] = Int64GetDatum(delivery.claim);
		isnull[1] = delivery.claim == 0;
		values[2] = Int64GetDatum(delivery.next_due_ms);
		isnull[2] = delivery.claim != 0 || delivery.next_due_ms < 0;
	}
	values[3] = Int64GetDatum(delivery.expired);
	CloseConsumer(open);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
