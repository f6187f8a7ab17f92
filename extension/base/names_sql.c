/*
 * names_sql.c: the name functions, for SQL.  All are strict and immutable.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/names.h"

PG_FUNCTION_INFO_V1(millrace_category);
PG_FUNCTION_INFO_V1(millrace_stream_id);
PG_FUNCTION_INFO_V1(millrace_cardinal_id);
PG_FUNCTION_INFO_V1(millrace_hash_64);

extern Datum millrace_stream_id(PG_FUNCTION_ARGS);
extern Datum millrace_cardinal_id(PG_FUNCTION_ARGS);
extern Datum millrace_hash_64(PG_FUNCTION_ARGS);

static Datum
SliceGetTextDatum(Slice slice)
{
	return PointerGetDatum(cstring_to_text_with_len(slice.bytes, slice.len));
}

Datum
millrace_category(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);

	return SliceGetTextDatum(NameCategory(SliceOfText(name)));
}

Datum
millrace_stream_id(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	Slice id;

	if (!NameStreamId(SliceOfText(name), &id))
		PG_RETURN_NULL();
	return SliceGetTextDatum(id);
}

Datum
millrace_cardinal_id(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	Slice id;

	if (!NameCardinalId(SliceOfText(name), &id))
		PG_RETURN_NULL();
	return SliceGetTextDatum(id);
}

Datum
millrace_hash_64(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);

	PG_RETURN_INT64(NameHash64(SliceOfText(name)));
}
