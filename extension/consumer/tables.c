/*
 * tables.c: the tables of consumers, which lie beside the messages of a namespace.
 *
 * They are read and written without the executor (store/beside.h).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/errors.h"
#include "consumer/consumer.h"
#include "store/beside.h"
#include "store/fence.h"

#define NUMBERS_SEQUENCE "consumer_numbers"

/* Numbers jump to the clock, in microseconds since 2026, where they are so far behind it... */
#define NUMBERS_EPOCH ((int64)(26 * 365 + 7) * USECS_PER_DAY) /* since 2000 */
#define NUMBERS_BEHIND (10 * USECS_PER_SEC)
/* ...and by as much where another server goes on, which may not know of the last ones. */
#define NUMBERS_JUMP INT64CONST(1000000000)

static const BesideColumn consumers_columns[CONSUMER_COLUMNS] = {
	{"id", INT8OID},		 {"name", TEXTOID},		   {"category", TEXTOID}, {"stream", TEXTOID},
	{"types", TEXTARRAYOID}, {"correlation", TEXTOID}, {"query", JSONBOID},	  {"ordering", TEXTOID},
	{"options", JSONBOID},	 {"state", TEXTOID},	   {"reason", TEXTOID},	  {"created_at", TIMESTAMPTZOID},
};
static const BesideColumn claims_columns[CLAIM_COLUMNS] = {
	{"consumer", INT8OID}, {"claim", INT8OID},			{"ceiling", INT8OID},
	{"oldest", INT8OID},   {"granted", TIMESTAMPTZOID}, {"lease_until", TIMESTAMPTZOID},
	{"member", TEXTOID},   {"request", UUIDOID},		{"content", BYTEAOID},
};
static const BesideColumn streams_columns[STREAM_COLUMNS] = {
	{"consumer", INT8OID},
	{"stream", TEXTOID},
	{"position", INT8OID},
	{"global_position", INT8OID},
	{"claim", INT8OID},
	{"claimed_to", INT8OID},
	{"attempts", INT4OID},
	{"suspect", INT4OID},
	{"retry_at", TIMESTAMPTZOID},
	{"first_failed", TIMESTAMPTZOID},
	{"parked_at", TIMESTAMPTZOID},
	{"error", TEXTOID},
};
static const BesideColumn skipped_columns[SKIPPED_COLUMNS] = {
	{"consumer", INT8OID}, {"global_position", INT8OID},   {"stream", TEXTOID}, {"position", INT8OID},
	{"attempts", INT4OID}, {"skipped_at", TIMESTAMPTZOID}, {"error", TEXTOID},
};

#define USE "consumers"

static const BesideKind kinds[CONSUMER_TABLES] = {
	{"consumers", USE, consumers_columns, CONSUMER_COLUMNS, {CONSUMER_NAME, 0}},
	{"consumer_claims", USE, claims_columns, CLAIM_COLUMNS, {CLAIM_CONSUMER, CLAIM_CLAIM}},
	{"consumer_streams", USE, streams_columns, STREAM_COLUMNS, {STREAM_CONSUMER, STREAM_STREAM}},
	{"consumer_skipped", USE, skipped_columns, SKIPPED_COLUMNS, {SKIPPED_CONSUMER, SKIPPED_GLOBAL_POSITION}},
};

/* ---- opening -------------------------------------------------------------------------------------- */

/* Opens the indexes that are needed, and refuses those that can't be kept without the executor. */
static void
OpenIndexes(ConsumerTables *tables, ConsumerTable kind, LOCKMODE lockmode)
{
	static const AttrNumber parked[] = {STREAM_CONSUMER, STREAM_PARKED_AT};
	Relation table = tables->table[kind];
	ListCell *cell;

	foreach (cell, RelationGetIndexList(table))
	{
		Relation index = index_open(lfirst_oid(cell), lockmode);

		BesideCheckIndex(table, index, &kinds[kind]);
		if (!tables->key[kind] && BesideIsKey(index, &kinds[kind]))
			tables->key[kind] = index;
		else if (kind == TABLE_STREAMS && !tables->parked && BesideIsKeyedBy(index, parked, 2))
			tables->parked = index;
		else
			index_close(index, NoLock);
	}
	if (!tables->key[kind] || (kind == TABLE_STREAMS && !tables->parked))
		BesideRefuse(table, &kinds[kind], "it has lost an index");
}

