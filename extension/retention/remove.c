/*
 * remove.c: removing messages, from the start of a stream on.
 *
 *   1. the caller has the locks of the streams
 *   2. find the rows that go, and whether any stays (SnapshotSelf, as versions are read)
 *   3. write what is left of them: floors, ids
 *   4. delete them by SQL, so that foreign keys, triggers and logical replication see a DELETE like any
 *      other; as many as were found, or nothing is done
 *   5. note in millrace.removals what went
 *
 * What is left is written before the rows go, as a trigger may append to the stream.
 *
 * Whether the caller may delete is looked at where the table is opened.  The DELETE itself runs with the
 * rights of the table's owner, like all that they have put on it (store/owner.c): its triggers, its rules,
 * the expressions of its indexes, which a plan folds.  So for other roles PostgreSQL refuses deferred ones.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "core/closed.h"
#include "core/read.h"
#include "retention/remove.h"
#include "store/floors.h"

#define FOLD_EVERY 64 /* notes of removals */

/* What is found of a stream before anything is done. */
typedef struct Found
{
	int64 last; /* position of the last message that goes */
	bool closed;
	pg_uuid_t *ids;
	int room;
} Found;

/* ---- whether ------------------------------------------------------------------------------------- */

/*
 * Refuses what can't remove exactly: a transaction that keeps its snapshot would leave the messages that were
 * appended since, and take their stream for empty.  Errors: 25001, 25006.
 */
void
RemoveCheckAllowed(void)
{
	PreventCommandIfReadOnly("DELETE");
	PreventCommandIfParallelMode("DELETE");
	PreventCommandDuringRecovery("DELETE");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("messages can be removed in isolation level READ COMMITTED only"),
						errhint("Begin the transaction with BEGIN ISOLATION LEVEL READ COMMITTED.")));
}

/*
 * Opens a namespace for removals.  Errors: 25001, 25006, 42501, MR003, MR010.
 */
Store *
RemoveOpen(const char *namespace_name)
{
	Store *store;

	RemoveCheckAllowed();
	store = StoreOpen(namespace_name, STORE_REMOVE);
	if (!StoreHasFloors(store))
		RemoveCreateFloors(RelationGetNamespace(store->heap));
	return store;
}

/* ---- 2: the rows that go ------------------------------------------------------------------------- */

static void
AddId(Found *found, int64 n, TupleTableSlot *slot)
{
	bool isnull;

	if (n == found->room)
	{
		found->room = found->room ? found->room * 2 : 64;
		found->ids = found->ids ? repalloc_huge(found->ids, sizeof(pg_uuid_t) * found->room)
								: palloc(sizeof(pg_uuid_t) * found->room);
	}
	found->ids[n] = *DatumGetUUIDP(slot_getattr(slot, COLUMN_ID, &isnull));
}

/* An import may have put a stream's messages in any order of global positions. */
static void
NoteGlobal(RemoveStream *stream, int64 global_position)
{
	if (stream->removed == 0 || global_position < stream->first_global)
		stream->first_global = global_position;
	stream->last_global = Max(stream->last_global, global_position);
}

/* Finds the rows that go, at most `max_rows`, and lowers `before` to where they end. */
static Found
FindRows(StoreScan *scan, RemoveStream *stream, bool ids)
{
	Found found = {.last = NO_STREAM};
	ScanKeyData key;
	bool isnull;

	stream->removed = stream->first_global = stream->last_global = 0;
	stream->first = -1;
	stream->more = false;
	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, stream->stream);
	StoreRescan(scan, &key, 1);
	while (StoreScanNext(scan, ForwardScanDirection))
	{
		int64 position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (position >= stream->before || stream->removed == stream->max_rows)
		{
			stream->first = position;
			stream->more = position < stream->before;
			stream->before = Min(stream->before, position);
			break;
		}
		found.last = position;
		found.closed = TypeCloses(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_TYPE, &isnull)));
		NoteGlobal(stream, DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull)));
		if (ids)
			AddId(&found, stream->removed, scan->slot);
		stream->removed++;
	}
	StoreRestScan(scan);
	return found;
}

