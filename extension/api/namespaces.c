/*
 * namespaces.c: what the SQL functions that list, describe, empty and drop namespaces leave to C: all
 * that looks at a table of messages.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "base/errors.h"
#include "retention/removals.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(millrace_is_messages);
PG_FUNCTION_INFO_V1(millrace_check_messages);
PG_FUNCTION_INFO_V1(millrace_count_messages);
PG_FUNCTION_INFO_V1(millrace_stream_names);
PG_FUNCTION_INFO_V1(millrace_last_activity);
PG_FUNCTION_INFO_V1(millrace_truncate_messages);

extern Datum millrace_is_messages(PG_FUNCTION_ARGS);
extern Datum millrace_check_messages(PG_FUNCTION_ARGS);
extern Datum millrace_count_messages(PG_FUNCTION_ARGS);
extern Datum millrace_stream_names(PG_FUNCTION_ARGS);
extern Datum millrace_last_activity(PG_FUNCTION_ARGS);
extern Datum millrace_truncate_messages(PG_FUNCTION_ARGS);

/* A namespace's schema, which its registry has named a moment ago; MR003 when it is gone. */
static Oid
ArgSchema(FunctionCallInfo fcinfo)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid schema = get_namespace_oid(name, true);

	if (!OidIsValid(schema))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND),
						errmsg("schema \"%s\" does not exist", name)));
	return schema;
}

/* is_messages(relation) -> whether it is a table of messages; nothing that its owner put into it is run. */
Datum
millrace_is_messages(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(StoreHoldsMessages(PG_GETARG_OID(0)));
}

/*
 * check_messages(schema): MR010 unless its relation `messages` is a table of messages; 42501 for a role that
 * may not read it.
 */
Datum
millrace_check_messages(PG_FUNCTION_ARGS)
{
	relation_close(StoreOpenHeap(ArgSchema(fcinfo), AccessShareLock, ACL_SELECT), NoLock);
	PG_RETURN_VOID();
}

/* count_messages(schema) -> how many there are */
Datum
millrace_count_messages(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(StoreCountRows(ArgSchema(fcinfo)));
}

/* The query ends before the walk does. */
static void
EndWalk(Datum walk)
{
	StoreEndWalk((StoreWalk *)DatumGetPointer(walk));
}

static StoreWalk *
BeginNames(FunctionCallInfo fcinfo, FuncCallContext *function)
{
	ReturnSetInfo *info = (ReturnSetInfo *)fcinfo->resultinfo;
	MemoryContext caller = MemoryContextSwitchTo(function->multi_call_memory_ctx);
	StoreWalk *walk = StoreBeginWalk(ArgSchema(fcinfo));

	RegisterExprContextCallback(info->econtext, EndWalk, PointerGetDatum(walk));
	MemoryContextSwitchTo(caller);
	return walk;
}

/* stream_names(schema) -> the stream's name of each message, one by one: a select list keeps none of them */
Datum
millrace_stream_names(PG_FUNCTION_ARGS)
{
	FuncCallContext *function;
	StoreWalk *walk;
	Datum name;
	bool isnull;

	if (SRF_IS_FIRSTCALL())
	{
		function = SRF_FIRSTCALL_INIT();
		function->user_fctx = BeginNames(fcinfo, function);
	}
	function = SRF_PERCALL_SETUP();
	walk = function->user_fctx;
	if (!StoreWalkNext(walk))
	{
		UnregisterExprContextCallback(((ReturnSetInfo *)fcinfo->resultinfo)->econtext, EndWalk,
									  PointerGetDatum(walk));
		StoreEndWalk(walk);
		SRF_RETURN_DONE(function);
	}
	name = PointerGetDatum(DatumGetTextPCopy(slot_getattr(walk->slot, COLUMN_STREAM_NAME, &isnull)));
	SRF_RETURN_NEXT(function, name);
}

/* last_activity(schema) -> the time of the last message; NULL when there is none */
Datum
millrace_last_activity(PG_FUNCTION_ARGS)
{
	Store *store = StoreOpenSchema(ArgSchema(fcinfo), STORE_READ);
	StoreScan *scan;
	Timestamp time = 0;
	bool isnull = true;

	if (!store)
		PG_RETURN_NULL();
	scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, GetActiveSnapshot(), 0);
	StoreRescan(scan, NULL, 0);
	if (StoreScanNext(scan, BackwardScanDirection))
		time = DatumGetTimestamp(slot_getattr(scan->slot, COLUMN_TIME, &isnull));
	StoreEndScan(scan);
	StoreClose(store);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ((TimestampTz)time);
}

/* truncate_messages(schema) -> how many there were */
Datum
millrace_truncate_messages(PG_FUNCTION_ARGS)
{
	Oid schema = ArgSchema(fcinfo);
	int64 count = StoreTruncate(schema);

	RemovalsForget(schema);
	PG_RETURN_INT64(count);
}
