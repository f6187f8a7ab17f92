/*
 * describe.c: what kind of table a namespace has: whether it is one of messages, and may be appended to
 * without the executor.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/cache.h"
#include "store/fence.h"

/* ---- columns ------------------------------------------------------------------------------------------- */

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
			   /* core/row.h takes those up to the name to be in every row */
			   (!column->atthasmissing || i + 1 > COLUMN_STREAM_NAME);
	}
	return ours;
}

#define CITUS_TABLES "pg_dist_partition" /* in pg_catalog; its first column is the table's OID */

/*
 * Says whether Citus has the rows of a table elsewhere, in shards.  The table itself stays, empty, and only
 * the planner would be led from it to them.
 */
static bool
IsDistributed(Relation heap)
{
	Oid relid = get_relname_relid(CITUS_TABLES, PG_CATALOG_NAMESPACE);
	Relation tables = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	bool found = false;

	if (tables && tables->rd_rel->relkind == RELKIND_RELATION && tables->rd_rel->relam == HEAP_TABLE_AM_OID &&
		TupleDescAttr(RelationGetDescr(tables), 0)->atttypid == REGCLASSOID)
	{
		ScanKeyData key;
		SysScanDesc scan;

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationGetRelid(heap)));
		scan = systable_beginscan(tables, InvalidOid, false, NULL, 1, &key);
		found = HeapTupleIsValid(systable_getnext(scan));
		systable_endscan(scan);
	}
	if (tables)
		relation_close(tables, AccessShareLock);
	return found;
}

static void
RefuseDistributed(Relation heap)
{
	const char *schema = get_namespace_name(RelationGetNamespace(heap)),
			   *name = RelationGetRelationName(heap);

	ereport(ERROR,
			(errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
			 errmsg("table \"%s\".\"%s\" is distributed by Citus, so its rows are not in it", schema, name),
			 errhint("A namespace is on one machine: SELECT undistribute_table('%s').",
					 quote_qualified_identifier(schema, name))));
}

/* Refuses a table that has not the columns of messages, or whose rows are elsewhere: MR010. */
void
StoreCheckColumns(Relation heap)
{
	if (IsDistributed(heap))
		RefuseDistributed(heap);
	if (!HasOurColumns(heap))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("table \"%s\".\"%s\" is not a table of messages",
							   get_namespace_name(RelationGetNamespace(heap)), RelationGetRelationName(heap)),
						errhint("Its eight columns must be those that millrace.create_namespace() makes.")));
}

/*
 * Says whether a relation is a table of messages, without running anything that its owner put into it;
 * keeps no lock.
 */
bool
StoreHoldsMessages(Oid relid)
{
	Relation heap = try_relation_open(relid, AccessShareLock);
	bool ours = heap && HasOurColumns(heap);

	if (heap)
		relation_close(heap, AccessShareLock);
	return ours;
}

/* ---- appends ------------------------------------------------------------------------------------------- */

static bool
IsInTheWay(const Trigger *trigger)
{
	return TRIGGER_FOR_INSERT(trigger->tgtype) &&
		   (!TRIGGER_FOR_ROW(trigger->tgtype) || TRIGGER_FOR_BEFORE(trigger->tgtype) || trigger->tgnewtable);
}

/* Says why rows must not be inserted into the table behind the executor's back; NULL when they may. */
static const char *
AppendProblem(Relation heap)
{
	TupleConstr *constraints = RelationGetDescr(heap)->constr;

	if (constraints && (constraints->num_check > 0 || CompatHasGenerated(constraints)))
		return "it has check constraints or generated columns";
	if (FenceHasOthers(heap, IsInTheWay))
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

/* ---- all of it ----------------------------------------------------------------------------------------- */

/*
 * Returns the transaction that wrote the latest version of the table's row in pg_class; InvalidTransactionId
 * when that was so long ago that every snapshot sees it.
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
	TableEntry *entry = StoreFindTable(schema);

	if (entry && entry->relid == RelationGetRelid(heap))
		return entry;
	ereport(ERROR,
			(errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
			 errmsg("table \"%s\" was exchanged while it was looked at", RelationGetRelationName(heap))));
}

/*
 * Describes the table, and returns its entry.  Expressions of its owner may run meanwhile, and they may do
 * anything to the table and call functions of Millrace for this and other tables; so an entry that was found
 * before is looked for again, not trusted.  Errors: MR010.
 */
TableEntry *
StoreDescribeTable(Oid schema, Relation heap)
{
	uint64 before = StoreInvalidations();
	TableEntry *entry;
	Store *description, *kept;
	const char *problem;
	bool fenced;
	StoreCaller caller;

	StoreCheckColumns(heap);
	problem = AppendProblem(heap);
	fenced = FenceIsUp(heap);
	caller = StoreBecomeOwner(heap);
	description = StoreDescribeIndexes(heap, &problem);
	StoreBecomeCaller(caller);
	description->sequence = FindSequence(heap, &problem);
	entry = FindSameTable(schema, heap);
	StoreForgetDescription(entry);
	entry->valid = before == StoreInvalidations();
	entry->changed_by = WriterOfTable(entry->relid);
	kept = MemoryContextAlloc(CacheMemoryContext, StoreSize(description->nindexes));
	memcpy(kept, description, StoreSize(description->nindexes));
	pfree(description);
	entry->append_problem = problem;
	entry->fenced = fenced;
	entry->sequence_hash = GetSysCacheHashValue1(SEQRELID, ObjectIdGetDatum(kept->sequence));
	entry->description = kept;
	return entry;
}
