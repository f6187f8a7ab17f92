/*
 * export.c: json_export(): a namespace as NDJSON, one object a line, in pages.
 *
 *     {"id":..,"stream":..,"type":..,"pos":..,"gpos":..,"data":..,"meta":..,"time":..}
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"

#include "api/api.h"
#include "api/read.h"
#include "json/out.h"
#include "core/read.h"

PG_FUNCTION_INFO_V1(millrace_json_export);

extern Datum millrace_json_export(PG_FUNCTION_ARGS);

typedef struct ExportPage
{
	StringInfoData text;
	int max_bytes;
} ExportPage;

static bool
WriteLine(void *arg, const Message *message)
{
	ExportPage *page = arg;
	StringInfo out = &page->text;

	appendStringInfoString(out, "{\"id\":");
	JsonAppendUuid(out, message->id);
	appendStringInfoString(out, ",\"stream\":");
	JsonAppendString(out, message->stream);
	appendStringInfoString(out, ",\"type\":");
	JsonAppendString(out, message->type);
	appendStringInfoString(out, ",\"pos\":");
	JsonAppendInt64(out, message->position);
	appendStringInfoString(out, ",\"gpos\":");
	JsonAppendInt64(out, message->global_position);
	appendStringInfoString(out, ",\"data\":");
	JsonAppendJsonb(out, message->data);
	appendStringInfoString(out, ",\"meta\":");
	JsonAppendJsonb(out, message->metadata);
	appendStringInfoString(out, ",\"time\":");
	JsonAppendTime(out, message->time);
	appendBinaryStringInfo(out, "}\n", 2);
	return out->len < page->max_bytes;
}

/*
 * json_export(namespace, position, categories, since, until, max_bytes, query) -> (body, count, next_position
 * or NULL)
 */
Datum
millrace_json_export(PG_FUNCTION_ARGS)
{
	ReadRequest request = {.kind = READ_ALL, .limit = NO_LIMIT};
	ExportPage page;
	Timestamp since = PG_ARGISNULL(3) ? 0 : PG_GETARG_TIMESTAMP(3);
	Timestamp until = PG_ARGISNULL(4) ? 0 : PG_GETARG_TIMESTAMP(4);
	ReadOutcome outcome;
	Store *store;
	Datum values[3];
	bool isnull[3] = {false};

	request.position = ArgInt64(fcinfo, 1, 1);
	request.query = ArgQueryOrNull(fcinfo, 6);
	if (request.query)
		request.kind = READ_QUERY;
	ArgTexts(fcinfo, 2, "categories", &request.categories, &request.ncategories);
	request.since = PG_ARGISNULL(3) ? NULL : &since;
	request.until = PG_ARGISNULL(4) ? NULL : &until;
	CheckNotNull(PG_ARGISNULL(5), "max_bytes");
	page.max_bytes = PG_GETARG_INT32(5);
	TextBegin(&page.text);
	store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	outcome = ReadMessages(store, &request, WriteLine, &page);
	StoreClose(store);
	values[0] = PointerGetDatum(TextEnd(&page.text));
	values[1] = Int64GetDatum(outcome.count);
	values[2] = Int64GetDatum(PositionBehind(outcome.last_global_position));
	isnull[2] = outcome.end != READ_STOPPED || outcome.last_global_position == LAST_POSITION;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