/* Refuses to remove fewer messages than are there. */
static void
CheckWanted(const RemoveStream *stream)
{
	if (stream->wanted == 0 || stream->removed == stream->wanted)
		return;
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
					errmsg("stream \"%s\" has " INT64_FORMAT " messages below position " INT64_FORMAT
						   ", and " INT64_FORMAT " of them are to be removed",
						   text_to_cstring(stream->stream), stream->removed, stream->before, stream->wanted),
					errhint("A stream loses its messages from its start on.")));
}

/* ---- 3: what is left ----------------------------------------------------------------------------- */

/* The version of a stream that goes wholly stays, if it is not to be forgotten. */
static void
KeepVersion(Store *store, const RemoveStream *stream, const Found *found, bool forget)
{
	Floor floor = {.version = NO_STREAM};
	bool has_floor;

	if (stream->first >= 0)
		return;
	has_floor = StoreFindFloor(store, stream->stream, SnapshotSelf, &floor);
	if (forget)
	{
		if (has_floor)
			StoreDropFloor(store, stream->stream);
		if (stream->removed > 0)
			StoreNoteLoss(store);
		return;
	}
	if (stream->removed == 0)
		return;
	if (found->last > floor.version)
		floor = (Floor){.version = found->last, .closed = found->closed};
	floor.restored = false;
	StoreSetFloor(store, stream->stream, &floor);
}

/* ---- 4: deleting --------------------------------------------------------------------------------- */

static SPIPlanPtr
PrepareDelete(Store *store)
{
	Oid types[] = {TEXTOID, INT8OID};
	char *command = psprintf("DELETE FROM ONLY %s.messages WHERE stream_name OPERATOR(pg_catalog.=) $1 "
							 "AND \"position\" OPERATOR(pg_catalog.<) $2",
							 quote_identifier(get_namespace_name(RelationGetNamespace(store->heap))));
	StoreCaller caller = StoreBecomeOwnerIfOther(store->heap);
	SPIPlanPtr plan = SPI_prepare(command, lengthof(types), types);

	StoreBecomeCaller(caller);
	if (!plan)
		elog(ERROR, "could not prepare \"%s\": %s", command, SPI_result_code_string(SPI_result));
	return plan;
}

/* The rows were counted under the lock; a trigger, a rule or a DELETE beside it may be in the way. */
static void
DeleteRows(Store *store, SPIPlanPtr plan, const RemoveStream *stream)
{
	Datum values[] = {PointerGetDatum(stream->stream), Int64GetDatum(stream->before)};
	StoreCaller caller = StoreBecomeOwnerIfOther(store->heap);
	int result = SPI_execute_plan(plan, values, NULL, false, 0);

	StoreBecomeCaller(caller);
	if (result == SPI_OK_DELETE && SPI_processed == stream->removed)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg(UINT64_FORMAT " of " INT64_FORMAT " messages of stream \"%s\" were deleted",
					result == SPI_OK_DELETE ? (uint64)SPI_processed : 0, stream->removed,
					text_to_cstring(stream->stream)),
			 errdetail("Nothing was removed."),
			 errhint("A trigger or a rule of the table is in the way, or another transaction deleted some; "
					 "then repeat it.")));
}

/* ---- 5: the note --------------------------------------------------------------------------------- */

static Oid
RemovalsRelid(void)
{
	Oid relid = get_relname_relid("removals", get_namespace_oid("millrace", false));

	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table millrace.removals is gone"),
						errhint("ALTER EXTENSION millrace UPDATE makes it.")));
	return relid;
}

/*
 * Whether the notes of the category are folded, by the number of the one that was just made: no sweep does it
 * where there is no policy.
 */
static bool
IsTurnToFold(void)
{
	bool isnull;

	return SPI_processed == 1 &&
		   DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) %
				   FOLD_EVERY ==
			   0;
}

