/*
 * append.c: append(), append_messages(), append_streams(): a refused verdict is an error.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "api/api.h"
#include "core/append.h"
#include "base/errors.h"

PG_FUNCTION_INFO_V1(millrace_append);
PG_FUNCTION_INFO_V1(millrace_append_messages);
PG_FUNCTION_INFO_V1(millrace_append_streams);

extern Datum millrace_append(PG_FUNCTION_ARGS);
extern Datum millrace_append_messages(PG_FUNCTION_ARGS);
extern Datum millrace_append_streams(PG_FUNCTION_ARGS);

/* Attributes of the composite types new_message and stream_append. */
enum
{
	MESSAGE_TYPE,
	MESSAGE_DATA,
	MESSAGE_METADATA,
	MESSAGE_ID,
	MESSAGE_ATTRIBUTES
};
enum
{
	APPEND_STREAM,
	APPEND_MESSAGES,
	APPEND_EXPECTED_VERSION,
	APPEND_ATTRIBUTES
};

static const Oid message_types[MESSAGE_ATTRIBUTES] = {TEXTOID, JSONBOID, JSONBOID, UUIDOID};
static const Oid append_types[APPEND_ATTRIBUTES] = {TEXTOID, InvalidOid /* CheckMessagesType() */, INT8OID};

/* The condition of an append, if it has that argument. */
static void
ArgCondition(FunctionCallInfo fcinfo, int arg, AppendRequest *request)
{
	if (arg < PG_NARGS() && !PG_ARGISNULL(arg)) /* functions of 0.1.0 have none */
		request->conditions = ConditionsRead(PG_GETARG_JSONB_P(arg), "condition", &request->nconditions);
}

/* Raises what a condition met; where the message is, is in the detail. */
static void
RaiseMatch(const AppendVerdict *verdict)
{
	ereport(ERROR,
			(errcode(verdict->sqlerrcode), errmsg("%s", verdict->message),
			 errdetail("The message is at global position " INT64_FORMAT ".", verdict->actual),
			 errhint("Read again by the query, decide anew, and append after the head of that read.")));
}

/* Runs one request; a refusal becomes an error.  The condition is the function's argument `condition`. */
static void
AppendOrRaise(FunctionCallInfo fcinfo, int condition, const char *namespace_name, AppendPart *parts,
			  int nparts)
{
	AppendRequest request = {.namespace_name = namespace_name, .parts = parts, .nparts = nparts};

	ArgCondition(fcinfo, condition, &request);
	AppendRequests(&request, 1, APPEND_WAIT);
	if (request.verdict.sqlerrcode == ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND)
		(void)StoreOpen(namespace_name, STORE_APPEND); /* raises the same, with its hint */
	if (request.verdict.sqlerrcode == ERRCODE_MILLRACE_APPEND_CONDITION_FAILED)
		RaiseMatch(&request.verdict);
	if (request.verdict.sqlerrcode != 0)
		ereport(ERROR, (errcode(request.verdict.sqlerrcode), errmsg("%s", request.verdict.message)));
}

static void
SetExpectedVersion(AppendPart *part, bool isnull, Datum value)
{
	part->expected = isnull ? EXPECT_ANY : DatumGetInt64(value);
	if (!isnull)
		CheckExpectedVersion(part->expected);
}

/* Fills in a message from its four values: type, data, metadata, id. */
static void
SetMessage(AppendMessage *message, Datum *values, bool *isnull)
{
	memset(message, 0, sizeof(AppendMessage));
	CheckNotNull(isnull[MESSAGE_TYPE], "type");
	CheckNotNull(isnull[MESSAGE_DATA], "data");
	message->type = DatumGetTextPP(values[MESSAGE_TYPE]);
	CheckName(message->type, "type");
	message->data = DatumGetJsonbP(values[MESSAGE_DATA]);
	CheckObject(message->data, "data");
	if (!isnull[MESSAGE_METADATA])
	{
		message->metadata = DatumGetJsonbP(values[MESSAGE_METADATA]);
		CheckObject(message->metadata, "metadata");
	}
	message->id_is_new = isnull[MESSAGE_ID];
	if (message->id_is_new)
		GenerateUuidV7(&message->id);
	else
		message->id = *DatumGetUUIDP(values[MESSAGE_ID]);
}

/* Takes an array of composites apart; none may be NULL. */
static HeapTupleHeader *
ArrayRows(Datum array_datum, const char *what, int *nrows)
{
	ArrayType *array = DatumGetArrayTypeP(array_datum);
	HeapTupleHeader *rows;
	Datum *elements;
	bool *isnull;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elements, &isnull, nrows);
	if (*nrows == 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE), errmsg("%s must not be empty", what)));
	rows = palloc(sizeof(HeapTupleHeader) * *nrows);
	for (int i = 0; i < *nrows; i++)
	{
		CheckNotNull(isnull[i], psprintf("%s[%d]", what, i + 1));
		rows[i] = DatumGetHeapTupleHeader(elements[i]);
	}
	return rows;
}

static void
DeformRow(HeapTupleHeader row, TupleDesc desc, Datum *values, bool *isnull)
{
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};

	heap_deform_tuple(&tuple, desc, values, isnull);
}

/* The rows' descriptor, which is refused where ALTER TYPE has made another of the type. */
static TupleDesc
RowDesc(HeapTupleHeader row, const Oid *types, int ntypes)
{
	TupleDesc desc =
		lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));

	CheckRowType(desc, types, ntypes);
	return desc;
}

