/*
 * tags.c: SQL functions about indexes of tags.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "base/errors.h"
#include "store/store.h"
#include "tags/tags.h"

PG_FUNCTION_INFO_V1(millrace_check_tags);

typedef struct FaultSink
{
	ResultSet *result;
	char *index;
} FaultSink;

static void
PutFault(void *sink, TagsFault fault, int64 hash, int64 position)
{
	FaultSink *faults = sink;
	Datum values[4];
	bool isnull[4] = {false};

	values[0] = CStringGetTextDatum(faults->index);
	values[1] = CStringGetTextDatum(fault == TAGS_MISSING ? "missing" : "superfluous");
	values[2] = Int64GetDatum(hash);
	values[3] = Int64GetDatum(position);
	ResultSetPut(faults->result, values, isnull);
	pfree(DatumGetPointer(values[0]));
	pfree(DatumGetPointer(values[1]));
}

static void
CheckIndex(Store *store, Oid oid, ResultSet *result)
{
	Relation index = StoreOpenIndex(store, oid, STORE_READ);
	Snapshot snapshot = RegisterSnapshot(GetActiveSnapshot());
	FaultSink sink = {result, pstrdup(RelationGetRelationName(index))};

	if (!TagsMayRead(index, snapshot))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("index \"%s\" is younger than the transaction's snapshot", sink.index),
						errhint("Repeat it in a new transaction.")));
	TagsCompare(store->heap, index, snapshot, PutFault, &sink);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
}

/*
 * check_tags(namespace) -> a row for each entry that an index of tags lacks or has for nothing: index, fault,
 * hash, global position.  Errors: MR010 where there is no such index; 55000.
 */
Datum
millrace_check_tags(PG_FUNCTION_ARGS)
{
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 0, SelectedNamespace()), STORE_READ);
	ResultSet *result = ResultSetBegin(fcinfo);
	Oid indexes[] = {store->index[INDEX_TAGS], store->index[INDEX_TAGS_ONLY]};

	if (!OidIsValid(indexes[0]) && !OidIsValid(indexes[1]))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("table \"%s\".\"%s\" has no index of tags",
							   get_namespace_name(RelationGetNamespace(store->heap)),
							   RelationGetRelationName(store->heap)),
						errhint("millrace.index_tags() makes one.")));
	for (int i = 0; i < lengthof(indexes); i++)
		if (OidIsValid(indexes[i]))
			CheckIndex(store, indexes[i], result);
	StoreClose(store);
	return (Datum)0;
}
