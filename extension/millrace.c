/*
 * millrace.c: the module itself, its setting, and what the SQL functions share.
 */
#include "postgres.h"

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

char *selected_namespace;

static void
DefineSettings(void)
{
	DefineCustomStringVariable("millrace.namespace",
							   "Selects the namespace that the millrace functions work on.", NULL,
							   &selected_namespace, "default", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"millrace.category_lock", "Makes appends hold Message DB's lock of the category to their commit.",
		"For programs that read the table with a SELECT of their own by global position.", &category_lock,
		false, PGC_USERSET, 0, NULL, NULL, NULL);
}

/*
 * Before this library is loaded any name with our prefix can be set, as Postgres can't know better.  It would only warn of one that we have not defined, and
 * forget it; but whoever meant millrace.namespace would then be in another tenant's namespace.  So the library is not loaded, and all
 * that is called fails.
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