/* Fills in a part's messages from an array of new_message. */
static void
SetMessages(AppendPart *part, Datum array)
{
	HeapTupleHeader *rows = ArrayRows(array, "messages", &part->nmessages);
	TupleDesc desc = RowDesc(rows[0], message_types, MESSAGE_ATTRIBUTES);
	Datum *values = palloc(sizeof(Datum) * desc->natts);
	bool *isnull = palloc(sizeof(bool) * desc->natts);

	part->messages = palloc(sizeof(AppendMessage) * part->nmessages);
	for (int i = 0; i < part->nmessages; i++)
	{
		DeformRow(rows[i], desc, values, isnull);
		SetMessage(&part->messages[i], values, isnull);
	}
}

/* The part's result: the positions of its first and last messages. */
static void
PartPositions(AppendPart *part, Datum *values)
{
	AppendMessage *first = &part->messages[0];
	AppendMessage *last = &part->messages[part->nmessages - 1];

	values[0] = Int64GetDatum(first->position);
	values[1] = Int64GetDatum(last->position);
	values[2] = Int64GetDatum(first->global_position);
	values[3] = Int64GetDatum(last->global_position);
}

/*
 * append(stream, type, data, metadata, expected_version, id, namespace, condition) -> (position,
 * global_position)
 */
Datum
millrace_append(PG_FUNCTION_ARGS)
{
	AppendMessage message;
	AppendPart part = {.messages = &message, .nmessages = 1};
	Datum values[MESSAGE_ATTRIBUTES] = {PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3),
										PG_GETARG_DATUM(5)};
	bool isnull[MESSAGE_ATTRIBUTES] = {PG_ARGISNULL(1), PG_ARGISNULL(2), PG_ARGISNULL(3), PG_ARGISNULL(5)};
	Datum result[2];
	bool result_isnull[2] = {false, false};

	part.stream = ArgName(fcinfo, 0, "stream");
	SetMessage(&message, values, isnull);
	SetExpectedVersion(&part, PG_ARGISNULL(4), PG_GETARG_DATUM(4));
	AppendOrRaise(fcinfo, 7, ArgNamespaceOr(fcinfo, 6, SelectedNamespace()), &part, 1);
	result[0] = Int64GetDatum(message.position);
	result[1] = Int64GetDatum(message.global_position);
	PG_RETURN_DATUM(
		HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), result, result_isnull)));
}

/*
 * append_messages(stream, messages new_message[], expected_version, namespace, condition) -> positions of
 * the first and the last
 */
Datum
millrace_append_messages(PG_FUNCTION_ARGS)
{
	AppendPart part = {0};
	Datum result[4];
	bool result_isnull[4] = {false};

	part.stream = ArgName(fcinfo, 0, "stream");
	CheckNotNull(PG_ARGISNULL(1), "messages");
	SetMessages(&part, PG_GETARG_DATUM(1));
	SetExpectedVersion(&part, PG_ARGISNULL(2), PG_GETARG_DATUM(2));
	AppendOrRaise(fcinfo, 4, ArgNamespaceOr(fcinfo, 3, SelectedNamespace()), &part, 1);
	PartPositions(&part, result);
	PG_RETURN_DATUM(
		HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), result, result_isnull)));
}

static void
SetPart(AppendPart *part, HeapTupleHeader row, TupleDesc desc)
{
	Datum *values = palloc(sizeof(Datum) * desc->natts);
	bool *isnull = palloc(sizeof(bool) * desc->natts);

	DeformRow(row, desc, values, isnull);
	CheckNotNull(isnull[APPEND_STREAM], "stream");
	CheckNotNull(isnull[APPEND_MESSAGES], "messages");
	part->stream = DatumGetTextPP(values[APPEND_STREAM]);
	CheckName(part->stream, "stream");
	SetMessages(part, values[APPEND_MESSAGES]);
	SetExpectedVersion(part, isnull[APPEND_EXPECTED_VERSION], values[APPEND_EXPECTED_VERSION]);
}

/*
 * The messages of a stream_append must still be an array of rows, whose own type is looked at when they are
 * taken apart.
 */
static void
CheckMessagesType(TupleDesc desc)
{
	Oid type = TupleDescAttr(desc, APPEND_MESSAGES)->atttypid;
	Oid element = get_element_type(type);

	if (!OidIsValid(element) || !type_is_rowtype(element))
		RefuseRowType(desc, psprintf("Its attribute \"messages\" is of type %s.", format_type_be(type)));
}

/*
 * append_streams(appends stream_append[], namespace, condition) -> one row a part: stream and the positions
 * of its first and last message
 */
Datum
millrace_append_streams(PG_FUNCTION_ARGS)
{
	ResultSet *set = ResultSetBegin(fcinfo);
	HeapTupleHeader *rows;
	AppendPart *parts;
	TupleDesc desc;
	int nparts;

	CheckNotNull(PG_ARGISNULL(0), "appends");
	rows = ArrayRows(PG_GETARG_DATUM(0), "appends", &nparts);
	parts = palloc0(sizeof(AppendPart) * nparts);
	desc = RowDesc(rows[0], append_types, APPEND_ATTRIBUTES);
	CheckMessagesType(desc);
	for (int i = 0; i < nparts; i++)
		SetPart(&parts[i], rows[i], desc);
	AppendOrRaise(fcinfo, 2, ArgNamespaceOr(fcinfo, 1, SelectedNamespace()), parts, nparts);
	for (int i = 0; i < nparts; i++)
	{
		Datum values[5];
		bool isnull[5] = {false};

		values[0] = PointerGetDatum(parts[i].stream);
		PartPositions(&parts[i], values + 1);
		ResultSetPut(set, values, isnull);
	}
	return (Datum)0;
}
