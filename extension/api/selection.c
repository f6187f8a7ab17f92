/*
 * selection.c: which namespace a function works on, by its argument or by the setting millrace.namespace.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "api/api.h"
#include "base/compat.h"
#include "protocol.h"

PG_FUNCTION_INFO_V1(millrace_selected_namespace);

extern Datum millrace_selected_namespace(PG_FUNCTION_ARGS);

static char *selected_namespace;
static bool transaction_pooling;
static struct config_generic *selection; /* what the server knows of millrace.namespace */

void
SelectionDefineSettings(void)
{
	DefineCustomStringVariable("millrace.namespace",
							   "Selects the namespace that the millrace functions work on.", NULL,
							   &selected_namespace, DEFAULT_NAMESPACE, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"millrace.transaction_pooling",
		"Whether sessions are shared by a pooler, transaction by transaction.",
		"Then a namespace counts only if it was selected in the same transaction, or is the "
		"role's or the database's setting.",
		&transaction_pooling, false, PGC_USERSET, 0, NULL, NULL, NULL);
	selection = CompatFindSetting("millrace.namespace");
}

/*
 * A pooler may lend the session to another client with every transaction, and the server can't see that.
 * Where the setting says so, what was set for the session in an earlier transaction may be another
 * client's.  The server keeps a stack of what the current transaction has changed, SET LOCAL and a
 * function's SET among it; an empty one says that the value was there before.  (A parallel worker gets its
 * leader's.)
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