/* Notes what went of the streams of one category, with the rights of the extension's owner. */
static void
NoteCategory(Store *store, const RemoveStream *streams, int nstreams, const bool *same)
{
	static const char command[] =
		"INSERT INTO millrace.removals (namespace, category, from_position, to_position, streams, "
		"removed_at) "
		"SELECT n.name, $2, $3, $4, $5, clock_timestamp() FROM millrace.namespaces n WHERE n.schema = $1 "
		"RETURNING id";
	static const char fold[] =
		"SELECT millrace.fold_removals(n.name, $2) FROM millrace.namespaces n WHERE n.schema = $1";
	Oid types[] = {TEXTOID, TEXTOID, INT8OID, INT8OID, BYTEAARRAYOID};
	Datum *keys = palloc(sizeof(Datum) * nstreams);
	Datum values[lengthof(types)];
	int64 from = PG_INT64_MAX;
	int64 to = 0;
	Slice category = {NULL, 0};
	int nkeys = 0;
	Relation removals = relation_open(RemovalsRelid(), RowExclusiveLock);
	StoreCaller caller;

	for (int i = 0; i < nstreams; i++)
	{
		if (!same[i])
			continue;
		category = NameCategory(SliceOfText(streams[i].stream));
		from = Min(from, streams[i].first_global);
		to = Max(to, streams[i].last_global);
		keys[nkeys++] = PointerGetDatum(StoreFloorKey(streams[i].stream));
	}
	values[0] = CStringGetTextDatum(get_namespace_name(RelationGetNamespace(store->heap)));
	values[1] = PointerGetDatum(cstring_to_text_with_len(category.bytes, category.len));
	values[2] = Int64GetDatum(from);
	values[3] = Int64GetDatum(to);
	values[4] = PointerGetDatum(construct_array(keys, nkeys, BYTEAOID, -1, false, TYPALIGN_INT));
	caller = StoreBecomeOwner(removals);
	if (SPI_execute_with_args(command, lengthof(types), types, values, NULL, false, 0) !=
		SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write millrace.removals");
	if (IsTurnToFold())
		(void)SPI_execute_with_args(fold, 2, types, values, NULL, false, 0);
	StoreBecomeCaller(caller);
	relation_close(removals, NoLock);
}

/*
 * A row for each category.  They are numbered, and a reader that was told of one is not told of those below:
 * so they are committed in the order of their numbers.
 */
static void
NoteRemovals(Store *store, const RemoveStream *streams, int nstreams)
{
	bool *done = palloc0(sizeof(bool) * nstreams);
	bool *same = palloc(sizeof(bool) * nstreams);

	for (int i = 0; i < nstreams; i++)
	{
		Slice category = NameCategory(SliceOfText(streams[i].stream));

		if (done[i] || streams[i].removed == 0)
			continue;
		for (int j = 0; j < nstreams; j++)
		{
			same[j] =
				streams[j].removed > 0 && SliceEqual(NameCategory(SliceOfText(streams[j].stream)), category);
			done[j] |= same[j];
		}
		(void)StoreLockRemovals(store, true);
		NoteCategory(store, streams, nstreams, same);
	}
}

/* ---- all of it ----------------------------------------------------------------------------------- */

/*
 * Removes the messages of each stream below a position, and says in the stream what went.  The store is
 * RemoveOpen()'s, the caller holds the locks of the streams, each of which is there once.  Errors: 40001
 * when not all of them could be deleted, 42501, MR009 where it is not as many as are wanted, MR010, and what
 * the table's triggers and foreign keys raise.
 */
void
RemoveRows(Store *store, RemoveStream *streams, int nstreams, RemoveOptions options)
{
	StoreScan *scan;
	SPIPlanPtr plan;

	RemoveCheckAllowed();
	CommandCounterIncrement();
	SPI_connect();
	plan = PrepareDelete(store);
	scan = StoreBeginScan(store, INDEX_STREAM, SnapshotSelf, 1);
	for (int i = 0; i < nstreams; i++)
	{
		Found found = FindRows(scan, &streams[i], options.remember_ids);

		CheckWanted(&streams[i]);
		KeepVersion(store, &streams[i], &found, options.forget);
		if (streams[i].removed == 0)
			continue;
		if (options.remember_ids)
			StoreRememberIds(store, found.ids, (int)streams[i].removed);
		DeleteRows(store, plan, &streams[i]);
	}
	StoreEndScan(scan);
	if (options.record)
		NoteRemovals(store, streams, nstreams);
	SPI_finish();
}

/* ---- by id --------------------------------------------------------------------------------------- */

/* A message that is to go. */
typedef struct Victim
{
	text *stream;
	uint64 hash;
	int64 position;
} Victim;

static int
CompareVictims(const void *left, const void *right)
{
	const Victim *a = left;
	const Victim *b = right;
	int order;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	order = SliceCompare(SliceOfText(a->stream), SliceOfText(b->stream));
	return order ? order : (a->position > b->position) - (a->position < b->position);
}

/* Finds the messages, by what is committed now; 02000 for one that is not there. */
static Victim *
FindVictims(Store *store, const pg_uuid_t *ids, int nids)
{
	Victim *victims = palloc(sizeof(Victim) * Max(nids, 1));
	StoreScan *scan = StoreBeginScan(store, INDEX_ID, SnapshotSelf, 1);
	bool isnull;

	for (int i = 0; i < nids; i++)
	{
		ScanKeyData key;

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&ids[i]));
		StoreRescan(scan, &key, 1);
		if (!StoreScanNext(scan, ForwardScanDirection))
			ereport(ERROR, (errcode(ERRCODE_NO_DATA),
							errmsg("message %s is not there",
								   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&ids[i]))))));
		victims[i].stream = DatumGetTextPCopy(slot_getattr(scan->slot, COLUMN_STREAM_NAME, &isnull));
		victims[i].position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
		victims[i].hash = StoreStreamHash(store, SliceOfText(victims[i].stream));
	}
	StoreEndScan(scan);
	qsort(victims, nids, sizeof(Victim), CompareVictims);
	return victims;
}