static void
OpenTable(ConsumerTables *tables, ConsumerTable kind, bool write)
{
	AclMode wanted = write ? ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE : ACL_SELECT;
	Oid schema = RelationGetNamespace(tables->store->heap);
	Oid relid = get_relname_relid(kinds[kind].name, schema);
	LOCKMODE lockmode = write ? RowExclusiveLock : AccessShareLock;

	if (OidIsValid(relid) && (pg_class_aclmask(relid, GetUserId(), wanted, ACLMASK_ALL) & wanted) != wanted)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, kinds[kind].name);
	tables->table[kind] = OidIsValid(relid) ? try_relation_open(relid, lockmode) : NULL;
	if (!tables->table[kind])
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_CONSUMER_NOT_FOUND), errmsg("the namespace has no consumers yet"),
				 errhint("millrace.create_consumer() creates one.")));
	BesideCheck(tables->table[kind], &kinds[kind]);
	FenceCheck(tables->table[kind], write);
	OpenIndexes(tables, kind, lockmode);
}

/*
 * Opens the tables of a namespace's consumers, for reading or for both.  Who only reads has no lock, and sees
 * all rows by the statement's snapshot, so that they are of one moment.  Errors: 42501, MR003, MR010 for what
 * is no table of ours, MR016 when there are none yet.
 */
ConsumerTables *
ConsumerTablesOpen(const char *namespace_name, bool write)
{
	ConsumerTables *tables = palloc0(sizeof(ConsumerTables));

	tables->store = StoreOpen(namespace_name, STORE_READ);
	tables->snapshot = write ? NULL : GetActiveSnapshot();
	for (ConsumerTable kind = 0; kind < CONSUMER_TABLES; kind++)
		OpenTable(tables, kind, write);
	tables->numbers = get_relname_relid(NUMBERS_SEQUENCE, RelationGetNamespace(tables->store->heap));
	if (write && (!OidIsValid(tables->numbers) || get_rel_relkind(tables->numbers) != RELKIND_SEQUENCE))
		BesideRefuse(tables->table[TABLE_CLAIMS], &kinds[TABLE_CLAIMS],
					 "its sequence " NUMBERS_SEQUENCE " is gone");
	return tables;
}

/* The locks stay to commit. */
void
ConsumerTablesClose(ConsumerTables *tables)
{
	index_close(tables->parked, NoLock);
	for (ConsumerTable kind = 0; kind < CONSUMER_TABLES; kind++)
	{
		if (tables->indexes[kind])
			CatalogCloseIndexes(tables->indexes[kind]);
		index_close(tables->key[kind], NoLock);
		relation_close(tables->table[kind], NoLock);
	}
	StoreClose(tables->store);
	pfree(tables);
}

/* ---- locks --------------------------------------------------------------------------------------- */

/* To commit. */
void
ConsumerLock(ConsumerTables *tables, int64 consumer)
{
	(void)StoreLockConsumer(RelationGetRelid(tables->table[TABLE_CLAIMS]), consumer, true);
}

/* The same without waiting; false: another transaction has it. */
bool
ConsumerTryLock(ConsumerTables *tables, int64 consumer)
{
	return StoreLockConsumer(RelationGetRelid(tables->table[TABLE_CLAIMS]), consumer, false);
}

/* ---- rows ---------------------------------------------------------------------------------------- */

