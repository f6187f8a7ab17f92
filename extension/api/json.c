/*
 * json.c: the json_* functions that the HTTP side calls: finished JSON text, made in the server.
 *
 * A long answer is made in pages of about max_bytes, each its own statement, each continuing after the last.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "api/api.h"
#include "api/read.h"
#include "json/out.h"
#include "core/read.h"

PG_FUNCTION_INFO_V1(millrace_json_read_stream);
PG_FUNCTION_INFO_V1(millrace_json_read_category);
PG_FUNCTION_INFO_V1(millrace_json_last_message);
PG_FUNCTION_INFO_V1(millrace_json_get_message);
PG_FUNCTION_INFO_V1(millrace_json_stream_version);
PG_FUNCTION_INFO_V1(millrace_json_list_streams);
PG_FUNCTION_INFO_V1(millrace_json_time);

extern Datum millrace_json_read_stream(PG_FUNCTION_ARGS);
extern Datum millrace_json_read_category(PG_FUNCTION_ARGS);
extern Datum millrace_json_last_message(PG_FUNCTION_ARGS);
extern Datum millrace_json_get_message(PG_FUNCTION_ARGS);
extern Datum millrace_json_stream_version(PG_FUNCTION_ARGS);
extern Datum millrace_json_list_streams(PG_FUNCTION_ARGS);
extern Datum millrace_json_time(PG_FUNCTION_ARGS);

/* A page being written. */
typedef struct JsonPage
{
	StringInfo text;
	int start; /* of it in the text */
	int max_bytes;
	bool with_stream;
	bool by_position; /* else by global position */
	bool full;
	int64 last; /* of the last message */
} JsonPage;

/* Sink: writes the message; says stop when the page is full. */
static bool
WriteMessage(void *arg, const Message *message)
{
	JsonPage *page = arg;

	if (page->text->len > page->start)
		appendStringInfoCharMacro(page->text, ',');
	JsonAppendMessage(page->text, message, page->with_stream);
	page->last = page->by_position ? message->position : message->global_position;
	page->full = page->text->len - page->start >= page->max_bytes;
	return !page->full;
}

/* ---- pages -------------------------------------------------------------------------------------------- */

/* The result row is (body, count, next_position or NULL). */
#define PAGE_TYPES                                                                                           \
	{                                                                                                        \
		TEXTOID, INT8OID, INT8OID                                                                            \
	}
#define PAGE_COLUMNS 3

/* Reads a page to the end of the text, and sets the columns behind the body. */
static void
ReadPage(FunctionCallInfo fcinfo, const ReadRequest *request, int max_bytes_arg, StringInfo text_form,
		 Datum *values, bool *isnull)
{
	JsonPage page = {.text = text_form,
					 .start = text_form->len,
					 .with_stream = request->kind != READ_STREAM,
					 .by_position = request->kind == READ_STREAM};
	char *namespace_name = ArgNamespace(fcinfo, 0);
	Store *store;
	int64 count;

	CheckNotNull(PG_ARGISNULL(max_bytes_arg), "max_bytes");
	page.max_bytes = PG_GETARG_INT32(max_bytes_arg);
	store = StoreOpen(namespace_name, STORE_READ);
	count = ReadMessages(store, request, WriteMessage, &page).count;
	StoreClose(store);
	values[1] = Int64GetDatum(count);
	values[2] = Int64GetDatum(request->backward ? page.last - 1 : PositionBehind(page.last));
	isnull[2] = !page.full || count == request->limit ||
				(request->backward ? page.last <= (page.by_position ? 0 : 1) : page.last == PG_INT64_MAX);
}

static Datum
PageFunctionCall(const MessageFunction *function, FunctionCallInfo fcinfo)
{
	Datum values[PAGE_COLUMNS];
	bool isnull[PAGE_COLUMNS];

	PageFunctionRow(function, fcinfo, values, isnull);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}

static void
WriteStreamPage(FunctionCallInfo fcinfo, StringInfo text_form, Datum *values, bool *isnull)
{
	ReadRequest request = {.kind = READ_STREAM};

	ArgDirection(fcinfo, 7, &request);
	request.name = ArgName(fcinfo, 1, "stream");
	request.position = ArgPosition(fcinfo, 2, &request);
	request.global_position = ArgInt64(fcinfo, 3, request.global_position);
	request.limit = ArgBatchSize(fcinfo, 4);
	ArgTypes(fcinfo, 5, &request);
	ReadPage(fcinfo, &request, 6, text_form, values, isnull);
}

static const MessageFunction read_stream = {
	.address = millrace_json_read_stream,
	.page = WriteStreamPage,
	.types = PAGE_TYPES,
	.limit_argument = -1,
	.other_argument = -1,
};

/*
 * json_read_stream(namespace, stream, position, global_position, batch_size, types, max_bytes, direction);
 * backward the two positions are the highest wanted
 */
Datum
millrace_json_read_stream(PG_FUNCTION_ARGS)
{
	return PageFunctionCall(&read_stream, fcinfo);
}

