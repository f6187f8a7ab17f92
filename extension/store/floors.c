/*
 * floors.c: what is left of messages that were removed, in two tables beside them.
 *
 *   stream_floors  what the version of a stream may not fall below, by the first 16 bytes of the SHA-256 of
 *                  its name: no version is used twice.  Of each stream that has lost its last message.
 *   removed_ids    ids that were removed by hand, for a day, so that a late retry stores none of them again
 *
 * They belong to the owner of the messages.  Whoever may append or remove reads and writes them here, without
 * a right of his own on them.
 *
 * A stream's floor is written and read under the stream's lock, like its version.  Whether a table has any
 * row of a kind is kept with what a session knows of the messages: the first such row invalidates that, at
 * the commit of its transaction and before the stream locks are free.  One that is not the first does not,
 * and the others may go meanwhile; so a table, once it has had a row, always has one: that of floors as one
 * of no stream is put in before the first one goes, that of ids as those that are old go with who puts in
 * others.  Who looks sees it so by one snapshot, of now, and waits until the writer of the row that it finds
 * has told the others: what is committed can be seen a moment before.  So who has a stream's lock and has
 * then accepted invalidations knows of what was done under it before; a namespace that has lost nothing pays
 * for a look at a flag.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/beside.h"
#include "store/cache.h"

enum /* of removed_ids */
{
	REMOVED_ID,
	REMOVED_AT,
	REMOVED_COLUMNS
};

static const BesideColumn floors_columns[FLOOR_COLUMNS] = {
	{"stream", BYTEAOID}, {"version", INT8OID}, {"closed", BOOLOID}, {"restored", BOOLOID}};
static const BesideColumn removed_columns[REMOVED_COLUMNS] = {{"id", UUIDOID},
															  {"removed_at", TIMESTAMPTZOID}};

static const BesideKind floors_kind = {
	"stream_floors", "versions of streams", floors_columns, FLOOR_COLUMNS, {FLOOR_STREAM + 1}};
static const BesideKind removed_kind = {
	"removed_ids", "ids of removed messages", removed_columns, REMOVED_COLUMNS, {REMOVED_ID + 1}};

/* The index on one column other than the key. */
static Relation
OpenIndexOn(Beside *beside, AttrNumber column)
{
	ListCell *cell;

	foreach (cell, RelationGetIndexList(beside->table))
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);

		if (BesideIsKeyedBy(index, &column, 1))
			return index;
		index_close(index, AccessShareLock);
	}
	BesideRefuse(beside->table, beside->kind, "it has lost an index");
}

/* Says whether the tables are there. */
bool
StoreHasFloors(Store *store)
{
	Oid schema = RelationGetNamespace(store->heap);

	return OidIsValid(get_relname_relid(floors_kind.name, schema)) &&
		   OidIsValid(get_relname_relid(removed_kind.name, schema));
}

/* ---- whether there are any ----------------------------------------------------------------------- */

/* Says whether there is a row, and if so makes sure that the others were told of it. */
static bool
HasAny(Beside *beside, Relation index, ScanKey key, Snapshot snapshot)
{
	BesideRow row;

	if (!BesideFirst(beside, index, key, snapshot, &row))
		return false;
	/* It has committed and tells them, and then it lets go of its number. */
	if (TransactionIdIsNormal(row.writer) && !TransactionIdIsCurrentTransactionId(row.writer) &&
		!RecoveryInProgress())
		XactLockTableWait(row.writer, NULL, NULL, XLTW_None);
	return true;
}

static bool
HasRestored(Beside *floors, Snapshot snapshot)
{
	Relation index = OpenIndexOn(floors, FLOOR_RESTORED + 1);
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, FLOOR_RESTORED + 1, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(true));
	found = HasAny(floors, index, &key, snapshot);
	index_close(index, NoLock);
	return found;
}

static Remains
LookForRemains(Relation messages)
{
	Remains remains = {false};
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Beside beside;

	if (BesideOpen(&beside, messages, &floors_kind, AccessShareLock))
	{
		remains.floors = HasAny(&beside, beside.key, NULL, snapshot);
		remains.restored = remains.floors && HasRestored(&beside, snapshot);
		BesideClose(&beside);
	}
	if (BesideOpen(&beside, messages, &removed_kind, AccessShareLock))
	{
		remains.removed_ids = HasAny(&beside, beside.key, NULL, snapshot);
		BesideClose(&beside);
	}
	UnregisterSnapshot(snapshot);
	return remains;
}

/*
 * Says what there is, by what is committed now and what this transaction did; of a stream exactly where its
 * lock is held.  Errors: MR010.
 */
