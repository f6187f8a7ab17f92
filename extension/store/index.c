/*
 * index.c: finding out which index of a table of messages is which.
 *
 * Known by shape, not by name, so that an adopted table may call them as it likes.  What is none of ours
 * (a user's GIN index on data, say) is kept up through the executor's own routines.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "base/errors.h"
#include "store/store.h"
#include "tags/tags.h"

static bool
HasColumns(Form_pg_index form, AttrNumber first, AttrNumber second)
{
	return form->indnkeyatts == (second ? 2 : 1) && form->indkey.values[0] == first &&
		   (!second || form->indkey.values[1] == second);
}

/*
 * What a cast without a function is made from; an index's own cast is implicit, the same index's after
 * pg_restore is not.
 */
static Node *
StripRelabels(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *)((RelabelType *)node)->arg;
	return node;
}

/* Says whether the index's first column is millrace.category(stream_name): our C function, under any name. */
static bool
IsOnCategory(Relation index)
{
	Form_pg_index form = index->rd_index;
	List *expressions;
	FuncExpr *call;
	Node *argument;
	FmgrInfo function;

	if (form->indnkeyatts < 2 || form->indkey.values[0] != 0 ||
		form->indkey.values[1] != COLUMN_GLOBAL_POSITION)
		return false;
	expressions = RelationGetIndexExpressions(index);
	call = (FuncExpr *)StripRelabels((Node *)linitial(expressions));
	if (!IsA(call, FuncExpr) || list_length(call->args) != 1)
		return false;
	argument = StripRelabels((Node *)linitial(call->args));
	if (!IsA(argument, Var) || ((Var *)argument)->varattno != COLUMN_STREAM_NAME)
		return false;
	fmgr_info(call->funcid, &function);
	return function.fn_addr == millrace_category;
}

/*
 * Says whether the first two columns rise, in the order of the table's columns: what scans by our keys count
 * on.
 */
static bool
HasOurOrder(Relation heap, Relation index)
{
	Oid collation = TupleDescAttr(RelationGetDescr(heap), COLUMN_STREAM_NAME - 1)->attcollation;

	for (int i = 0; i < Min(index->rd_index->indnkeyatts, 2); i++)
	{
		Oid usual = GetDefaultOpClass(index->rd_opcintype[i], BTREE_AM_OID);

		if (index->rd_indoption[i] != 0 || index->rd_opfamily[i] != get_opclass_family(usual) ||
			(OidIsValid(index->rd_indcollation[i]) && index->rd_indcollation[i] != collation))
			return false;
	}
	return true;
}

/*
 * Says whether an expression of the index needs what a row has only when it is inserted: its global position,
 * its time, or all of it.
 */
static bool
ComputesFromLateColumns(Relation index)
{
	Bitmapset *columns = NULL;

	pull_varattnos((Node *)RelationGetIndexExpressions(index), 1, &columns);
	return bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, columns) ||
		   bms_is_member(COLUMN_GLOBAL_POSITION - FirstLowInvalidHeapAttributeNumber, columns) ||
		   bms_is_member(COLUMN_TIME - FirstLowInvalidHeapAttributeNumber, columns);
}

/* The same for an index of tags. */
static StoreIndexKind
TagsKind(const TagsShape *shape)
{
	if (shape->metadata != COLUMN_METADATA || shape->position != COLUMN_GLOBAL_POSITION ||
		(shape->has_types && shape->type != COLUMN_TYPE))
		return INDEX_OTHER;
	return shape->has_types ? INDEX_TAGS : INDEX_TAGS_ONLY;
}

/*
 * Judged by shape alone: an index that is being built concurrently, or that another one has just replaced, is
 * filled like any other of its kind.  Scans of it, now or once it is valid, count on the order of its
 * entries.  It may have further columns, as Message DB's has; their expressions are computed before the
 * append lock is taken, so they must not need more.
 */
