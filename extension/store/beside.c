/*
 * beside.c: whether a table beside the messages is one of ours, and the rows of one that is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "base/errors.h"
#include "store/beside.h"
#include "store/fence.h"

/* ---- what kind of table it is -------------------------------------------------------------------- */

static bool
HasColumns(Relation table, const BesideKind *kind)
{
	TupleDesc desc = RelationGetDescr(table);

	if (table->rd_rel->relkind != RELKIND_RELATION || table->rd_rel->relam != HEAP_TABLE_AM_OID ||
		desc->natts != kind->ncolumns)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->attisdropped || column->atttypid != kind->columns[i].type ||
			strcmp(NameStr(column->attname), kind->columns[i].name) != 0)
			return false;
	}
	return true;
}

/* Says why the executor must not be gone round; NULL when it may. */
static const char *
Problem(Relation table, const BesideKind *kind)
{
	if (!HasColumns(table, kind))
		return "it has other columns";
	if (FenceHasOthers(table, NULL) || table->rd_rules)
		return "it has triggers or rules";
	if (table->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return "it is unlogged, so a crash empties it";
	if (table->rd_rel->relispartition || table->rd_rel->relhassubclass)
		return "it has child tables or is one";
	if (check_enable_rls(RelationGetRelid(table), InvalidOid, true) == RLS_ENABLED)
		return "row security is active";
	return NULL;
}

/* Refuses a table that can't be used: MR010. */
void
BesideRefuse(Relation table, const BesideKind *kind, const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
					errmsg("table \"%s\".\"%s\" can't be used for %s: %s",
						   get_namespace_name(RelationGetNamespace(table)), RelationGetRelationName(table),
						   kind->use, problem)));
}

/* Refuses a table that is not what it has to be.  Its lock is held. */
void
BesideCheck(Relation table, const BesideKind *kind)
{
	const char *problem = Problem(table, kind);

	if (problem)
		BesideRefuse(table, kind, problem);
}

/* Refuses an index that can't be kept without the executor. */
void
BesideCheckIndex(Relation table, Relation index, const BesideKind *kind)
{
	if (RelationGetIndexExpressions(index) != NIL || RelationGetIndexPredicate(index) != NIL)
		BesideRefuse(table, kind, "it has an index on expressions or on a part of its rows");
}

/* Says whether an index is on these columns, and can be looked into with plain keys. */
bool
BesideIsKeyedBy(Relation index, const AttrNumber *columns, int ncolumns)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisvalid || index->rd_rel->relam != BTREE_AM_OID || form->indnkeyatts != ncolumns)
		return false;
	for (int i = 0; i < ncolumns; i++)
		if (form->indkey.values[i] != columns[i] || index->rd_indoption[i] != 0 ||
			(OidIsValid(index->rd_indcollation[i]) && index->rd_indcollation[i] != C_COLLATION_OID))
			return false;
	return true;
}

/* Says whether an index is the unique one of the table's key. */
bool
BesideIsKey(Relation index, const BesideKind *kind)
{
	return index->rd_index->indisunique && index->rd_index->indimmediate &&
		   BesideIsKeyedBy(index, kind->key, kind->key[1] ? 2 : 1);
}

/* ---- opening ------------------------------------------------------------------------------------- */

/*
 * Opens a table by its key; false: there is none.  Who may look at the messages or change them may do so
 * here, by our functions.  So the table must be of the same owner, or a superuser's.  The lock lasts to
 * commit.  Errors: MR010.
 */
bool
BesideOpen(Beside *beside, Relation messages, const BesideKind *kind, LOCKMODE lockmode)
{
	Oid relid = get_relname_relid(kind->name, RelationGetNamespace(messages));
	ListCell *cell;

	*beside = (Beside){.kind = kind};
	beside->table = OidIsValid(relid) ? try_relation_open(relid, lockmode) : NULL;
	if (!beside->table)
		return false;
	BesideCheck(beside->table, kind);
	if (beside->table->rd_rel->relowner != messages->rd_rel->relowner &&
		!superuser_arg(beside->table->rd_rel->relowner))
		BesideRefuse(beside->table, kind, "it belongs to another role than the messages");
	foreach (cell, RelationGetIndexList(beside->table))
	{
		Relation index;

		if (beside->key && lockmode == AccessShareLock)
			break; /* who only reads needs no other */
		index = index_open(lfirst_oid(cell), lockmode);

		BesideCheckIndex(beside->table, index, kind);
		if (!beside->key && BesideIsKey(index, kind))
			beside->key = index;
		else
			index_close(index, NoLock);
	}
	if (!beside->key)
		BesideRefuse(beside->table, kind, "it has lost an index");
	return true;
}

void
BesideClose(Beside *beside)
{
	if (beside->indexes)
		CatalogCloseIndexes(beside->indexes);
	index_close(beside->key, NoLock);
	relation_close(beside->table, NoLock);
}

/* ---- rows ---------------------------------------------------------------------------------------- */

/* Finds the first row by an index of the table, with a key on its first column or none. */
bool
BesideFirst(Beside *beside, Relation index, ScanKey key, Snapshot snapshot, BesideRow *row)
{
	SysScanDesc scan = systable_beginscan_ordered(beside->table, index, snapshot, key ? 1 : 0, key);
	HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection);

	if (tuple)
	{
		heap_deform_tuple(heap_copytuple(tuple), RelationGetDescr(beside->table), row->value, row->isnull);
		row->tid = tuple->t_self;
		row->writer = HeapTupleHeaderGetXmin(tuple->t_data);
	}
	systable_endscan_ordered(scan);
	return tuple != NULL;
}

static void
OpenForWriting(Beside *beside)
{
	if (!beside->indexes)
		beside->indexes = CatalogOpenIndexes(beside->table);
}

void
BesideInsert(Beside *beside, BesideRow *row)
{
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(beside->table), row->value, row->isnull);

	OpenForWriting(beside);
	CatalogTupleInsertWithInfo(beside->table, tuple, beside->indexes);
	heap_freetuple(tuple);
}

/* The caller has made sure that no other transaction changes the row. */
void
BesideUpdate(Beside *beside, BesideRow *row)
{
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(beside->table), row->value, row->isnull);

	OpenForWriting(beside);
	CatalogTupleUpdateWithInfo(beside->table, &row->tid, tuple, beside->indexes);
	heap_freetuple(tuple);
}

/* The same. */
void
BesideDelete(Beside *beside, ItemPointer tid)
{
	CatalogTupleDelete(beside->table, tid);
}