/* What is of varying length is read as what it is: where there may be none, its reader asks. */
static void
CheckNulls(Relation table, ConsumerTable kind, const ConsumerRow *row)
{
	static const AttrNumber never_null[CONSUMER_TABLES][3] = {
		[TABLE_CONSUMERS] = {CONSUMER_NAME, CONSUMER_ORDERING, CONSUMER_STATE},
		[TABLE_STREAMS] = {STREAM_STREAM},
		[TABLE_SKIPPED] = {SKIPPED_STREAM},
	};

	for (int i = 0; i < 3 && never_null[kind][i] != 0; i++)
		if (row->isnull[never_null[kind][i] - 1])
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("a row of table \"%s\".\"%s\" has no %s",
							get_namespace_name(RelationGetNamespace(table)), RelationGetRelationName(table),
							kinds[kind].columns[never_null[kind][i] - 1].name)));
}

static void
TakeApart(Relation table, ConsumerTable kind, HeapTuple tuple, ConsumerRow *row)
{
	heap_deform_tuple(heap_copytuple(tuple), RelationGetDescr(table), row->value, row->isnull);
	row->tid = tuple->t_self;
	CheckNulls(table, kind, row);
}

/*
 * Finds the first row by an index, whose columns the keys count; as it is now, not as it was when the
 * statement began, but for those who only read.
 */
bool
RowFirst(ConsumerTables *tables, ConsumerTable kind, Relation index, ScanKey keys, int nkeys,
		 ScanDirection direction, ConsumerRow *row)
{
	Relation table = tables->table[kind];
	SysScanDesc scan;
	HeapTuple tuple;

	PushActiveSnapshot(tables->snapshot ? tables->snapshot : GetLatestSnapshot());
	scan = systable_beginscan_ordered(table, index, GetActiveSnapshot(), nkeys, keys);
	tuple = systable_getnext_ordered(scan, direction);
	if (tuple)
		TakeApart(table, kind, tuple, row);
	systable_endscan_ordered(scan);
	PopActiveSnapshot();
	return tuple != NULL;
}

/* Hands each row by an index to the sink, as long as that returns true. */
void
RowEach(ConsumerTables *tables, ConsumerTable kind, Relation index, ScanKey keys, int nkeys, RowSink sink,
		void *arg)
{
	Relation table = tables->table[kind];
	SysScanDesc scan;
	HeapTuple tuple;
	bool more = true;

	PushActiveSnapshot(tables->snapshot ? tables->snapshot : GetLatestSnapshot());
	scan = systable_beginscan_ordered(table, index, GetActiveSnapshot(), nkeys, keys);
	while (more && (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		ConsumerRow row;

		CHECK_FOR_INTERRUPTS();
		TakeApart(table, kind, tuple, &row);
		more = sink(arg, &row);
	}
	systable_endscan_ordered(scan);
	PopActiveSnapshot();
}

/* The indexes of a table, opened once for all the rows that a call writes. */
static CatalogIndexState
IndexesOf(ConsumerTables *tables, ConsumerTable kind)
{
	if (!tables->indexes[kind])
		tables->indexes[kind] = CatalogOpenIndexes(tables->table[kind]);
	return tables->indexes[kind];
}

void
RowInsert(ConsumerTables *tables, ConsumerTable kind, ConsumerRow *row)
{
	Relation table = tables->table[kind];
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(table), row->value, row->isnull);

	CatalogTupleInsertWithInfo(table, tuple, IndexesOf(tables, kind));
	row->tid = tuple->t_self;
	heap_freetuple(tuple);
	CommandCounterIncrement();
}

/* The caller has made sure that no other transaction changes the row. */
void
RowUpdate(ConsumerTables *tables, ConsumerTable kind, ConsumerRow *row)
{
	Relation table = tables->table[kind];
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(table), row->value, row->isnull);

	CatalogTupleUpdateWithInfo(table, &row->tid, tuple, IndexesOf(tables, kind));
	row->tid = tuple->t_self;
	heap_freetuple(tuple);
	CommandCounterIncrement();
}

