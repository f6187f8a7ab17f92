/*
 * cache.c: what a session knows of namespaces and their tables: OIDs, the kinds of indexes, what is in the
 * way of appends.
 *
 * It is kept for the life of the session and thrown away by relcache invalidation, which every DROP, ALTER
 * and CREATE INDEX sends, and when a sequence is altered.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/errors.h"
#include "store/cache.h"

/* The schema of a namespace.  `valid` falls when the registry or a known table changes. */
typedef struct NameEntry
{
	char name[MAX_NAMESPACE_NAME + 1]; /* hash key */
	bool valid;
	Oid schema;
} NameEntry;

static HTAB *tables = NULL;
static HTAB *names = NULL;
static uint64 invalidations = 0;
static Oid registry_relid = InvalidOid;

/* ---- invalidation -------------------------------------------------------------------------------------- */

/* Returns how many there were: more than before mean that what was looked up meanwhile may be out of date. */
uint64
StoreInvalidations(void)
{
	return invalidations;
}

/* Has the registry looked at again for every namespace. */
void
StoreForgetNames(void)
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
			entry->remains_known = false;
			known = true;
		}
	if (known)
		StoreForgetNames();
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

/* Makes the caches, at the first call of a session; they are empty. */
void
StoreCreateCaches(void)
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

/* ---- looking up ---------------------------------------------------------------------------------------- */

/*
 * Returns the schema of a namespace; InvalidOid when there is no such namespace.  Errors: MR010 when its
 * table is gone.
 */
Oid
StoreFindSchema(const char *name)
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
	schema = StoreReadRegistry(name, &registry_relid);
	if (!schema)
		return InvalidOid;
	entry = hash_search(names, name, HASH_ENTER, NULL);
	entry->schema = get_namespace_oid(schema, true);
	entry->valid = before == invalidations;
	if (!OidIsValid(entry->schema) || !OidIsValid(get_relname_relid(MESSAGES_TABLE, entry->schema)))
	{
		entry->valid = false;
		if (!StoreReadRegistry(name, &registry_relid)) /* it was dropped between the two looks */
			return InvalidOid;
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("namespace \"%s\" has lost its table \"%s\".messages", name, schema),
						errhint("Restore the table, or drop the namespace with millrace.drop_namespace().")));
	}
	return entry->schema;
}

/* Throws away what StoreDescribeTable() has found out. */
void
StoreForgetDescription(TableEntry *entry)
{
	Store *description = entry->description;

	entry->description = NULL;
	if (description)
		pfree(description);
}

/*
 * Returns the entry of a schema's table, made anew where it was thrown away; NULL when there is no such
 * table.
 */
TableEntry *
StoreFindTable(Oid schema)
{
	TableEntry *entry = hash_search(tables, &schema, HASH_FIND, NULL);
	uint64 before = invalidations;
	Oid relid;

	if (entry && entry->valid)
		return entry;
	if (entry)
		StoreForgetDescription(entry);
	relid = get_relname_relid(MESSAGES_TABLE, schema);
	if (!OidIsValid(relid))
	{
		(void)hash_search(tables, &schema, HASH_REMOVE, NULL);
		return NULL;
	}
	entry = hash_search(tables, &schema, HASH_ENTER, NULL);
	entry->description = NULL;
	entry->remains_known = false;
	entry->relid = relid;
	entry->changed_by = InvalidTransactionId;
	entry->valid = before == invalidations;
	return entry;
}
