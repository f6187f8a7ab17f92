/*
 * store.c: opening the table of a namespace, and scanning it.
 *
 * Reading and writing tables from C goes round the executor, so the checks that it makes for a
 * caller are made here: privileges on schema and table, row security, triggers and constraints.
 *
 * What is known of a namespace's table (its OIDs, the kinds of its indexes) is kept for the life of the
 * backend and thrown away by relcache invalidation, which every DROP, ALTER and CREATE INDEX sends, and when
 * a sequence is altered.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/parallel.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/store.h"

#define REGISTRY_SCHEMA "millrace"
#define REGISTRY_TABLE "namespaces"
#define MESSAGES_TABLE "messages"
/* Transactions; half of the numbers there are is the most that may lie between two. */
#define SNAPSHOT_AGE_MAX 1000000000

enum
{
	REGISTRY_NAME = 1,
	REGISTRY_SCHEMA_NAME
};

/* What is known of the table in a schema.  `valid` falls when anything about the table changes. */
typedef struct TableEntry
{
	Oid schema; /* hash key */
	bool valid;
	Oid relid;
	TransactionId changed_by;	/* who wrote the table's row in pg_class; InvalidTransactionId: long ago */
	const char *append_problem; /* a constant: why appends must not go round the executor; or NULL */
	Store *description;			/* in CacheMemoryContext, without the heap; NULL: not made yet */
	uint32 sequence_hash;		/* of the sequence in its syscache */
} TableEntry;

/* The schema of a namespace.  `valid` falls when the registry or a known table changes. */
typedef struct NameEntry
{
	char name[MAX_NAMESPACE_NAME + 1]; /* hash key */
	bool valid;
	Oid schema;
} NameEntry;

static HTAB *tables = NULL;
static HTAB *names = NULL;
static uint64 invalidations = 0; /* counts them, to notice one that comes while an entry is loaded */
static Oid registry_relid = InvalidOid;

PG_FUNCTION_INFO_V1(millrace_lock_namespace);
PG_FUNCTION_INFO_V1(millrace_forget_namespaces);

extern Datum millrace_lock_namespace(PG_FUNCTION_ARGS);
extern Datum millrace_forget_namespaces(PG_FUNCTION_ARGS);

/* ---- what is known of namespaces ------------------------------------------------------------- */

static void
ForgetNames(void)
{
	HASH_SEQ_STATUS status;
	NameEntry *entry;

	hash_seq_init(&status, names);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

/* Relcache callback: InvalidOid stands for all relations. */
static void
ForgetRelation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	TableEntry *entry;
	bool known = relid == InvalidOid || relid == registry_relid;

	invalidations++;
	hash_seq_init(&status, tables);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (relid == InvalidOid || relid == entry->relid)
		{
			entry->valid = false;
			known = true;
		}
	if (known)
		ForgetNames();
}

/* Syscache callback: ALTER SEQUENCE sends the table nothing.  0 stands for all sequences. */
static void
ForgetSequence(Datum arg, int cache, uint32 hash)
{
	HASH_SEQ_STATUS status;
	TableEntry *entry;

	invalidations++;
	hash_seq_init(&status, tables);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->description &&
			(hash == 0 || hash == entry->sequence_hash || !OidIsValid(entry->description->sequence)))
			entry->valid = false;
}

