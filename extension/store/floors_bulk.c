/*
 * floors_bulk.c: the floors of all streams, out of a namespace and into one (see floors.c).
 *
 * Here a floor is known by its key alone, so no stream is locked: who brings floors keeps others from
 * writing any until it has committed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "store/floors.h"

/*
 * Hands floors to a sink, by the order of their keys, those behind a key; NULL: all.  Of each the transaction
 * that wrote it is told, too.
 */
void
StoreReadFloors(Store *store, bytea *after, FloorSink sink, void *arg)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Beside floors;
	bool more = true;

	if (!StoreRemains(store).floors || !StoreOpenFloors(&floors, store, AccessShareLock))
		return;
	if (after)
		ScanKeyInit(&key, FLOOR_STREAM + 1, BTGreaterStrategyNumber, F_BYTEAGT, PointerGetDatum(after));
	scan = systable_beginscan_ordered(floors.table, floors.key, GetActiveSnapshot(), after ? 1 : 0, &key);
	while (more && (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		BesideRow row;
		Floor floor;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(floors.table), row.value, row.isnull);
		floor = StoreFloorOfRow(&row);
		more = sink(arg, DatumGetByteaPP(row.value[FLOOR_STREAM]), &floor,
					HeapTupleHeaderGetXmin(tuple->t_data));
	}
	systable_endscan_ordered(scan);
	BesideClose(&floors);
}

/* Takes in a floor: one that is there already only rises. */
static void
Merge(Beside *floors, const FloorOfKey *brought)
{
	bytea *key = palloc(VARHDRSZ + FLOOR_KEY_LEN);
	Floor floor = brought->floor;
	BesideRow row;

	SET_VARSIZE(key, VARHDRSZ + FLOOR_KEY_LEN);
	memcpy(VARDATA(key), brought->key, FLOOR_KEY_LEN);
	if (!StoreFindFloorRow(floors, key, SnapshotSelf, &row))
	{
		StoreFloorToRow(&row, key, &floor);
		BesideInsert(floors, &row);
		return;
	}
	if (StoreFloorOfRow(&row).version > floor.version)
		floor = StoreFloorOfRow(&row);
	floor.restored |= brought->floor.restored || StoreFloorOfRow(&row).restored;
	StoreFloorToRow(&row, key, &floor);
	BesideUpdate(floors, &row);
}

/* Takes in floors, of which the same may come more than once.  Errors: MR010. */
void
StoreBringFloors(Store *store, const FloorOfKey *floors, int nfloors)
{
	Beside beside;

	if (!StoreOpenFloors(&beside, store, ShareRowExclusiveLock))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table \"stream_floors\" is gone")));
	for (int i = 0; i < nfloors; i++)
	{
		Merge(&beside, &floors[i]);
		CommandCounterIncrement();
	}
	BesideClose(&beside);
	CacheInvalidateRelcache(store->heap);
	CommandCounterIncrement();
}
