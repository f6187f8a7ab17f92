/*
 * store.c: opening the table of a namespace.
 *
 * Reading and writing tables from C goes round the executor, so the checks that it makes for a caller are
 * made here: privileges on schema and table, row security, triggers and constraints (describe.c).
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "replication/syncrep.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/cache.h"
#include "store/fence.h"

/* Transactions; half of the numbers there are is the most that may lie between two. */
#define SNAPSHOT_AGE_MAX 1000000000

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
		*entry = StoreFindTable(schema);
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

/* Forgets the table's writer when its number will soon be given again: that is the same as long ago. */
static void
ForgetOldWriter(TableEntry *entry, Snapshot snapshot)
{
	TransactionId writer = entry->changed_by;

	if (TransactionIdIsValid(writer) && TransactionIdPrecedes(writer, snapshot->xmin) &&
		snapshot->xmin - writer > SNAPSHOT_AGE_MAX)
		entry->changed_by = InvalidTransactionId;
}

/*
 * Says whether the table was created, altered or swapped for another file by a transaction that the snapshot
 * doesn't see.
 */
static bool
IsYoungerThan(const TableEntry *entry, Snapshot snapshot)
{
	TransactionId writer = entry->changed_by;

	return TransactionIdIsValid(writer) && !TransactionIdPrecedes(writer, snapshot->xmin) &&
		   !TransactionIdIsCurrentTransactionId(writer) && XidInMVCCSnapshot(writer, snapshot);
}

/* Says whether the caller may change the content of messages: in the table, or in the columns that it is. */
bool
StoreMayRedact(Oid relid)
{
	Oid role = GetUserId();

	return pg_class_aclcheck(relid, role, ACL_UPDATE) == ACLCHECK_OK ||
		   (pg_attribute_aclcheck(relid, COLUMN_DATA, role, ACL_UPDATE) == ACLCHECK_OK &&
			pg_attribute_aclcheck(relid, COLUMN_METADATA, role, ACL_UPDATE) == ACLCHECK_OK);
}

static AclMode
WantedPrivileges(StoreMode mode)
{
	switch (mode)
	{
		case STORE_APPEND:
			return ACL_SELECT | ACL_INSERT;
		case STORE_REMOVE:
			return ACL_SELECT | ACL_DELETE;
		default:
			return ACL_SELECT;
	}
}

/*
 * Opens the table in a schema; NULL when there is none.  Anything else that is wrong is an error: privileges
 * 42501, an unusable table MR010, a namespace that is sealed MR028 or has moved MR029.
 */
Store *
StoreOpenSchema(Oid schema, StoreMode mode)
{
	TableEntry *entry;
	Relation heap;
	Store *store;

	StoreCreateCaches();
	heap = OpenHeap(schema, mode == STORE_READ ? AccessShareLock : RowExclusiveLock, &entry);
	if (!heap)
		return NULL;
	CheckPrivileges(entry, WantedPrivileges(mode));
	if (mode == STORE_REDACT && !StoreMayRedact(entry->relid))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(entry->relid));
	/*
	 * When a child table is dropped there is no invalidation, so what was in the way once is looked for
	 * again.
	 */
	if (!entry->description || (mode == STORE_APPEND && entry->append_problem))
		entry = StoreDescribeTable(schema, heap);
	if (entry->fenced)
		FenceCheck(heap, mode != STORE_READ);
	if (mode == STORE_APPEND && entry->append_problem)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("messages can't be appended to table \"%s\".messages: %s",
							   get_namespace_name(schema), entry->append_problem)));
	store = palloc(StoreSize(entry->description->nindexes));
	memcpy(store, entry->description, StoreSize(entry->description->nindexes));
	store->heap = heap;
	store->has_snapshot = false;
	if (mode == STORE_READ)
	{
		ForgetOldWriter(entry, GetActiveSnapshot());
		if (IsYoungerThan(entry, GetActiveSnapshot()))
			StoreReplaceSnapshot(store);
	}
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
 * Opens a schema's table of messages for what needs none of its indexes.  A role that may not do what is
 * wanted gets no lock either.  Errors: 42501, MR010, MR003 when the schema is gone, and 42P01 when there is
 * no relation `messages`.
 */
Relation
StoreOpenHeap(Oid schema, LOCKMODE lockmode, AclMode wanted)
{
	TableEntry *entry;
	Relation heap = NULL;

	StoreCreateCaches();
	entry = StoreFindTable(schema);
	if (entry)
	{
		CheckPrivileges(entry, wanted);
		heap = OpenHeap(schema, lockmode, &entry);
	}
	if (!heap)
		RaiseNoTable(schema);
	CheckPrivileges(entry, wanted);
	StoreCheckColumns(heap);
	return heap;
}

/* Opens a namespace's table; NULL when there is no such namespace. */
Store *
StoreTryOpen(const char *namespace_name, StoreMode mode)
{
	StoreCreateCaches();
	for (;;)
	{
		Oid schema = StoreFindSchema(namespace_name);
		Store *store;

		if (!OidIsValid(schema))
			return NULL;
		store = StoreOpenSchema(schema, mode);
		/* Waiting for the lock may have shown that the name means another table now, or none. */
		if (store && StoreFindSchema(namespace_name) == schema)
			return store;
		if (store)
			StoreClose(store);
		StoreForgetNames();
	}
}

/* What an error says of a namespace that there is not. */
char *
StoreNotFoundText(const char *namespace_name)
{
	return psprintf("namespace \"%s\" does not exist", namespace_name);
}

/* The same as StoreTryOpen(), but a missing namespace is an error, MR003. */
Store *
StoreOpen(const char *namespace_name, StoreMode mode)
{
	Store *store = StoreTryOpen(namespace_name, mode);

	if (!store)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND),
						errmsg("%s", StoreNotFoundText(namespace_name)),
						errhint("Create it with millrace.create_namespace(), or select another with SET "
								"millrace.namespace.")));
	return store;
}

/* Closes the table; its lock stays to commit, as the executor's would. */
void
StoreClose(Store *store)
{
	if (store->has_snapshot)
		PopActiveSnapshot();
	relation_close(store->heap, NoLock);
	pfree(store);
}

/* Opens an index of the table with the lock that the mode needs, which stays to commit. */
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
	(void)CompatLogMessage("millrace", true);
}

/*
 * Waits until all commits that can be seen are on disk and on the synchronous standbys, also those that did
 * not wait for it themselves, so that no crash takes them back.  For who tells others of them and does not
 * commit, or has no transaction number.
 */
void
StoreAwaitDisk(void)
{
	XLogRecPtr end;

	if (RecoveryInProgress())
		return;
	end = CompatLogMessage("millrace", false);
	XLogFlush(end);
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(end, false);
	RESUME_INTERRUPTS();
}