static void
CreateCaches(void)
{
	HASHCTL table_keys = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(TableEntry),
		.hcxt = CacheMemoryContext,
	};
	HASHCTL name_keys = {
		.keysize = MAX_NAMESPACE_NAME + 1,
		.entrysize = sizeof(NameEntry),
		.hcxt = CacheMemoryContext,
	};

	if (tables)
		return;
	names = hash_create("millrace names", 32, &name_keys, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	tables = hash_create("millrace tables", 32, &table_keys, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(ForgetRelation, (Datum)0);
	CacheRegisterSyscacheCallback(SEQRELID, ForgetSequence, (Datum)0);
}

/* Reads the namespace's schema name from the registry; NULL when it is not registered. */
static char *
ReadRegistry(const char *name)
{
	Relation registry;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple row;
	char *schema = NULL;
	Oid schema_oid = get_namespace_oid(REGISTRY_SCHEMA, false);

	registry_relid = get_relname_relid(REGISTRY_TABLE, schema_oid);
	registry = table_open(registry_relid, AccessShareLock);
	ScanKeyInit(&key, REGISTRY_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(registry, CompatPrimaryKeyIndex(registry), true, NULL, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
	{
		bool isnull;
		Datum value = heap_getattr(row, REGISTRY_SCHEMA_NAME, RelationGetDescr(registry), &isnull);

		schema = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return schema;
}

/* Finds a namespace's schema: InvalidOid when there is no such namespace. */
static Oid
FindSchema(const char *name)
{
	NameEntry *entry;
	char *schema;
	uint64 before;

	if (strlen(name) > MAX_NAMESPACE_NAME)
		return InvalidOid;
	entry = hash_search(names, name, HASH_FIND, NULL);
	if (entry && entry->valid)
		return entry->schema;

	before = invalidations;
	schema = ReadRegistry(name);
	if (!schema)
		return InvalidOid;
	entry = hash_search(names, name, HASH_ENTER, NULL);
	entry->schema = get_namespace_oid(schema, true);
	entry->valid = before == invalidations;
	if (!OidIsValid(entry->schema) || !OidIsValid(get_relname_relid(MESSAGES_TABLE, entry->schema)))
	{
		entry->valid = false;
		if (!ReadRegistry(name)) /* it was dropped between the two looks */
			return InvalidOid;
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("namespace \"%s\" has lost its table \"%s\".messages", name, schema),
						errhint("Restore the table, or drop the namespace with millrace.drop_namespace().")));
	}
	return entry->schema;
}

static void
ForgetDescription(TableEntry *entry)
{
	Store *description = entry->description;

	entry->description = NULL;
	if (description)
		pfree(description);
}

/* Finds or loads the entry of a schema's table; NULL when there is no such table. */
static TableEntry *
FindTable(Oid schema)
{
	TableEntry *entry = hash_search(tables, &schema, HASH_FIND, NULL);
	uint64 before = invalidations;
	Oid relid;

	if (entry && entry->valid)
		return entry;
	if (entry)
		ForgetDescription(entry);
	relid = get_relname_relid(MESSAGES_TABLE, schema);
	if (!OidIsValid(relid))
	{
		(void)hash_search(tables, &schema, HASH_REMOVE, NULL);
		return NULL;
	}
	entry = hash_search(tables, &schema, HASH_ENTER, NULL);
	entry->description = NULL;
	entry->relid = relid;
	entry->changed_by = InvalidTransactionId;
	entry->valid = before == invalidations;
	return entry;
}

/* ---- what kind of table it is --------------------------------------------------------------------- */

static const struct
{
	const char *name;
	Oid type;
} columns[COLUMNS] = {
	{"global_position", INT8OID}, {"position", INT8OID}, {"time", TIMESTAMPOID},
	{"stream_name", TEXTOID},	  {"type", TEXTOID},	 {"data", JSONBOID},
	{"metadata", JSONBOID},		  {"id", UUIDOID},
};

/* Says whether a relation is an ordinary table with the columns of messages. */
static bool
HasOurColumns(Relation heap)
{
	TupleDesc desc = RelationGetDescr(heap);
	bool ours = heap->rd_rel->relkind == RELKIND_RELATION && heap->rd_rel->relam == HEAP_TABLE_AM_OID &&
				desc->natts >= COLUMNS;

	/* A column that was added and dropped again stays in every row, as NULL. */
	for (int i = COLUMNS; ours && i < desc->natts; i++)
		ours = TupleDescAttr(desc, i)->attisdropped;
	for (int i = 0; ours && i < COLUMNS; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		ours = !column->attisdropped && strcmp(NameStr(column->attname), columns[i].name) == 0 &&
			   column->atttypid == columns[i].type &&
			   (column->attnotnull || i + 1 == COLUMN_DATA || i + 1 == COLUMN_METADATA) &&
			   (!column->atthasmissing ||
				i + 1 > COLUMN_STREAM_NAME); /* read.c takes those to be in every row */
	}
	return ours;
}

static void
CheckColumns(Relation heap)
{
	if (!HasOurColumns(heap))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("table \"%s\".\"%s\" is not a table of messages",
							   get_namespace_name(RelationGetNamespace(heap)), RelationGetRelationName(heap)),
						errhint("Its eight columns must be those that millrace.create_namespace() makes.")));
}

