/*
 * calls_bulk.c: the statements of exports and imports; see calls.h.  db_import, whose frame is not copied, is
 * in db.c.
 */
#include "db/statement.h"

bool db_export(struct db *db, const struct db_export *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,		DB_NUMBER(in->position),  in->categories, DB_OPTIONAL(in->since),
		DB_OPTIONAL(in->until), DB_NUMBER(in->max_bytes), in->query,
	};

	return db_ask(db, &db_export_statement, params, done, arg);
}

bool db_empty_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_empty_namespace_statement, &name, done, arg);
}

struct db_imported db_imported_of(const struct db_reply *reply)
{
	return (struct db_imported){
		.failed_record = db_optional_integer(reply, 0, 1),
		.sqlstate = PQgetvalue(reply->result, 0, 2),
		.message = PQgetvalue(reply->result, 0, 3),
		.last_global_position = db_integer(reply, 0, 4),
	};
}