/* The same. */
void
RowDelete(ConsumerTables *tables, ConsumerTable kind, ItemPointer tid)
{
	CatalogTupleDelete(tables->table[kind], tid);
	CommandCounterIncrement();
}

/*
 * Deletes a row if it is still the newest version of its row; waits for a transaction that has it.  Returns
 * whether it did.
 */
bool
RowTryDelete(ConsumerTables *tables, ConsumerTable kind, ItemPointer tid)
{
	TM_FailureData failure;

	if (CompatHeapDelete(tables->table[kind], tid, &failure) != TM_Ok)
		return false;
	CommandCounterIncrement();
	return true;
}

/*
 * Locks a row to commit; returns whether it is still the newest version of its row, and ours.  Without
 * waiting false means as well that another transaction has it.
 */
bool
RowLock(ConsumerTables *tables, ConsumerTable kind, ItemPointer tid, bool wait)
{
	Relation table = tables->table[kind];
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TM_FailureData failure;
	ItemPointerData place = *tid;
	TM_Result result = table_tuple_lock(table, &place, GetLatestSnapshot(), slot, GetCurrentCommandId(true),
										LockTupleExclusive, wait ? LockWaitBlock : LockWaitSkip, 0, &failure);

	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/* ---- numbers ------------------------------------------------------------------------------------- */

/*
 * What tells this store from another one that goes on from the same state: the timeline after a failover or a
 * recovery, the table after a restored dump.  Never 0.
 */
uint32
ConsumerPlace(ConsumerTables *tables)
{
	struct
	{
		uint64 system;
		TimeLineID timeline;
		Oid database;
		Oid numbers;
		uint32 unused; /* so that no byte is without a value */
	} place = {GetSystemIdentifier(), GetWALInsertionTimeLine(), MyDatabaseId, tables->numbers, 0};

	return Max(hash_bytes((const unsigned char *)&place, sizeof(place)), 1);
}

/*
 * Puts the sequence forward to the clock, and by a jump if the place is new, and returns the number that it
 * is at then.  One session at a time: of two the one that looked at the clock earlier might be the later one
 * to write, and set it back.
 */
static int64
PutNumbersForward(ConsumerTables *tables, bool jump)
{
	int64 number, clock;

	LockRelationOid(tables->numbers, ShareUpdateExclusiveLock);
	number = nextval_internal(tables->numbers, true);
	clock = GetCurrentTimestamp() - NUMBERS_EPOCH;
	if (jump)
		clock = Max(clock, number) + NUMBERS_JUMP;
	if (jump || number <= clock - NUMBERS_BEHIND)
	{
		(void)DirectFunctionCall2(setval_oid, ObjectIdGetDatum(tables->numbers), Int64GetDatum(clock));
		number = clock;
	}
	UnlockRelationOid(tables->numbers, ShareUpdateExclusiveLock);
	return number;
}

/*
 * The next number of a claim or a consumer.  Numbers rise for ever, and one that may have been given before,
 * by a call that was rolled back, by a server that crashed, by a primary whose last transactions a failover
 * has lost, or after the dump that this database was restored from, is not given again: they come from a
 * sequence, follow the clock in microseconds, and jump where the place is another than that of the number
 * before; 0 stands for no number before.  They stay below 2^53 until the year 2311, so that a double holds
 * them.
 *
 * A claim may be committed before it is on disk (commit.c), so what says that its number was given goes there
 * first: a sequence writes that once for 32 numbers.
 */
int64
ConsumerNumber(ConsumerTables *tables, uint32 place, bool *jumped)
{
	XLogRecPtr before = XactLastRecEnd;
	int64 number = nextval_internal(tables->numbers, true);

	*jumped = place != 0 && place != ConsumerPlace(tables);
	if (*jumped || number <= GetCurrentTimestamp() - NUMBERS_EPOCH - NUMBERS_BEHIND)
		number = PutNumbersForward(tables, *jumped);
	if (XactLastRecEnd != before)
		XLogFlush(XactLastRecEnd);
	return number;
}