/* Says why rows must not be inserted into the table behind the executor's back; NULL when they may. */
static const char *
AppendProblem(Relation heap)
{
	TupleConstr *constraints = RelationGetDescr(heap)->constr;
	TriggerDesc *triggers = heap->trigdesc;

	if (constraints && (constraints->num_check > 0 || CompatHasGenerated(constraints)))
		return "it has check constraints or generated columns";
	if (triggers && (triggers->trig_insert_before_row || triggers->trig_insert_before_statement ||
					 triggers->trig_insert_after_statement || triggers->trig_insert_new_table))
		return "it has triggers on INSERT, other than plain AFTER ROW ones";
	if (heap->rd_rules)
		return "it has rules";
	if (heap->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return "it is unlogged, so a crash empties it and positions are given again";
	if (heap->rd_rel->relispartition ||
		(heap->rd_rel->relhassubclass && /* which stays when they are dropped */
		 find_inheritance_children(RelationGetRelid(heap), NoLock) != NIL))
		return "it has child tables or is one";
	return NULL;
}

/* Finds the sequence of global positions, which must hand out one number at a time, in rising order. */
static Oid
FindSequence(Relation heap, const char **problem)
{
	List *owned = getOwnedSequences(RelationGetRelid(heap));
	HeapTuple row;
	Form_pg_sequence form;
	Oid sequence;

	if (list_length(owned) != 1)
	{
		*problem = "it does not own exactly one sequence";
		return InvalidOid;
	}
	sequence = linitial_oid(owned);
	row = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	form = (Form_pg_sequence)GETSTRUCT(row);
	if (form->seqcache != 1 || form->seqincrement <= 0 || form->seqcycle)
		*problem = "its sequence caches, cycles or falls, so global positions would not rise";
	ReleaseSysCache(row);
	return sequence;
}

/*
 * Who wrote the latest version of the table's row in pg_class; InvalidTransactionId when that was so long ago
 * that every snapshot sees it.
 */
static TransactionId
WriterOfTable(Oid relid)
{
	HeapTuple row = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	TransactionId writer;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	writer = HeapTupleHeaderGetXmin(row->t_data);
	ReleaseSysCache(row);
	return TransactionIdIsNormal(writer) ? writer : InvalidTransactionId;
}

static TableEntry *
FindSameTable(Oid schema, Relation heap)
{
	TableEntry *entry = FindTable(schema);

	if (entry && entry->relid == RelationGetRelid(heap))
		return entry;
	ereport(ERROR,
			(errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
			 errmsg("table \"%s\" was exchanged while it was looked at", RelationGetRelationName(heap))));
}

/*
 * Describes the table, and returns its entry.  Expressions of its owner may run meanwhile, and they may do
 * anything to the table and call us for this and other tables; so what was known of it before is looked for
 * again, not trusted.
 */
static TableEntry *
DescribeTable(Oid schema, Relation heap)
{
	uint64 before = invalidations;
	TableEntry *entry;
	Store *description, *kept;
	const char *problem;
	StoreCaller caller;

	CheckColumns(heap);
	problem = AppendProblem(heap);
	caller = StoreBecomeOwner(heap);
	description = StoreDescribeIndexes(heap, &problem);
	StoreBecomeCaller(caller);
	description->sequence = FindSequence(heap, &problem);
	entry = FindSameTable(schema, heap);
	ForgetDescription(entry);
	entry->valid = before == invalidations;
	entry->changed_by = WriterOfTable(entry->relid);
	kept = MemoryContextAlloc(CacheMemoryContext, StoreSize(description->nindexes));
	memcpy(kept, description, StoreSize(description->nindexes));
	pfree(description);
	entry->append_problem = problem;
	entry->sequence_hash = GetSysCacheHashValue1(SEQRELID, ObjectIdGetDatum(kept->sequence));
	entry->description = kept;
	return entry;
}

/* ---- opening --------------------------------------------------------------------------------------- */

static void
CheckPrivileges(TableEntry *entry, AclMode wanted)
{
	Oid role = GetUserId();
	AclResult result;

	result = CompatSchemaAclCheck(entry->schema, role, ACL_USAGE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_SCHEMA, get_namespace_name(entry->schema));
	if ((pg_class_aclmask(entry->relid, role, wanted, ACLMASK_ALL) & wanted) != wanted)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(entry->relid));
	if (check_enable_rls(entry->relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("row security is active on table \"%s\".messages for role \"%s\"",
							   get_namespace_name(entry->schema), GetUserNameFromId(role, false)),
						errhint("Millrace does not apply row security policies. "
								"Give each tenant a namespace of its own instead.")));
}

