/*
 * method.c: the access method millrace_tags.
 *
 * Its routine has of nbtree's what an index must have, and nothing of what the planner or a subscriber of
 * logical replication would choose it for: they would take its entries for rows.  Its operator classes
 * have no operators either.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/xact.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "nodes/execnodes.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "tags/internal.h"

PG_FUNCTION_INFO_V1(millrace_tags_handler);

/* ---- shape --------------------------------------------------------------------------------------------- */

/* The column of the table that an expression is; 0: it is something else. */
static AttrNumber
ColumnOf(Node *node)
{
	while (IsA(node, RelabelType)) /* as pg_restore may leave it */
		node = (Node *)((RelabelType *)node)->arg;
	return IsA(node, Var) ? ((Var *)node)->varattno : 0;
}

/* Says whether an expression is tag_hashes_1(metadata [, type]), both of which are columns. */
static bool
HasHashes(Node *node, TagsShape *shape)
{
	FuncExpr *call = (FuncExpr *)node;
	FmgrInfo function;

	if (!IsA(node, FuncExpr) || list_length(call->args) < 1 || list_length(call->args) > 2)
		return false;
	fmgr_info(call->funcid, &function);
	if (function.fn_addr != millrace_tag_hashes_1)
		return false;
	shape->has_types = list_length(call->args) == 2;
	shape->metadata = ColumnOf(linitial(call->args));
	shape->type = 0;
	if (shape->has_types)
		shape->type = ColumnOf(lsecond(call->args));
	return shape->metadata > 0 && shape->has_types == (shape->type > 0);
}

static bool
HasShape(Relation index, TagsShape *shape)
{
	Form_pg_index form = index->rd_index;

	if (form->indnatts != ENTRY_COLUMNS || form->indnkeyatts != ENTRY_COLUMNS ||
		form->indkey.values[0] != 0 || form->indkey.values[1] <= 0 ||
		index->rd_opcintype[0] != INT8ARRAYOID || index->rd_opcintype[1] != INT8OID ||
		RelationGetIndexPredicate(index) != NIL)
		return false;
	shape->position = form->indkey.values[1];
	return HasHashes(linitial(RelationGetIndexExpressions(index)), shape);
}

bool
TagsShapeOf(Relation index, TagsShape *shape)
{
	return index->rd_indam->aminsert == TagsInsert && HasShape(index, shape);
}

bool
TagsMayRead(Relation index, Snapshot snapshot)
{
	TransactionId maker;

	if (!index->rd_index->indcheckxmin)
		return true;
	maker = HeapTupleHeaderGetXmin(index->rd_indextuple->t_data);
	if (TransactionIdPrecedes(maker, snapshot->xmin))
		return true;
	return TransactionIdIsCurrentTransactionId(maker) ? !IsolationUsesXactSnapshot()
													  : !XidInMVCCSnapshot(maker, snapshot);
}

/* ---- the routine --------------------------------------------------------------------------------------- */

/* The access method's ambuild: refuses an index of another shape. */
static IndexBuildResult *
BuildIfShaped(Relation heap, Relation index, IndexInfo *info)
{
	TagsShape shape;

	if (!HasShape(index, &shape))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"millrace_tags\" makes no index like \"%s\"",
						RelationGetRelationName(index)),
				 errhint("It makes (millrace.tag_hashes_1(metadata, type), global_position), and the same "
						 "without type; see millrace.index_tags().")));
	return TagsBuild(heap, index, info);
}

/* The access method's amvalidate: a class compares numbers of 64 bits, and has no operators. */
static bool
Validate(Oid opclass)
{
	HeapTuple row = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	struct catclist *operators;
	bool right;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass)GETSTRUCT(row);
	operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(form->opcfamily));
	right =
		(form->opcintype == INT8OID || (form->opcintype == INT8ARRAYOID && form->opckeytype == INT8OID)) &&
		get_opfamily_proc(form->opcfamily, form->opcintype, form->opcintype, BTORDER_PROC) == F_BTINT8CMP &&
		operators->n_members == 0;
	if (!right)
		ereport(INFO, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					   errmsg("operator class \"%s\" is none of access method \"millrace_tags\"",
							  NameStr(form->opcname))));
	ReleaseSysCacheList(operators);
	ReleaseSysCache(row);
	return right;
}

/* tags_handler(internal) RETURNS index_am_handler: the access method's routine. */
Datum
millrace_tags_handler(PG_FUNCTION_ARGS)
{
	static IndexAmRoutine routine = {.type = T_IndexAmRoutine};
	const IndexAmRoutine *nbtree = GetIndexAmRoutine(F_BTHANDLER);

	routine.amsupport = nbtree->amsupport;
	routine.amcanmulticol = true;
	routine.amstorage = true;
	routine.ampredlocks = nbtree->ampredlocks;
	routine.amparallelvacuumoptions = nbtree->amparallelvacuumoptions;
	routine.ambuild = BuildIfShaped;
	routine.ambuildempty = nbtree->ambuildempty;
	routine.aminsert = TagsInsert;
	routine.ambulkdelete = nbtree->ambulkdelete;
	routine.amvacuumcleanup = nbtree->amvacuumcleanup;
	routine.amcostestimate = nbtree->amcostestimate;
	routine.amoptions = nbtree->amoptions;
	routine.ambuildphasename = nbtree->ambuildphasename;
	routine.amvalidate = Validate;
	routine.ambeginscan = nbtree->ambeginscan;
	routine.amrescan = nbtree->amrescan;
	routine.amgettuple = nbtree->amgettuple;
	routine.amendscan = nbtree->amendscan;
	PG_RETURN_POINTER(CompatHandOutRoutine(&routine));
}
