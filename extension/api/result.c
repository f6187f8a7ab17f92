/*
 * result.c: results that are rows, and row types that ALTER TYPE may have changed.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "base/compat.h"

/* Begins the result of a set-returning function: a tuplestore, which spills to disk beyond work_mem. */
ResultSet *
ResultSetBegin(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *info = (ReturnSetInfo *)fcinfo->resultinfo;
	ResultSet *set = palloc(sizeof(ResultSet));
	MemoryContext caller;

	if (!info || !IsA(info, ReturnSetInfo) || !(info->allowedModes & SFRM_Materialize))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("set-valued function called in context that cannot accept a set")));
	caller = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
	set->desc = CreateTupleDescCopy(ResultRowType(fcinfo));
	set->rows = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
	MemoryContextSwitchTo(caller);
	info->returnMode = SFRM_Materialize;
	info->setResult = set->rows;
	info->setDesc = set->desc;
	return set;
}

/* The first attributes of a row type, as a type of their own. */
static TupleDesc
FirstAttributes(TupleDesc desc, int natts)
{
	TupleDesc first = CreateTemplateTupleDesc(natts);

	for (int i = 0; i < natts; i++)
		TupleDescCopyEntry(first, (AttrNumber)(i + 1), desc, (AttrNumber)(i + 1));
	CompatTupleDescFinalize(first);
	return first;
}

/*
 * The same for a result whose type has a name, so that ALTER TYPE may have made another of it.  What was
 * added and dropped again stays in the type; the rows end before it.
 */
ResultSet *
ResultSetBeginOf(FunctionCallInfo fcinfo, const Oid *types, int ntypes)
{
	ResultSet *set = ResultSetBegin(fcinfo);

	CheckRowType(set->desc, types, ntypes);
	if (set->desc->natts > ntypes)
		set->desc = FirstAttributes(set->desc, ntypes); /* the one before stays the executor's */
	return set;
}

/* Adds a row; what it points to is copied. */
void
ResultSetPut(ResultSet *set, Datum *values, bool *isnull)
{
	tuplestore_putvalues(set->rows, set->desc, values, isnull);
}

/*
 * Returns the row type that the function is declared to return; in FROM the executor has looked that up
 * already, which takes a twentieth of the time of an append.
 */
TupleDesc
ResultRowType(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *info = (ReturnSetInfo *)fcinfo->resultinfo;
	TupleDesc desc;

	if (info && IsA(info, ReturnSetInfo) && info->expectedDesc)
		return CreateTupleDescCopy(info->expectedDesc);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return desc;
}

/* Refuses a row type that ALTER TYPE has changed, 42804; `problem` is a sentence. */
void
RefuseRowType(TupleDesc desc, const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("type %s is not what it was when it was created", format_type_be(desc->tdtypeid)),
					errdetail_internal("%s", problem),
					errhint("ALTER TYPE has changed it; give it the attributes that it had.")));
}

/*
 * Refuses a row type whose attributes are not of these types, 42804; InvalidOid stands for any.  Attributes
 * behind them that are dropped do no harm.
 */
void
CheckRowType(TupleDesc desc, const Oid *types, int ntypes)
{
	for (int i = 0; i < ntypes; i++)
	{
		Form_pg_attribute attribute = i < desc->natts ? TupleDescAttr(desc, i) : NULL;

		if (!attribute || attribute->attisdropped)
			RefuseRowType(desc, psprintf("It lacks its attribute %d.", i + 1));
		if (OidIsValid(types[i]) && attribute->atttypid != types[i])
			RefuseRowType(desc, psprintf("Its attribute \"%s\" is of type %s instead of %s.",
										 NameStr(attribute->attname), format_type_be(attribute->atttypid),
										 format_type_be(types[i])));
	}
	for (int i = ntypes; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			RefuseRowType(desc, psprintf("It has one attribute too many: \"%s\".",
										 NameStr(TupleDescAttr(desc, i)->attname)));
}
