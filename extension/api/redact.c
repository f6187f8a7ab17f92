/*
 * redact.c: redact(); redact_stream() and redact_tagged() are SQL around it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "api/api.h"
#include "retention/redact.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(millrace_redact);

extern Datum millrace_redact(PG_FUNCTION_ARGS);

static Jsonb *
ArgReplacement(FunctionCallInfo fcinfo, int arg)
{
	Jsonb *replacement;

	if (PG_ARGISNULL(arg))
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	replacement = PG_GETARG_JSONB_P(arg);
	CheckObject(replacement, "replacement");
	return replacement;
}

/*
 * redact(ids, replacement, keep_tags, namespace) -> how many messages were redacted.  Errors: those of
 * RedactMessages(), MR003, MR008 for a replacement that is no object, 42501, MR010.
 */
Datum
millrace_redact(PG_FUNCTION_ARGS)
{
	Jsonb *replacement = ArgReplacement(fcinfo, 1);
	Store *store;
	int64 redacted;

	CheckNotNull(PG_ARGISNULL(0), "ids");
	CheckNotNull(PG_ARGISNULL(2), "keep_tags");
	store = StoreOpen(ArgNamespaceOr(fcinfo, 3, SelectedNamespace()), STORE_REDACT);
	redacted = RedactMessages(store, PG_GETARG_ARRAYTYPE_P(0), replacement, PG_GETARG_BOOL(2));
	StoreClose(store);
	PG_RETURN_INT64(redacted);
}