static void
LockVictims(const Victim *victims, int n)
{
	uint64 *hashes = palloc(sizeof(uint64) * Max(n, 1));

	for (int i = 0; i < n; i++)
		hashes[i] = victims[i].hash;
	StoreLockStreams(hashes, n);
	pfree(hashes);
}

/* Makes a RemoveStream for each stream. */
static RemoveStream *
StreamsOf(const Victim *victims, int n, int *nstreams)
{
	RemoveStream *streams = palloc(sizeof(RemoveStream) * Max(n, 1));

	*nstreams = 0;
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && CompareVictims(&victims[i], &victims[i - 1]) == 0)
			continue; /* it was named twice */
		if (i == 0 || !SliceEqual(SliceOfText(victims[i].stream), SliceOfText(victims[i - 1].stream)))
			streams[(*nstreams)++] = (RemoveStream){.stream = victims[i].stream, .max_rows = PG_INT64_MAX};
		streams[*nstreams - 1].before = PositionBehind(victims[i].position);
		streams[*nstreams - 1].wanted++;
	}
	return streams;
}

/*
 * Removes exactly the messages with these ids, and returns how many: they must be the first of their streams.
 * The store is RemoveOpen()'s; locks the streams.  Errors: those of RemoveRows(), 02000 for a message that is
 * not there, MR009 where one before it would stay, and for too many streams.
 */
int64
RemoveIds(Store *store, const pg_uuid_t *ids, int nids, RemoveOptions options)
{
	Victim *victims;
	RemoveStream *streams;
	int nstreams;
	int64 removed = 0;

	RemoveCheckAllowed();
	victims = FindVictims(store, ids, nids);
	LockVictims(victims, nids);
	victims = FindVictims(store, ids, nids); /* some may have gone before the lock was ours */
	streams = StreamsOf(victims, nids, &nstreams);
	RemoveRows(store, streams, nstreams, options);
	for (int i = 0; i < nstreams; i++)
		removed += streams[i].removed;
	return removed;
}