Remains
StoreRemains(Store *store)
{
	Oid schema = RelationGetNamespace(store->heap);
	TableEntry *entry;
	uint64 before;
	Remains remains;

	AcceptInvalidationMessages();
	entry = StoreFindTable(schema);
	if (entry && entry->remains_known)
		return entry->remains;
	/* No snapshot of now is to be had in a parallel query, so there may be anything. */
	if (IsInParallelMode())
		return (Remains){.floors = true, .restored = true, .removed_ids = true};
	before = StoreInvalidations();
	remains = LookForRemains(store->heap);
	entry = StoreFindTable(schema);
	if (entry && entry->relid == RelationGetRelid(store->heap) && before == StoreInvalidations())
	{
		entry->remains = remains;
		entry->remains_known = true;
	}
	return remains;
}

static void
Truncate(Relation messages, const BesideKind *kind)
{
	Beside beside;
	BesideRow row;
	Relation table;
	Oid relid;
	bool empty;

	if (!BesideOpen(&beside, messages, kind, AccessExclusiveLock))
		return;
	relid = RelationGetRelid(beside.table);
	empty = !BesideFirst(&beside, beside.key, NULL, SnapshotSelf, &row);
	BesideClose(&beside);
	if (empty)
		return;
	table = relation_open(relid, NoLock);
	CompatTruncate(list_make1(table), list_make1_oid(relid),
				   RelationIsLogicallyLogged(table) ? list_make1_oid(relid) : NIL);
	relation_close(table, NoLock);
}

/* Empties both tables, as the messages are, on which there is an exclusive lock. */
void
StoreForgetRemains(Relation messages)
{
	Truncate(messages, &floors_kind);
	Truncate(messages, &removed_kind);
}

/* ---- floors -------------------------------------------------------------------------------------- */

/* What a stream's floor is found by: no name is kept. */
bytea *
StoreFloorKey(text *stream)
{
	bytea *digest = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(stream)));
	bytea *key = palloc(VARHDRSZ + FLOOR_KEY_LEN);

	SET_VARSIZE(key, VARHDRSZ + FLOOR_KEY_LEN);
	memcpy(VARDATA(key), VARDATA_ANY(digest), FLOOR_KEY_LEN);
	return key;
}

bool
StoreOpenFloors(Beside *floors, Store *store, LOCKMODE lockmode)
{
	return BesideOpen(floors, store->heap, &floors_kind, lockmode);
}

Floor
StoreFloorOfRow(const BesideRow *row)
{
	return (Floor){
		.version = DatumGetInt64(row->value[FLOOR_VERSION]),
		.closed = DatumGetBool(row->value[FLOOR_CLOSED]),
		.restored = DatumGetBool(row->value[FLOOR_RESTORED]),
	};
}

/* Leaves the place of the row as it is. */
void
StoreFloorToRow(BesideRow *row, bytea *key, const Floor *floor)
{
	row->value[FLOOR_STREAM] = PointerGetDatum(key);
	row->value[FLOOR_VERSION] = Int64GetDatum(floor->version);
	row->value[FLOOR_CLOSED] = BoolGetDatum(floor->closed);
	row->value[FLOOR_RESTORED] = BoolGetDatum(floor->restored);
	memset(row->isnull, 0, sizeof(row->isnull));
}

bool
StoreFindFloorRow(Beside *floors, bytea *stream, Snapshot snapshot, BesideRow *row)
{
	ScanKeyData key;

	ScanKeyInit(&key, FLOOR_STREAM + 1, BTEqualStrategyNumber, F_BYTEAEQ, PointerGetDatum(stream));
	return BesideFirst(floors, floors->key, &key, snapshot, row);
}

/* Finds the floor of a stream; false: it has none. */
bool
StoreFindFloor(Store *store, text *stream, Snapshot snapshot, Floor *floor)
{
	Beside floors;
	BesideRow row;
	bool found;

	if (!BesideOpen(&floors, store->heap, &floors_kind, AccessShareLock))
		return false;
	found = StoreFindFloorRow(&floors, StoreFloorKey(stream), snapshot, &row);
	BesideClose(&floors);
	if (found)
		*floor = StoreFloorOfRow(&row);
	return found;
}

static void
OpenToWrite(Beside *beside, Store *store, const BesideKind *kind)
{
	if (!BesideOpen(beside, store->heap, kind, RowExclusiveLock))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table \"%s\" is gone", kind->name)));
}

/* Sets the floor of a stream, whose lock is held. */
void
StoreSetFloor(Store *store, text *stream, const Floor *floor)
{
	Remains remains = StoreRemains(store);
	bytea *key = StoreFloorKey(stream);
	Beside floors;
	BesideRow row;
	bool found;

	OpenToWrite(&floors, store, &floors_kind);
	found = StoreFindFloorRow(&floors, key, SnapshotSelf, &row);
	StoreFloorToRow(&row, key, floor);
	if (found)
		BesideUpdate(&floors, &row);
	else
		BesideInsert(&floors, &row);
	BesideClose(&floors);
	/* A floor that is restored may be the only one when this commits. */
	if (!remains.floors || floor->restored)
		CacheInvalidateRelcache(store->heap);
	CommandCounterIncrement();
}

