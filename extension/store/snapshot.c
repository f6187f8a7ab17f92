/*
 * snapshot.c: reads of a table that is younger than the statement that reads it.
 *
 * A function opens its table inside of a statement whose snapshot was taken before.  Should the table be
 * written anew in between, it would look empty.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/store.h"

/* Finds the table's file as the snapshot has it; 0 when it has none. */
static Oid
FileNumberBy(Snapshot snapshot, Oid relid)
{
	Relation catalog = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple row;
	Oid number = InvalidOid;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ClassOidIndexId, true, snapshot, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		number = ((Form_pg_class)GETSTRUCT(row))->relfilenode;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return number;
}

/*
 * A transaction that keeps its snapshot, or a query of parallel processes, can't read what is younger: fails
 * if the file was exchanged.
 */
static void
RefuseYounger(Relation heap)
{
	if (FileNumberBy(GetActiveSnapshot(), RelationGetRelid(heap)) != heap->rd_rel->relfilenode)
		ereport(
			ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not read table \"%s\".\"%s\": it was written anew after the snapshot was taken",
					get_namespace_name(RelationGetNamespace(heap)), RelationGetRelationName(heap)),
			 errhint("Repeat the transaction.")));
}

static bool
CanBeYounger(void)
{
	return !IsolationUsesXactSnapshot() && !IsInParallelMode();
}

/*
 * Returns a registered snapshot for a read of the whole table, which was opened in a statement that began
 * before.  Errors: 40001.
 */
Snapshot
StoreWholeSnapshot(Relation heap)
{
	if (CanBeYounger())
		return RegisterSnapshot(GetLatestSnapshot());
	RefuseYounger(heap);
	return RegisterSnapshot(GetActiveSnapshot());
}

/*
 * The statement's snapshot is older than what the table is now.  Where its rows were written anew, by ALTER
 * TABLE or a tool that exchanges the file, every one of them is younger than the snapshot, and the table
 * would look empty.  So the read goes by a snapshot of this moment; where that can't be, in a transaction
 * that keeps one and in a query of parallel processes, which share one, it fails if the file was exchanged.
 */
void
StoreReplaceSnapshot(Store *store)
{
	if (CanBeYounger())
	{
		PushActiveSnapshot(GetLatestSnapshot());
		store->has_snapshot = true;
	}
	else
		RefuseYounger(store->heap);
}

/*
 * The snapshot that StoreOpen pushed, which is no longer active now, for a read that is drawn out; NULL:
 * there is none.
 */
Snapshot
StoreTakeSnapshot(Store *store)
{
	Snapshot snapshot;

	if (!store->has_snapshot)
		return NULL;
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	PopActiveSnapshot();
	store->has_snapshot = false;
	return snapshot;
}
