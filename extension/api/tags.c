/*
 * tags.c: SQL functions about indexes of tags.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "base/errors.h"
#include "store/store.h"
#include "tags/tags.h"

PG_FUNCTION_INFO_V1(millrace_check_tags);
PG_FUNCTION_INFO_V1(millrace_tag_entries);

static void
RefuseNoIndex(Store *store)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
					errmsg("table \"%s\".\"%s\" has no index of tags",
						   get_namespace_name(RelationGetNamespace(store->heap)),
						   RelationGetRelationName(store->heap)),
					errhint("millrace.index_tags() makes one.")));
}

/* Opens an index of tags to be read by a snapshot.  Errors: 55000 where the snapshot is too old for it. */
static Relation
OpenTags(Store *store, Oid oid, Snapshot snapshot)
{
	Relation index = StoreOpenIndex(store, oid, STORE_READ);

	if (!TagsMayRead(index, snapshot))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("index \"%s\" is younger than the transaction's snapshot",
							   RelationGetRelationName(index)),
						errhint("Repeat it in a new transaction.")));
	return index;
}

/* ---- check_tags ---------------------------------------------------------------------------------------- */

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
	Snapshot snapshot = RegisterSnapshot(GetActiveSnapshot());
	Relation index = OpenTags(store, oid, snapshot);
	FaultSink sink = {result, RelationGetRelationName(index)};

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
		RefuseNoIndex(store);
	for (int i = 0; i < lengthof(indexes); i++)
		if (OidIsValid(indexes[i]))
			CheckIndex(store, indexes[i], result);
	StoreClose(store);
	return (Datum)0;
}

/* ---- tag_entries --------------------------------------------------------------------------------------- */

/*
 * tag_entries(hash, position, backwards, max_rows, namespace) -> global position and row of the entries of a
 * hash from a position on, or from it down, whatever has become of their rows.  Errors as of check_tags().
 */
Datum
millrace_tag_entries(PG_FUNCTION_ARGS)
{
	Store *store = StoreOpen(ArgNamespaceOr(fcinfo, 4, SelectedNamespace()), STORE_READ);
	ResultSet *result = ResultSetBegin(fcinfo);
	Oid oid = OidIsValid(store->index[INDEX_TAGS]) ? store->index[INDEX_TAGS] : store->index[INDEX_TAGS_ONLY];
	Relation index;
	TagScan *scan;

	if (!OidIsValid(oid))
		RefuseNoIndex(store);
	index = OpenTags(store, oid, GetActiveSnapshot());
	scan = TagsBegin(store->heap, index, GetActiveSnapshot());
	TagsSeek(scan, PG_GETARG_INT64(0), PG_GETARG_INT64(1),
			 PG_GETARG_BOOL(2) ? BackwardScanDirection : ForwardScanDirection);
	for (int64 left = PG_GETARG_INT64(3); left > 0 && TagsNext(scan); left--)
	{
		Datum values[] = {Int64GetDatum(scan->position), PointerGetDatum(&scan->tid)};
		bool isnull[] = {false, false};

		CHECK_FOR_INTERRUPTS();
		ResultSetPut(result, values, isnull);
	}
	TagsEnd(scan);
	index_close(index, NoLock);
	StoreClose(store);
	return (Datum)0;
}
