/*
 * millrace.c: the module itself, its setting, and what the SQL functions share.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "api.h"
#include "compat.h"
#include "errors.h"
#include "scan.h"
#include "store.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

PG_FUNCTION_INFO_V1(millrace_selected_namespace);

extern Datum millrace_selected_namespace(PG_FUNCTION_ARGS);

static char *selected_namespace;
static bool transaction_pooling;
static struct config_generic *selection; /* what the server knows of millrace.namespace */

static void
DefineSettings(void)
{
	DefineCustomStringVariable("millrace.namespace",
							   "Selects the namespace that the millrace functions work on.", NULL,
							   &selected_namespace, DEFAULT_NAMESPACE, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"millrace.category_lock", "Makes appends hold Message DB's lock of the category to their commit.",
		"For programs that read the table with a SELECT of their own by global position.", &category_lock,
		false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"millrace.transaction_pooling",
		"Whether sessions are shared by a pooler, transaction by transaction.",
		"Then a namespace counts only if it was selected in the same transaction, or is the "
		"role's or the database's setting.",
		&transaction_pooling, false, PGC_USERSET, 0, NULL, NULL, NULL);
	selection = CompatFindSetting("millrace.namespace");
}

/*
 * Before this library is loaded any name with our prefix can be set, as Postgres can't know better.  It would
 * only warn of one that we have not defined, and forget it; but whoever meant millrace.namespace would then
 * be in another tenant's namespace.  So the library is not loaded, and all that is called fails.
 */
static void
RefuseUnknownSettings(void)
{
	int nsettings;
	struct config_generic **settings = CompatSettings(nsettings);

	for (int i = 0; i < nsettings; i++)
	{
		const char *name = settings[i]->name;
		const char *value;

		if ((settings[i]->flags & GUC_CUSTOM_PLACEHOLDER) == 0 || pg_strncasecmp(name, "millrace.", 9) != 0)
			continue;
		value = GetConfigOption(name, true, false);
		if (value && *value) /* after a RESET there is none */
			ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
							errmsg("invalid configuration parameter name \"%s\"", name),
							errdetail("\"millrace\" is a reserved prefix."),
							errhint("RESET %s. Where the role or the database brings it along, ALTER ROLE or "
									"ALTER DATABASE ... RESET %s takes it away.",
									name, name)));
	}
}

void
_PG_init(void)
{
	static bool defined =
		false; /* an error below leaves the library in memory, and the next call comes here again */

	if (!defined)
		DefineSettings();
	defined = true;
	if (!process_shared_preload_libraries_in_progress) /* the server should start */
		RefuseUnknownSettings();
	MarkGUCPrefixReserved("millrace");
	ScanInit();
	WireInit();
}

/* ---- which namespace --------------------------------------------------------------------------------- */

/*
 * A pooler may lend the session to another client with every transaction, and nothing tells the server so.
 * Where it is said to be so, what was set for the session in an earlier transaction is somebody else's.  The
 * server keeps a stack of what the current transaction has changed, SET LOCAL and a function's SET among it;
 * an empty one says that the value was there before.  (A parallel worker gets its leader's.)
 */
static bool
SelectionIsLeftOver(void)
{
	return transaction_pooling && selection->source >= PGC_S_INTERACTIVE && selection->stack == NULL &&
		   !IsParallelWorker();
}

const char *
SelectedNamespace(void)
{
	return SelectionIsLeftOver() ? NULL : selected_namespace;
}

/*
 * The namespace that the argument names; without one, the selected one.  Errors: 55000 when that does not
 * count.
 */
const char *
ArgNamespaceOr(FunctionCallInfo fcinfo, int arg, const char *selected)
{
	if (arg < PG_NARGS() && !PG_ARGISNULL(arg)) /* functions of 0.1.0 have none */
		return text_to_cstring(PG_GETARG_TEXT_PP(arg));
	if (!selected)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("millrace.namespace was set for the session in an earlier transaction, which may have "
					"been another client's"),
			 errdetail("millrace.transaction_pooling is on."),
			 errhint("Say SET LOCAL millrace.namespace in each transaction, or give the function the "
					 "argument namespace.")));
	return selected;
}

/* selected_namespace() -> the namespace that the others work on without an argument */
Datum
millrace_selected_namespace(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(ArgNamespaceOr(fcinfo, 0, SelectedNamespace())));
}

/* ---- results ----------------------------------------------------------------------------------------- */

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

void
ResultSetPut(ResultSet *set, Datum *values, bool *isnull)
{
	tuplestore_putvalues(set->rows, set->desc, values, isnull);
}

TupleDesc
ResultRowType(FunctionCallInfo fcinfo)
{
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return desc;
}

static void
RefuseRowType(TupleDesc desc, char *problem)
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

/* ---- arguments ------------------------------------------------------------------------------------- */

void
CheckNotNull(bool isnull, const char *what)
{
	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NULL_ARGUMENT), errmsg("%s must not be NULL", what)));
}

/* A name: at least one byte, at most MAX_NAME. */
void
CheckName(text *name, const char *what)
{
	int len = VARSIZE_ANY_EXHDR(name);

	if (len == 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_EMPTY_NAME), errmsg("%s must not be empty", what)));
	if (len > MAX_NAME)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_TOO_LONG),
						errmsg("%s is too long: %d bytes, at most %d are allowed", what, len, MAX_NAME)));
}

void
CheckObject(Jsonb *value, const char *what)
{
	const char *kind;

	if (JB_ROOT_IS_OBJECT(value))
		return;
	if (JB_ROOT_IS_SCALAR(value))
		kind = "a single value";
	else
		kind = "an array";
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_NOT_AN_OBJECT),
					errmsg("%s must be a JSON object, not %s", what, kind)));
}

void
CheckExpectedVersion(int64 version)
{
	if (version < -1)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("expected_version " INT64_FORMAT " is out of range", version),
						errhint("It is the position of the stream's last message, or -1 for a stream that "
								"must not exist yet.")));
}

text *
ArgName(FunctionCallInfo fcinfo, int arg, const char *what)
{
	text *name;

	CheckNotNull(PG_ARGISNULL(arg), what);
	name = PG_GETARG_TEXT_PP(arg);
	CheckName(name, what);
	return name;
}

text *
ArgTextOrNull(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : PG_GETARG_TEXT_PP(arg);
}

int64
ArgInt64(FunctionCallInfo fcinfo, int arg, int64 if_null)
{
	return PG_ARGISNULL(arg) ? if_null : PG_GETARG_INT64(arg);
}

char *
ArgNamespace(FunctionCallInfo fcinfo, int arg)
{
	CheckNotNull(PG_ARGISNULL(arg), "namespace");
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}