static StoreIndexKind
IndexKind(Relation heap, Relation index)
{
	Form_pg_index form = index->rd_index;
	TagsShape shape;

	if (TagsShapeOf(index, &shape))
		return TagsKind(&shape);
	if (index->rd_rel->relam != BTREE_AM_OID || RelationGetIndexPredicate(index) != NIL ||
		!HasOurOrder(heap, index) || ComputesFromLateColumns(index))
		return INDEX_OTHER;
	if (IsOnCategory(index))
		return INDEX_CATEGORY;
	if (!form->indisunique || !form->indimmediate)
		return INDEX_OTHER;
	if (HasColumns(form, COLUMN_GLOBAL_POSITION, 0))
		return INDEX_GLOBAL_POSITION;
	if (HasColumns(form, COLUMN_ID, 0))
		return INDEX_ID;
	if (HasColumns(form, COLUMN_STREAM_NAME, COLUMN_POSITION))
		return INDEX_STREAM;
	return INDEX_OTHER;
}

static void
RequireIndex(Relation heap, Store *description, StoreIndexKind kind, const char *definition)
{
	if (!OidIsValid(description->index[kind]))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_UNUSABLE_TABLE),
						errmsg("table \"%s\" lacks the index %s", RelationGetRelationName(heap), definition),
						errhint("Create it; extension/README.md shows the table with its indexes.")));
}

static StoreIndex
DescribeIndex(Relation heap, Relation index)
{
	StoreIndexKind kind = IndexKind(heap, index);
	int natts = kind == INDEX_GLOBAL_POSITION || kind == INDEX_ID ? 1 : 2;

	return (StoreIndex){
		.oid = RelationGetRelid(index),
		.kind = kind,
		.plain = kind != INDEX_OTHER && index->rd_index->indnatts == natts,
	};
}

/*
 * In the order of filling them: every one on global positions comes last of our own kinds, so that what is
 * found in it is in every other one, too, on a standby as well.
 */
static int
CompareIndexes(const void *left, const void *right)
{
	static const int ranks[] = {[INDEX_CATEGORY] = 0, [INDEX_TAGS] = 1,	  [INDEX_TAGS_ONLY] = 2,
								[INDEX_ID] = 3,		  [INDEX_STREAM] = 4, [INDEX_GLOBAL_POSITION] = 5,
								[INDEX_OTHER] = 6};
	const StoreIndex *a = left;
	const StoreIndex *b = right;

	if (a->kind != b->kind)
		return ranks[a->kind] - ranks[b->kind];
	return a->oid < b->oid ? -1 : a->oid > b->oid;
}

/*
 * Describes the table's indexes, in the caller's memory; sets *problem when the table can't be appended to
 * because of one.  Whether an index is ready to be filled is not a part of it: that changes without an
 * invalidation.
 */
Store *
StoreDescribeIndexes(Relation heap, const char **problem)
{
	List *list = RelationGetIndexList(heap);
	Store *description = palloc0(StoreSize(list_length(list)));
	ListCell *cell;

	foreach (cell, list)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		StoreIndex entry = DescribeIndex(heap, index);

		if (index->rd_index->indisexclusion)
			*problem = "it has an exclusion constraint";
		if (entry.kind != INDEX_OTHER && index->rd_index->indisvalid)
			description->index[entry.kind] = entry.oid;
		description->indexes[description->nindexes++] = entry;
		index_close(index, AccessShareLock);
	}
	list_free(list);
	qsort(description->indexes, description->nindexes, sizeof(StoreIndex), CompareIndexes);
	RequireIndex(heap, description, INDEX_GLOBAL_POSITION, "UNIQUE (global_position)");
	RequireIndex(heap, description, INDEX_ID, "UNIQUE (id)");
	RequireIndex(heap, description, INDEX_STREAM, "UNIQUE (stream_name, position)");
	RequireIndex(heap, description, INDEX_CATEGORY, "(millrace.category(stream_name), global_position)");
	return description;
}
