/*
 * removals.c: whether a reader that goes on from a position would miss what was removed, by the snapshot of
 * the statement, which reads with it.
 *
 * A stream loses its first messages, so where it begins says what is gone, and what its floor says when it is
 * gone wholly.  Of a category the rows of millrace.removals say up to which global position some of its
 * messages were removed.  They are numbered: a reader that was told says which number it knows.  Sweeps of
 * servers commit before they are on disk; a crash that undid one would have its number given again, to a
 * removal of which the reader would not be told.  So what it is told of is on disk.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "retention/removals.h"
#include "store/floors.h"

enum /* of millrace.removals */
{
	REMOVALS_ID = 1,
	REMOVALS_NAMESPACE,
	REMOVALS_CATEGORY,
	REMOVALS_FROM,
	REMOVALS_TO
};

static void
Refuse(const char *what, text *name, int64 removed_to, int64 seen)
{
	ereport(ERROR,
			(errcode(ERRCODE_MILLRACE_POSITION_REMOVED),
			 errmsg("messages of %s%s%s%s were removed up to position " INT64_FORMAT, what, name ? " \"" : "",
					name ? text_to_cstring(name) : "", name ? "\"" : "", removed_to),
			 errdetail_internal("{\"removedTo\":" INT64_FORMAT ",\"removalsSeen\":" INT64_FORMAT "}",
								removed_to, seen),
			 errhint("Who goes on all the same says so with removals_seen.")));
}

/*
 * Refuses, MR022, to let a reader go on from a position of a stream, or from a global position (0: none),
 * below what is left of it; but where it was told so, up to position `seen`.
 */
void
RemovalsCheckStream(Store *store, text *stream, int64 position, int64 global_position, int64 seen)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_STREAM, GetActiveSnapshot(), 1);
	int64 removed_to = NO_STREAM;
	ScanKeyData key;
	bool isnull;
	Floor floor;

	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, stream);
	StoreRescan(scan, &key, 1);
	if (!StoreScanNext(scan, ForwardScanDirection))
	{
		if (StoreFindFloor(store, stream, GetActiveSnapshot(), &floor))
			removed_to = floor.version;
	}
	else if (DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull)) > global_position)
		removed_to = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull)) - 1;
	StoreEndScan(scan);
	if (removed_to >= Max(position, 0) && removed_to > seen)
		Refuse("stream", stream, removed_to, removed_to);
}

/* The table; 0 where the extension in the catalogue is 0.1.0. */
static Oid
RemovalsTable(void)
{
	return get_relname_relid("removals", get_namespace_oid("millrace", false));
}

/* The scan of the removals of one category or of all, at or above a global position. */
static SysScanDesc
BeginScan(Relation removals, const char *namespace_name, text *category, int64 position)
{
	Oid index = get_relname_relid(category ? "removals_category" : "removals_position",
								  RelationGetNamespace(removals));
	ScanKeyData keys[3];
	int nkeys = 0;

	ScanKeyInit(&keys[nkeys++], REMOVALS_NAMESPACE, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(namespace_name));
	if (category)
		ScanKeyInit(&keys[nkeys++], REMOVALS_CATEGORY, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(category));
	ScanKeyInit(&keys[nkeys++], REMOVALS_TO, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(position));
	return systable_beginscan(removals, index, OidIsValid(index), GetActiveSnapshot(), nkeys, keys);
}

static Relation
OpenRemovals(void)
{
	return table_open(RemovalsTable(), AccessShareLock);
}

/* Says whether a message of at least this global position was removed. */
bool
RemovalsReach(const char *namespace_name, int64 position)
{
	Relation removals = OpenRemovals();
	SysScanDesc scan = BeginScan(removals, namespace_name, NULL, position);
	bool found = systable_getnext(scan) != NULL;

	systable_endscan(scan);
	table_close(removals, AccessShareLock);
	return found;
}

/*
 * RemovalsCheckStream() for a category, or NULL for all, from a global position; but for the removals up to
 * number `seen`, of which the reader was told.
 */
void
RemovalsCheckCategory(Store *store, const char *namespace_name, text *category, int64 position, int64 seen)
{
	Relation removals = OpenRemovals();
	SysScanDesc scan = BeginScan(removals, namespace_name, category, position);
	int64 removed_to = 0, last = seen;
	HeapTuple row;

	while ((row = systable_getnext(scan)) != NULL)
	{
		bool isnull;
		int64 id = DatumGetInt64(heap_getattr(row, REMOVALS_ID, RelationGetDescr(removals), &isnull));
		int64 to = DatumGetInt64(heap_getattr(row, REMOVALS_TO, RelationGetDescr(removals), &isnull));

		if (id <= seen)
			continue;
		last = Max(last, id);
		removed_to = Max(removed_to, to);
	}
	systable_endscan(scan);
	table_close(removals, AccessShareLock);
	if (last == seen)
		return;
	StoreAwaitDisk();
	Refuse(category ? "category" : "the namespace", category, removed_to, last);
}

/*
 * The highest global position that was removed from a namespace, or `position` if that is higher: who has
 * been there is not above the last message.
 */
int64
RemovalsEnd(const char *namespace_name, int64 position)
{
	Oid table = RemovalsTable();
	Relation removals;
	SysScanDesc scan;
	HeapTuple row;

	if (!OidIsValid(table))
		return position;
	removals = table_open(table, AccessShareLock);
	scan = BeginScan(removals, namespace_name, NULL, position);
	while ((row = systable_getnext(scan)) != NULL)
	{
		bool isnull;

		position =
			Max(position, DatumGetInt64(heap_getattr(row, REMOVALS_TO, RelationGetDescr(removals), &isnull)));
	}
	systable_endscan(scan);
	table_close(removals, AccessShareLock);
	return position;
}

/*
 * Forgets what was removed from the namespace in a schema, whose table is emptied: what comes into it next
 * may have lower positions.  With the rights of the extension's owner.
 */
void
RemovalsForget(Oid schema)
{
	static const char command[] = "DELETE FROM millrace.removals r USING millrace.namespaces n "
								  "WHERE n.schema = $1 AND r.namespace = n.name";
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(get_namespace_name(schema))};
	Oid table = RemovalsTable();
	Relation removals;
	StoreCaller caller;

	if (!OidIsValid(table))
		return;
	removals = table_open(table, RowExclusiveLock);
	caller = StoreBecomeOwner(removals);
	SPI_connect();
	if (SPI_execute_with_args(command, lengthof(types), types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not empty millrace.removals");
	SPI_finish();
	StoreBecomeCaller(caller);
	table_close(removals, NoLock);
}
