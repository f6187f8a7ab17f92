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
	const Timestamp *before; /* ends the export; NULL: nothing does */
	bool ended;				 /* it has */
} ExportPage;

/* Appends the line of a message, its end included; removing what was archived compares it (api/archive.c). */
void
ExportAppendLine(StringInfo out, const Message *message)
{
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
}

static bool
WriteLine(void *arg, const Message *message)
{
	ExportPage *page = arg;

	page->ended = page->before && message->time >= *page->before;
	if (page->ended)
		return false;
	ExportAppendLine(&page->text, message);
	return page->text.len < page->max_bytes;
}

/*
 * json_export(namespace, position, categories, since, until, max_bytes, query, before) -> (body, count,
 * next_position or NULL, last_position or NULL)
 *
 * last_position is that of the last message that was looked at, whether it is in the page or not.
 */
Datum
millrace_json_export(PG_FUNCTION_ARGS)
{
	ReadRequest request = {.kind = READ_ALL, .limit = NO_LIMIT};
	ExportPage page = {0};
	Timestamp since = PG_ARGISNULL(3) ? 0 : PG_GETARG_TIMESTAMP(3);
	Timestamp until = PG_ARGISNULL(4) ? 0 : PG_GETARG_TIMESTAMP(4);
	Timestamp before = PG_ARGISNULL(7) ? 0 : PG_GETARG_TIMESTAMP(7);
	ReadOutcome outcome;
	Store *store;
	Datum values[4];
	bool isnull[4] = {false};

	request.position = ArgInt64(fcinfo, 1, 1);
	request.query = ArgQueryOrNull(fcinfo, 6);
	if (request.query)
		request.kind = READ_QUERY;
	ArgTexts(fcinfo, 2, "categories", &request.categories, &request.ncategories);
	request.since = PG_ARGISNULL(3) ? NULL : &since;
	request.until = PG_ARGISNULL(4) ? NULL : &until;
	CheckNotNull(PG_ARGISNULL(5), "max_bytes");
	page.max_bytes = PG_GETARG_INT32(5);
	page.before = PG_ARGISNULL(7) ? NULL : &before;
	TextBegin(&page.text);
	store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	outcome = ReadMessages(store, &request, WriteLine, &page);
	StoreClose(store);
	values[0] = PointerGetDatum(TextEnd(&page.text));
	values[1] = Int64GetDatum(outcome.count - page.ended);
	values[2] = Int64GetDatum(PositionBehind(outcome.last_global_position));
	isnull[2] = outcome.end != READ_STOPPED || page.ended || outcome.last_global_position == LAST_POSITION;
	values[3] = Int64GetDatum(outcome.last_global_position);
	isnull[3] = outcome.last_global_position == 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