/*
 * Opens the heap with its lock.  What was known before the lock was granted may have become wrong, so looks
 * again then.  NULL: there is no such table.
 */
static Relation
OpenHeap(Oid schema, LOCKMODE lockmode, TableEntry **entry)
{
	for (;;)
	{
		Relation heap;

		CHECK_FOR_INTERRUPTS();
		*entry = FindTable(schema);
		if (!*entry)
			return NULL;
		heap = try_relation_open((*entry)->relid, lockmode);
		if (heap && (*entry)->valid)
			return heap;
		if (heap)
			relation_close(heap, lockmode);
		(*entry)->valid = false;
	}
}

/*
 * Says whether the table was created, altered or swapped for another file by a transaction that the snapshot
 * doesn't see.
 */
static bool
IsYoungerThan(TableEntry *entry, Snapshot snapshot)
{
	TransactionId writer = entry->changed_by;

	if (!TransactionIdIsValid(writer) || TransactionIdIsCurrentTransactionId(writer))
		return false;
	if (!TransactionIdPrecedes(writer, snapshot->xmin))
		return XidInMVCCSnapshot(writer, snapshot);
	/* So far back that numbers will soon have gone round is the same as long ago. */
	if (snapshot->xmin - writer > SNAPSHOT_AGE_MAX)
		entry->changed_by = InvalidTransactionId;
	return false;
}

/*
 * Opens the table in a schema; NULL when there is none.  Anything else that is wrong is an error: privileges
 * 42501, an unusable table MR010.
 */
Store *
StoreOpenSchema(Oid schema, StoreMode mode)
{
	TableEntry *entry;
	Relation heap;
	Store *store;

	CreateCaches();
	heap = OpenHeap(schema, mode == STORE_APPEND ? RowExclusiveLock : AccessShareLock, &entry);
	if (!heap)
		return NULL;
	CheckPrivileges(entry, mode == STORE_APPEND ? ACL_SELECT | ACL_INSERT : ACL_SELECT);
	/* That a child table was dropped is told to nobody, so what was in the way once is looked for again. */
	if (!entry->description || (mode == STORE_APPEND && entry->append_problem))
		entry = DescribeTable(schema, heap);
	if (mode == STORE_APPEND && entry->append_problem)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("messages can't be appended to table \"%s\".messages: %s",
							   get_namespace_name(schema), entry->append_problem)));
	store = palloc(StoreSize(entry->description->nindexes));
	memcpy(store, entry->description, StoreSize(entry->description->nindexes));
	store->heap = heap;
	store->has_snapshot = false;
	if (mode == STORE_READ && IsYoungerThan(entry, GetActiveSnapshot()))
		StoreReplaceSnapshot(store);
	return store;
}