static void
WriteCategoryPage(FunctionCallInfo fcinfo, StringInfo text_form, Datum *values, bool *isnull)
{
	ReadRequest request = {.kind = READ_CATEGORY};

	CheckNotNull(PG_ARGISNULL(1), "category");
	request.name = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(request.name) == 0)
		request.kind = READ_ALL;
	ArgDirection(fcinfo, 9, &request);
	request.position = ArgPosition(fcinfo, 2, &request);
	request.limit = ArgBatchSize(fcinfo, 3);
	request.correlation = ArgTextOrNull(fcinfo, 4);
	ArgConsumerGroup(fcinfo, 5, 6, &request);
	ArgTypes(fcinfo, 7, &request);
	ReadPage(fcinfo, &request, 8, text_form, values, isnull);
}

static const MessageFunction read_category = {
	.address = millrace_json_read_category,
	.page = WriteCategoryPage,
	.types = PAGE_TYPES,
	.limit_argument = -1,
	.other_argument = -1,
};

/*
 * json_read_category(namespace, category, position, batch_size, correlation, member, size, types, max_bytes,
 * direction); the category '' is all messages, as over HTTP.
 */
Datum
millrace_json_read_category(PG_FUNCTION_ARGS)
{
	return PageFunctionCall(&read_category, fcinfo);
}

const MessageFunction *const page_functions[] = {&read_stream, &read_category, NULL};

/* ---- single messages, streams, times ------------------------------------------------------------------ */

/* json_last_message(namespace, stream, type) -> a message or null */
Datum
millrace_json_last_message(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	JsonPage page = {.text = &out, .start = VARHDRSZ, .max_bytes = PG_INT32_MAX};
	char *namespace_name = ArgNamespace(fcinfo, 0);
	text *stream = ArgName(fcinfo, 1, "stream");
	Store *store = StoreOpen(namespace_name, STORE_READ);

	TextBegin(&out);
	if (!ReadLastMessage(store, stream, ArgTextOrNull(fcinfo, 2), WriteMessage, &page))
		appendStringInfoString(&out, "null");
	StoreClose(store);
	PG_RETURN_TEXT_P(TextEnd(&out));
}

/* json_get_message(namespace, id) -> a message with its stream, or null */
Datum
millrace_json_get_message(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	JsonPage page = {.text = &out, .start = VARHDRSZ, .max_bytes = PG_INT32_MAX, .with_stream = true};
	char *namespace_name = ArgNamespace(fcinfo, 0);
	Store *store;

	CheckNotNull(PG_ARGISNULL(1), "id");
	store = StoreOpen(namespace_name, STORE_READ);
	TextBegin(&out);
	if (!ReadMessageById(store, PG_GETARG_UUID_P(1), WriteMessage, &page))
		appendStringInfoString(&out, "null");
	StoreClose(store);
	PG_RETURN_TEXT_P(TextEnd(&out));
}

/* json_stream_version(namespace, stream) -> a position or null */
Datum
millrace_json_stream_version(PG_FUNCTION_ARGS)
{
	char *namespace_name = ArgNamespace(fcinfo, 0);
	text *stream = ArgName(fcinfo, 1, "stream");
	Store *store = StoreOpen(namespace_name, STORE_READ);
	int64 version = ReadStreamVersion(store, stream);

	StoreClose(store);
	PG_RETURN_TEXT_P(cstring_to_text(version <= NO_STREAM ? "null" : psprintf(INT64_FORMAT, version)));
}

static void
WriteStream(void *arg, text *stream, int64 version, Timestamp last_activity)
{
	StringInfo out = arg;

	appendStringInfoString(out, out->len > VARHDRSZ + 1 ? ",{\"stream\":" : "{\"stream\":");
	JsonAppendString(out, SliceOfText(stream));
	appendStringInfo(out, ",\"version\":" INT64_FORMAT ",\"lastActivity\":", version);
	JsonAppendTime(out, last_activity);
	appendStringInfoChar(out, '}');
}

/* json_list_streams(namespace, prefix, max_rows, after) -> [{"stream","version","lastActivity"}...] */
Datum
millrace_json_list_streams(PG_FUNCTION_ARGS)
{
	char *namespace_name = ArgNamespace(fcinfo, 0);
	Store *store = StoreOpen(namespace_name, STORE_READ);
	StringInfoData out;

	TextBegin(&out);
	appendStringInfoChar(&out, '[');
	ReadStreamNames(store, ArgPrefix(fcinfo, 1), ArgTextOrNull(fcinfo, 3), ArgMaxRows(fcinfo, 2), WriteStream,
					&out);
	appendStringInfoChar(&out, ']');
	StoreClose(store);
	PG_RETURN_TEXT_P(TextEnd(&out));
}

/* json_time(timestamptz) -> the time as the HTTP side writes it, without quotes */
Datum
millrace_json_time(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	initStringInfo(&out);
	JsonAppendTime(&out, (Timestamp)PG_GETARG_TIMESTAMPTZ(0));
	if (out.data[0] != '"')
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data + 1, out.len - 2));
}
