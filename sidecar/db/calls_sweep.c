/*
 * calls_sweep.c: the statements about what is kept of a namespace; see calls.h.
 */
#include "db/statement.h"

bool db_retention(struct db *db, const struct db_retention *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->method, in->category, in->options};

	return db_ask(db, in->reads ? &db_retention_read_statement : &db_retention_statement, params, done, arg);
}

bool db_sweep(struct db *db, const char *name, int64_t max_rows, db_query_done done, void *arg)
{
	const char *const params[] = {name, DB_NUMBER(max_rows)};

	return db_ask(db, &db_sweep_statement, params, done, arg);
}

struct db_swept db_swept_of(const struct db_reply *reply)
{
	return (struct db_swept){
		.removed = db_integer(reply, 0, 0),
		.more = db_truth(reply, 0, 1),
		.held_by = db_is_null(reply, 0, 2) ? NULL : db_string(reply, 0, 2),
		.held_position = db_integer(reply, 0, 3),
	};
}

bool db_sweeps_due(struct db *db, int64_t interval_ms, db_query_done done, void *arg)
{
	const char *const params[] = {DB_NUMBER(interval_ms)};

	return db_ask(db, &db_sweeps_due_statement, params, done, arg);
}

const char *db_due_of(const struct db_reply *reply, unsigned row)
{
	return db_string(reply, (int)row, 0);
}

bool db_retention_held(struct db *db, db_query_done done, void *arg)
{
	return db_ask(db, &db_retention_held_statement, NULL, done, arg);
}

struct db_held db_held_of(const struct db_reply *reply, unsigned row)
{
	return (struct db_held){
		.namespace_name = db_string(reply, (int)row, 0),
		.held = db_truth(reply, (int)row, 1),
	};
}
