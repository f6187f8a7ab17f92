/*
 * message_db.c: what the functions of Message DB 1.3.0 share, and those that neither read nor write.
 *
 * They have its signatures, results, error texts and SQLSTATEs.
 *
 * Each finds its table in the schema that the function itself lives in.  They are VOLATILE, as there, and
 * so see with a fresh snapshot what the calling statement has written.
 *
 * Where they differ from Message DB's (each a defect that no client can depend on): writers of a category
 * don't wait for each other, category reads obey the prefix rule, consumer groups may be larger than a
 * smallint, and a notice names a generated command only where one is generated.
 *
 * Source: the package @eventide/message-db 1.3.1, database/functions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "base/errors.h"
#include "hex.h"
#include "message_db/message_db.h"

PG_FUNCTION_INFO_V1(millrace_mdb_acquire_lock);
PG_FUNCTION_INFO_V1(millrace_mdb_is_category);
PG_FUNCTION_INFO_V1(millrace_mdb_version);

extern Datum millrace_mdb_acquire_lock(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_is_category(PG_FUNCTION_ARGS);
extern Datum millrace_mdb_version(PG_FUNCTION_ARGS);

/* ---- the table ----------------------------------------------------------------------------------------- */

/* Returns the schema of the function that is called, which is its table's, too. */
Oid
MessageDbSchema(FunctionCallInfo fcinfo)
{
	return get_func_namespace(fcinfo->flinfo->fn_oid);
}

/* Opens the table of the function that is called.  Errors: 42P01 when there is none, 42501, MR010. */
Store *
MessageDbOpen(FunctionCallInfo fcinfo, StoreMode mode)
{
	Store *store = StoreOpenSchema(MessageDbSchema(fcinfo), mode);

	if (!store)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"messages\" does not exist")));
	return store;
}

/*
 * Makes the active snapshot what each statement of a volatile PL/pgSQL function gets: one of now,
 * with all that this transaction wrote.
 */
void
MessageDbPushSnapshot(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* ---- arguments ----------------------------------------------------------------------------------------- */

/* Reads a UUID in any of the forms that uuid_in() takes; false where that would raise an error. */
bool
MessageDbParseUuid(const char *source, pg_uuid_t *id)
{
	bool braces = *source == '{';

	source += braces;
	for (int i = 0; i < UUID_LEN; i++)
	{
		int high = hex_value(source[0]);
		int low = high < 0 ? -1 : hex_value(source[1]);

		if (low < 0)
			return false;
		id->data[i] = (unsigned char)(high << 4 | low);
		source += 2;
		if (*source == '-' && i % 2 == 1 && i < UUID_LEN - 1)
			source++;
	}
	if (braces && *source++ != '}')
		return false;
	return *source == '\0';
}

/* Says whether a name has an id, so that it is a stream's and not a category's. */
bool
MessageDbHasDash(text *name)
{
	return memchr(VARDATA_ANY(name), '-', VARSIZE_ANY_EXHDR(name)) != NULL;
}

/* Return an argument as text for a notice or an error; NULL for NULL. */
char *
MessageDbArgText(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

char *
MessageDbArgInt64Text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : psprintf(INT64_FORMAT, PG_GETARG_INT64(arg));
}

char *
MessageDbInt64Text(int64 value)
{
	return psprintf(INT64_FORMAT, value);
}

/* ---- notices ------------------------------------------------------------------------------------------- */

static bool
SettingIsOn(const char *name)
{
	const char *value = GetConfigOptionByName(name, NULL, true);

	return value && strcmp(value, "on") == 0;
}

/* Says whether notices are wanted: by the setting, or by message_store.debug, which stands for all. */
bool
MessageDbDebug(const char *setting)
{
	return SettingIsOn(setting) || SettingIsOn("message_store.debug");
}

/* A notice of one value, as RAISE NOTICE '%' prints it. */
void
MessageDbNotice(const char *label, const char *value)
{
	ereport(NOTICE, (errmsg_internal("%s: %s", label, value ? value : "<NULL>")));
}

/* ---- functions ----------------------------------------------------------------------------------------- */

/*
 * acquire_lock(stream_name) -> the key: hash_64 of the category, locked as pg_advisory_xact_lock() does; NULL
 * locks nothing.
 */
Datum
millrace_mdb_acquire_lock(PG_FUNCTION_ARGS)
{
	text *stream = ArgTextOrNull(fcinfo, 0);
	Slice category = stream ? NameCategory(SliceOfText(stream)) : (Slice){NULL, 0};
	int64 key = stream ? NameHash64(category) : 0;

	if (stream)
		(void)DirectFunctionCall1(pg_advisory_xact_lock_int8, Int64GetDatum(key));
	if (MessageDbDebug("message_store.debug_write"))
	{
		ereport(NOTICE, (errmsg_internal("» acquire_lock")));
		MessageDbNotice("stream_name", MessageDbArgText(fcinfo, 0));
		MessageDbNotice("_category", stream ? pnstrdup(category.bytes, category.len) : NULL);
		MessageDbNotice("_category_name_hash", stream ? MessageDbInt64Text(key) : NULL);
	}
	if (!stream)
		PG_RETURN_NULL();
	PG_RETURN_INT64(key);
}

/* is_category(stream_name): a name without a dash; NULL is one. */
Datum
millrace_mdb_is_category(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(PG_ARGISNULL(0) || !MessageDbHasDash(PG_GETARG_TEXT_PP(0)));
}

/* message_store_version() -> the version of Message DB whose functions these are. */
Datum
millrace_mdb_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text("1.3.0"));
}