static void
RaiseNoTable(Oid schema)
{
	char *name = get_namespace_name(schema);

	if (!name)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND),
						errmsg("the namespace was dropped meanwhile")));
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
					errmsg("relation \"%s\".\"%s\" does not exist", name, MESSAGES_TABLE)));
}

/*
 * Opens a schema's table of messages for what needs none of its indexes.  Who may not do what is wanted gets
 * no lock either.  Errors: 42501, MR010, MR003 when the schema is gone, and 42P01 when there is no relation
 * `messages`.
 */
Relation
StoreOpenHeap(Oid schema, LOCKMODE lockmode, AclMode wanted)
{
	TableEntry *entry;
	Relation heap = NULL;

	CreateCaches();
	entry = FindTable(schema);
	if (entry)
	{
		CheckPrivileges(entry, wanted);
		heap = OpenHeap(schema, lockmode, &entry);
	}
	if (!heap)
		RaiseNoTable(schema);
	CheckPrivileges(entry, wanted);
	CheckColumns(heap);
	return heap;
}

/* Says whether a relation is a table of messages, without running anything of it; keeps no lock. */
bool
StoreHoldsMessages(Oid relid)
{
	Relation heap = try_relation_open(relid, AccessShareLock);
	bool ours = heap && HasOurColumns(heap);

	if (heap)
		relation_close(heap, AccessShareLock);
	return ours;
}

/* Opens a namespace's table; NULL when there is no such namespace. */
Store *
StoreTryOpen(const char *namespace_name, StoreMode mode)
{
	CreateCaches();
	for (;;)
	{
		Oid schema = FindSchema(namespace_name);
		Store *store;

		if (!OidIsValid(schema))
			return NULL;
		store = StoreOpenSchema(schema, mode);
		/* Waiting for the lock may have shown that the name means another table now, or none. */
		if (store && FindSchema(namespace_name) == schema)
			return store;
		if (store)
			StoreClose(store);
		ForgetNames();
	}
}

/* The same, but a missing namespace is an error, MR003. */
Store *
StoreOpen(const char *namespace_name, StoreMode mode)
{
	Store *store = StoreTryOpen(namespace_name, mode);

	if (!store)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND),
						errmsg("namespace \"%s\" does not exist", namespace_name),
						errhint("Create it with millrace.create_namespace(), or select another with SET "
								"millrace.namespace.")));
	return store;
}

void
StoreClose(Store *store)
{
	if (store->has_snapshot)
		PopActiveSnapshot();
	relation_close(store->heap, NoLock); /* the lock stays to commit, as the executor's would */
	pfree(store);
}

Relation
StoreOpenIndex(Store *store, Oid index, StoreMode mode)
{
	return index_open(index, mode == STORE_APPEND ? RowExclusiveLock : AccessShareLock);
}

/*
 * Refuses where an INSERT would be refused, with the same words: read-only transactions, parallel mode,
 * recovery.
 */
void
StoreCheckAppendAllowed(void)
{
	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	PreventCommandDuringRecovery("INSERT");
}

/*
 * Makes this transaction's commit wait for all commits before it, as if it had written something: for the
 * disk, and for the synchronous standbys.  An empty message in the WAL is what it writes.
 */
void
StoreFollowEarlierCommits(void)
{
	(void)CompatLogMessage("millrace", "", 0);
}

/* ---- scanning -------------------------------------------------------------------------------------- */

