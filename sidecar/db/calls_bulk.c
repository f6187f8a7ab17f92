/*
 * calls_bulk.c: the statements of exports, imports, archives and purges; see calls_bulk.h.  db_import, whose
 * frame is not copied, is in db.c.
 */
#include "db/calls_bulk.h"
#include "db/statement.h"

bool db_export(struct db *db, const struct db_export *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,		DB_NUMBER(in->position),  in->categories, DB_OPTIONAL(in->since),
		DB_OPTIONAL(in->until), DB_NUMBER(in->max_bytes), in->query,	  DB_OPTIONAL(in->before),
	};

	return db_read(db, &db_export_statement, params, &in->reading, done, arg);
}

struct db_exported db_exported_of(const struct db_reply *reply)
{
	return (struct db_exported){
		.page = db_page_of(reply),
		.last = db_optional_integer(reply, 0, 3),
		.began = db_string(reply, 0, 4),
	};
}

bool db_export_end(struct db *db, const struct db_export_end *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->after, in->began, DB_NUMBER(in->last_exported),
								  DB_NUMBER(in->max_bytes)};

	return db_read(db, &db_export_end_statement, params, &in->reading, done, arg);
}

struct db_export_ended db_export_ended_of(const struct db_reply *reply)
{
	return (struct db_export_ended){
		.body = db_text(reply, 0, 0),
		.next = db_is_null(reply, 0, 1) ? NULL : db_string(reply, 0, 1),
	};
}

bool db_remove_archived(struct db *db, const struct db_remove_archived *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->messages, in->forced ? "true" : "false"};

	return db_ask(db, &db_remove_archived_statement, params, done, arg);
}

bool db_purge_statements(struct db *db, const struct db_purge *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->full ? "true" : "false"};

	return db_ask(db, &db_purge_statements_statement, params, done, arg);
}

bool db_purge_left(struct db *db, const struct db_purge *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->full ? "true" : "false"};

	return db_ask(db, &db_purge_left_statement, params, done, arg);
}

const char *db_text_of(const struct db_reply *reply, unsigned row)
{
	return db_string(reply, (int)row, 0);
}

bool db_run(struct db *db, const char *statement, db_query_done done, void *arg)
{
	return db_ask(db, &db_run_statement, &statement, done, arg);
}

bool db_empty_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_empty_namespace_statement, &name, done, arg);
}

struct db_imported db_imported_of(const struct db_reply *reply)
{
	return (struct db_imported){
		.imported = db_integer(reply, 0, 0),
		.failed_record = db_optional_integer(reply, 0, 1),
		.sqlstate = db_string(reply, 0, 2),
		.message = db_string(reply, 0, 3),
		.last_global_position = db_integer(reply, 0, 4),
	};
}
