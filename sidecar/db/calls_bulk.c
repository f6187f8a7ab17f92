/*
 * calls_bulk.c: the statements of exports and imports; see calls.h.  db_import, whose frame is not copied, is in db.c.
 */
#include "db/statement.h"

const struct db_statement_info db_export_statement = {
	"millrace_export",
	"SELECT body, count, next_position FROM millrace.json_export($1::text, $2::bigint,"
	" $3::text[], '2000-01-01 00:00:00Z'::timestamptz + $4::bigint * interval '1 microsecond',"
	" '2000-01-01 00:00:00Z'::timestamptz + $5::bigint * interval '1 microsecond', $6::int)",
	6, DB_ROLE_EXPORT, false};

bool db_export(struct db *db, const struct db_export *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,		DB_NUMBER(in->position), in->categories,
		DB_OPTIONAL(in->since), DB_OPTIONAL(in->until),	 DB_NUMBER(in->max_bytes),
	};

	return db_ask(db, &db_export_statement, params, done, arg);
}

const struct db_statement_info db_empty_namespace_statement = {
	"millrace_empty_namespace", "SELECT millrace.empty_namespace($1::text)", 1, DB_ROLE_IMPORT, false};

bool db_empty_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_empty_namespace_statement, &name, done, arg);
}

const struct db_statement_info db_import_statement = {
	"millrace_import",
	"SELECT imported, failed_record, sqlstate, message, last_global_position"
	" FROM millrace.import_batch($1::text, $2::bytea)",
	2, DB_ROLE_IMPORT, true};

/* The division by zero takes back what the function did. */
const struct db_statement_info db_import_trial_statement = {
	"millrace_import_trial",
	"SELECT 1 / (imported - imported) FROM millrace.import_batch($1::text, $2::bytea)", 2, DB_ROLE_IMPORT,
	false};

struct db_imported db_imported_of(const struct db_reply *reply)
{
	return (struct db_imported){
		.failed_record = db_optional_integer(reply, 0, 1),
		.sqlstate = PQgetvalue(reply->result, 0, 2),
		.message = PQgetvalue(reply->result, 0, 3),
		.last_global_position = db_integer(reply, 0, 4),
	};
}
