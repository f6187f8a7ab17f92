/*
 * close.c: close_stream(), reopen_stream(): a stream that takes no more messages ends with one of type
 * millrace.closed, until one of type millrace.reopened is behind it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "base/errors.h"
#include "core/append.h"
#include "core/closed.h"
#include "core/version.h"

PG_FUNCTION_INFO_V1(millrace_close_stream);
PG_FUNCTION_INFO_V1(millrace_reopen_stream);

extern Datum millrace_close_stream(PG_FUNCTION_ARGS);
extern Datum millrace_reopen_stream(PG_FUNCTION_ARGS);

typedef struct Place
{
	int64 position;
	int64 global_position;
} Place;

static Datum
PlaceRow(FunctionCallInfo fcinfo, Place place)
{
	Datum values[2] = {Int64GetDatum(place.position), Int64GetDatum(place.global_position)};
	bool isnull[2] = {false, false};

	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}

/* Where the last message of a stream is, whose lock is held, if it is of this type. */
static bool
FindLast(Store *store, text *stream, const char *type, Place *place)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_STREAM, SnapshotSelf, 1);
	ScanKeyData key;
	bool found, isnull;

	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, stream);
	StoreRescan(scan, &key, 1);
	found =
		StoreScanNext(scan, BackwardScanDirection) &&
		strcmp(type, text_to_cstring(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_TYPE, &isnull)))) == 0;
	if (found)
		*place = (Place){
			DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull)),
			DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull)),
		};
	StoreEndScan(scan);
	return found;
}

/*
 * Appends a message of one of the store's own types.  Where that is refused as the stream ends with one
 * already, returns where.
 */
static Place
AppendOwn(const char *namespace_name, Store *store, text *stream, const char *type, int64 expected, int again)
{
	AppendMessage message = {
		.type = cstring_to_text(type),
		.data = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))),
		.id_is_new = true,
	};
	AppendPart part = {.stream = stream, .expected = expected, .messages = &message, .nmessages = 1};
	AppendRequest request = {.namespace_name = namespace_name, .parts = &part, .nparts = 1, .reserved = true};
	Place place;

	GenerateUuidV7(&message.id);
	AppendRequests(&request, 1, APPEND_WAIT);
	if (request.verdict.sqlerrcode == 0)
		return (Place){message.position, message.global_position};
	if (request.verdict.sqlerrcode == ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION)
		VersionRaiseConflict(stream, request.verdict.expected, request.verdict.actual);
	if (request.verdict.sqlerrcode != again || !FindLast(store, stream, type, &place))
		ereport(ERROR, (errcode(request.verdict.sqlerrcode), errmsg("%s", request.verdict.message)));
	StoreFollowEarlierCommits();
	return place;
}

/*
 * close_stream(stream, expected_version, namespace) -> (position, global_position) of the message that closes
 * it; of a stream that is closed already, of the one that did.  Errors: those of an append; MR021 where that
 * message was removed.
 */
Datum
millrace_close_stream(PG_FUNCTION_ARGS)
{
	text *stream = ArgName(fcinfo, 0, "stream");
	int64 expected = ArgInt64(fcinfo, 1, EXPECT_ANY);
	const char *namespace_name = ArgNamespaceOr(fcinfo, 2, SelectedNamespace());
	Store *store;
	Place place;

	if (!PG_ARGISNULL(1))
		CheckExpectedVersion(expected);
	store = StoreOpen(namespace_name, STORE_APPEND);
	place = AppendOwn(namespace_name, store, stream, TYPE_CLOSED, expected, ERRCODE_MILLRACE_STREAM_CLOSED);
	StoreClose(store);
	return PlaceRow(fcinfo, place);
}

/*
 * reopen_stream(stream, namespace) -> (position, global_position) of the message that opens it again, for the
 * owner of the table; of a stream that ends with such a one, of that.  Errors: those of an append, MR009 for
 * a stream that is not closed.
 */
Datum
millrace_reopen_stream(PG_FUNCTION_ARGS)
{
	text *stream = ArgName(fcinfo, 0, "stream");
	const char *namespace_name = ArgNamespaceOr(fcinfo, 1, SelectedNamespace());
	Store *store = StoreOpen(namespace_name, STORE_APPEND);
	Place place;

	if (!has_privs_of_role(GetUserId(), store->heap->rd_rel->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(store->heap));
	place =
		AppendOwn(namespace_name, store, stream, TYPE_REOPENED, EXPECT_ANY, ERRCODE_MILLRACE_OUT_OF_RANGE);
	StoreClose(store);
	return PlaceRow(fcinfo, place);
}
