/*
 * args.c: what SQL functions take from their arguments, and what they refuse.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "base/errors.h"
#include "protocol.h"

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
	if (version < NO_STREAM)
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
