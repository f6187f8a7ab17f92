/*
 * calls_lookup.c: the statements that look something up and answer with JSON text; see calls.h.
 */
#include "db/statement.h"

bool db_get_message(struct db *db, const struct db_get_message *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->id};

	return db_read(db, &db_get_message_statement, params, &in->reading, done, arg);
}

bool db_position_at(struct db *db, const struct db_position_at *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, DB_NUMBER(in->time)};

	return db_read(db, &db_position_at_statement, params, &in->reading, done, arg);
}

bool db_list_types(struct db *db, const struct db_list_types *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->category, DB_OPTIONAL(in->position),
								  DB_OPTIONAL(in->scan_limit)};

	return db_read(db, &db_list_types_statement, params, &in->reading, done, arg);
}

bool db_recent_streams(struct db *db, const struct db_recent_streams *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, DB_NUMBER(in->max_rows), DB_OPTIONAL(in->position),
								  in->category, DB_OPTIONAL(in->scan_limit)};

	return db_read(db, &db_recent_streams_statement, params, &in->reading, done, arg);
}

bool db_search_messages(struct db *db, const struct db_search_messages *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->request};

	return db_read(db, &db_search_messages_statement, params, &in->reading, done, arg);
}

bool db_namespace_stats(struct db *db, const char *namespace_name, db_query_done done, void *arg)
{
	return db_ask(db, &db_namespace_stats_statement, &namespace_name, done, arg);
}

bool db_blocked(struct db *db, db_query_done done, void *arg)
{
	return db_ask(db, &db_blocked_statement, NULL, done, arg);
}
