/*
 * floors_bulk.c: the floors of all streams, out of a namespace and into one (see floors.c).
 *
 * Here a floor is known by its key alone, so no stream is locked: who brings floors keeps others from
 * writing any until it has committed.
 *
 * The key of zeros, which is no stream's, says that the namespace has lost messages, also where it has kept
 * no floor of them: its last global position is above those that are there then.
 * The empty key says nothing: with it the table is never empty again (StoreRemains()).
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

static bytea *
KeyOfBytes(const char *bytes)
{
	bytea *key = palloc(VARHDRSZ + FLOOR_KEY_LEN);

	SET_VARSIZE(key, VARHDRSZ + FLOOR_KEY_LEN);
	memcpy(VARDATA(key), bytes, FLOOR_KEY_LEN);
	return key;
}

static const char zeros[FLOOR_KEY_LEN];

static bool
IsOfStream(bytea *key)
{
	return VARSIZE_ANY_EXHDR(key) == FLOOR_KEY_LEN && memcmp(VARDATA_ANY(key), zeros, FLOOR_KEY_LEN) != 0;
}

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
		bytea *stream;
		Floor floor;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(floors.table), row.value, row.isnull);
		floor = StoreFloorOfRow(&row);
		stream = DatumGetByteaPP(row.value[FLOOR_STREAM]);
		if (IsOfStream(stream))
			more = sink(arg, stream, &floor, HeapTupleHeaderGetXmin(tuple->t_data));
	}
	systable_endscan_ordered(scan);
	BesideClose(&floors);
}

/* Takes in a floor: one that is there already only rises. */
static void
Merge(Beside *floors, const FloorOfKey *brought)
{
	bytea *key = KeyOfBytes(brought->key);
	Floor floor = brought->floor;
	BesideRow row;

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

/* Notes that messages are gone of which nothing else is kept.  Errors: MR010. */
void
StoreNoteLoss(Store *store)
{
	StoreMarkFloors(store, KeyOfBytes(zeros));
}