/* Makes sure that there is a row of a key that is no stream's.  Errors: MR010. */
void
StoreMarkFloors(Store *store, bytea *key)
{
	const Floor floor = {.version = 0};
	Beside floors;
	BesideRow row;

	OpenToWrite(&floors, store, &floors_kind);
	if (!StoreFindFloorRow(&floors, key, SnapshotSelf, &row))
	{
		/* Of two sessions that find none the second one waits here, and looks again. */
		LockRelation(floors.table, ShareUpdateExclusiveLock);
		if (!StoreFindFloorRow(&floors, key, SnapshotSelf, &row))
		{
			StoreFloorToRow(&row, key, &floor);
			BesideInsert(&floors, &row);
			CacheInvalidateRelcache(store->heap);
		}
	}
	BesideClose(&floors);
	CommandCounterIncrement();
}

/* Forgets the floor of a stream, whose lock is held; the table keeps a row. */
void
StoreDropFloor(Store *store, text *stream)
{
	bytea *empty = palloc(VARHDRSZ);
	Beside floors;
	BesideRow row;

	SET_VARSIZE(empty, VARHDRSZ);
	StoreMarkFloors(store, empty);
	OpenToWrite(&floors, store, &floors_kind);
	if (StoreFindFloorRow(&floors, StoreFloorKey(stream), SnapshotSelf, &row))
		BesideDelete(&floors, &row.tid);
	BesideClose(&floors);
	CommandCounterIncrement();
}

/* ---- removed ids --------------------------------------------------------------------------------- */

static bool
FindRemovedId(Beside *removed, const pg_uuid_t *id, BesideRow *row)
{
	ScanKeyData key;

	ScanKeyInit(&key, REMOVED_ID + 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	return BesideFirst(removed, removed->key, &key, SnapshotSelf, row);
}

/* Says whether a message with this id was removed by hand within the last day. */
bool
StoreIdWasRemoved(Store *store, const pg_uuid_t *id)
{
	Beside removed;
	BesideRow row;
	bool found;

	if (!StoreRemains(store).removed_ids ||
		!BesideOpen(&removed, store->heap, &removed_kind, AccessShareLock))
		return false;
	found = FindRemovedId(&removed, id, &row) &&
			DatumGetTimestampTz(row.value[REMOVED_AT]) > GetCurrentTimestamp() - USECS_PER_DAY;
	BesideClose(&removed);
	return found;
}

/*
 * Deletes ids that are a day old, at most `limit`.  One session at a time: a second one would wait for the
 * first to commit.
 */
static void
ForgetOldIds(Beside *removed, int limit)
{
	Relation index;
	TimestampTz old = GetCurrentTimestamp() - USECS_PER_DAY;
	SysScanDesc scan;
	HeapTuple tuple;
	bool isnull;

	if (!ConditionalLockRelationOid(RelationGetRelid(removed->table), ShareUpdateExclusiveLock))
		return;
	index = OpenIndexOn(removed, REMOVED_AT + 1);
	scan = systable_beginscan_ordered(removed->table, index, SnapshotSelf, 0, NULL);
	while (limit-- > 0 && (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL &&
		   DatumGetTimestampTz(
			   heap_getattr(tuple, REMOVED_AT + 1, RelationGetDescr(removed->table), &isnull)) < old)
		BesideDelete(removed, &tuple->t_self);
	systable_endscan_ordered(scan);
	index_close(index, NoLock);
}

/* Remembers ids that are being removed; the locks of their streams are held. */
void
StoreRememberIds(Store *store, const pg_uuid_t *ids, int nids)
{
	Remains remains = StoreRemains(store);
	TimestampTz now = GetCurrentTimestamp();
	Beside removed;

	OpenToWrite(&removed, store, &removed_kind);
	ForgetOldIds(&removed, 2 * nids);
	for (int i = 0; i < nids; i++)
	{
		BesideRow row;
		bool found = FindRemovedId(&removed, &ids[i], &row);

		row.value[REMOVED_ID] = UUIDPGetDatum(&ids[i]);
		row.value[REMOVED_AT] = TimestampTzGetDatum(now);
		memset(row.isnull, 0, sizeof(row.isnull));
		if (found)
			BesideUpdate(&removed, &row);
		else
			BesideInsert(&removed, &row);
	}
	BesideClose(&removed);
	if (!remains.removed_ids)
		CacheInvalidateRelcache(store->heap);
	CommandCounterIncrement();
}