StoreScan *
StoreBeginScan(Store *store, StoreIndexKind kind, Snapshot snapshot, int nkeys)
{
	StoreScan *scan = palloc(sizeof(StoreScan));

	scan->store = store;
	scan->index = StoreOpenIndex(store, store->index[kind], STORE_READ);
	scan->scan = CompatIndexBeginScan(store->heap, scan->index, snapshot, nkeys);
	scan->slot = table_slot_create(store->heap, NULL);
	return scan;
}

void
StoreRescan(StoreScan *scan, ScanKey keys, int nkeys)
{
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

bool
StoreScanNext(StoreScan *scan, ScanDirection direction)
{
	return index_getnext_slot(scan->scan, direction, scan->slot);
}

/* The row that StoreScanNext found, which the slot keeps. */
HeapTuple
StoreScanRow(StoreScan *scan)
{
	return ExecFetchSlotHeapTuple(scan->slot, false, NULL);
}

/*
 * Lets go of the pages that the scan stands on, as whoever waits for another transaction must: that one may
 * wait for somebody who waits for a page that nobody else has pinned, and such a circle is never found.
 * StoreRescan begins anew.
 */
void
StoreRestScan(StoreScan *scan)
{
	ExecClearTuple(scan->slot);
	index_rescan(scan->scan, NULL, scan->scan->numberOfKeys, NULL, 0);
}

void
StoreEndScan(StoreScan *scan)
{
	ExecDropSingleTupleTableSlot(scan->slot);
	index_endscan(scan->scan);
	index_close(scan->index, NoLock);
	pfree(scan);
}

/* Makes a scan key on a text column of the scan's index. */
void
StoreTextKey(StoreScan *scan, ScanKey key, int column, StrategyNumber strategy, text *value)
{
	RegProcedure compare = strategy == BTEqualStrategyNumber	 ? F_TEXTEQ
						   : strategy == BTGreaterStrategyNumber ? F_TEXT_GT
																 : F_TEXT_GE;

	ScanKeyEntryInitialize(key, 0, (AttrNumber)column, strategy, InvalidOid,
						   scan->index->rd_indcollation[column - 1], compare, PointerGetDatum(value));
}

void
StoreInt8Key(ScanKey key, int column, StrategyNumber strategy, int64 value)
{
	ScanKeyInit(key, (AttrNumber)column, strategy, strategy == BTEqualStrategyNumber ? F_INT8EQ : F_INT8GE,
				Int64GetDatum(value));
}

/* Returns a jsonb column of the row, detoasted in the current memory context; NULL for SQL NULL. */
Jsonb *
StoreSlotJsonb(TupleTableSlot *slot, int column)
{
	bool isnull;
	Datum value = slot_getattr(slot, column, &isnull);

	return isnull ? NULL : DatumGetJsonbP(value);
}

/*
 * millrace.lock_namespace(name text): lets one transaction at a time create or drop a namespace of this name.
 * For those only who could do either, or anybody could hold them up; 42501 else.
 */
Datum
millrace_lock_namespace(PG_FUNCTION_ARGS)
{
	Oid registry = get_relname_relid(REGISTRY_TABLE, get_namespace_oid(REGISTRY_SCHEMA, false));

	if (pg_class_aclmask(registry, GetUserId(), ACL_INSERT | ACL_DELETE, ACLMASK_ANY) == 0)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, REGISTRY_TABLE);
	StoreLockNamespace(SliceOfText(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/*
 * millrace.forget_namespaces(): lets every session read the registry anew; it is told when this transaction
 * commits.  On a standby it can't be told: 25006.
 */
Datum
millrace_forget_namespaces(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("millrace.forget_namespaces()");
	CacheInvalidateRelcacheByRelid(
		get_relname_relid(REGISTRY_TABLE, get_namespace_oid(REGISTRY_SCHEMA, false)));
	PG_RETURN_VOID();
}
