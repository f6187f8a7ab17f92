/*
 * registry.c: the table millrace.namespaces, which says in what schema a namespace is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "store/fence.h"
#include "store/store.h"

#define REGISTRY_SCHEMA "millrace"
#define REGISTRY_TABLE "namespaces"

enum
{
	REGISTRY_NAME = 1,
	REGISTRY_SCHEMA_NAME,
	REGISTRY_STATE = 9,
	REGISTRY_EPOCH,
	REGISTRY_MOVED_TO
};

PG_FUNCTION_INFO_V1(millrace_lock_namespace);
PG_FUNCTION_INFO_V1(millrace_forget_namespaces);

extern Datum millrace_lock_namespace(PG_FUNCTION_ARGS);
extern Datum millrace_forget_namespaces(PG_FUNCTION_ARGS);

static Oid
RegistryRelid(void)
{
	return get_relname_relid(REGISTRY_TABLE, get_namespace_oid(REGISTRY_SCHEMA, false));
}

/* The row of a namespace, by what is committed now; NULL: it is not registered. */
static HeapTuple
FindRow(Relation registry, const char *name)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple row;

	ScanKeyInit(&key, REGISTRY_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(registry, CompatPrimaryKeyIndex(registry), true, NULL, 1, &key);
	row = systable_getnext(scan);
	if (row)
		row = heap_copytuple(row);
	systable_endscan(scan);
	return row;
}

/* NULL for NULL. */
static char *
TextOfRow(Relation registry, HeapTuple row, AttrNumber column)
{
	bool isnull;
	Datum value = heap_getattr(row, column, RelationGetDescr(registry), &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Returns the name of a namespace's schema, as the registry has it; NULL when the namespace is not
 * registered. The registry's OID goes into `relid`, before it is opened.
 */
char *
StoreReadRegistry(const char *name, Oid *relid)
{
	Relation registry;
	HeapTuple row;
	char *schema = NULL;

	*relid = RegistryRelid();
	registry = table_open(*relid, AccessShareLock);
	row = FindRow(registry, name);
	if (row)
		schema = TextOfRow(registry, row, REGISTRY_SCHEMA_NAME);
	table_close(registry, AccessShareLock);
	return schema;
}

/* Finds out whether a namespace is open, by what is committed now; false: it is not registered. */
bool
StoreReadState(const char *name, NamespaceState *state)
{
	Relation registry = table_open(RegistryRelid(), AccessShareLock);
	HeapTuple row = FindRow(registry, name);
	bool isnull;

	if (row)
		*state = (NamespaceState){
			.open = strcmp(TextOfRow(registry, row, REGISTRY_STATE), "open") == 0,
			.epoch = DatumGetInt64(heap_getattr(row, REGISTRY_EPOCH, RelationGetDescr(registry), &isnull)),
			.moved_to = TextOfRow(registry, row, REGISTRY_MOVED_TO),
		};
	table_close(registry, AccessShareLock);
	return row != NULL;
}

/*
 * millrace.lock_namespace(name text): lets one transaction at a time create or drop a namespace of this name.
 * Only a role that could do either may call it, or any role could hold those up; 42501 for others.
 */
Datum
millrace_lock_namespace(PG_FUNCTION_ARGS)
{
	Oid registry = RegistryRelid();

	if (pg_class_aclmask(registry, GetUserId(), ACL_INSERT | ACL_DELETE, ACLMASK_ANY) == 0)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, REGISTRY_TABLE);
	StoreLockNamespace(SliceOfText(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/*
 * millrace.forget_namespaces(): has every session read the registry anew, from the commit of this
 * transaction on.  On a standby there is none: 25006.
 */
Datum
millrace_forget_namespaces(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("millrace.forget_namespaces()");
	CacheInvalidateRelcacheByRelid(RegistryRelid());
	PG_RETURN_VOID();
}
