/*
 * calls_namespace.c: the statements about namespaces as a whole; see calls.h.
 */
#include "db/statement.h"

bool db_list_streams(struct db *db, const struct db_list_streams *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->prefix, DB_NUMBER(in->max_rows), in->after};

	return db_read(db, &db_list_streams_statement, params, &in->reading, done, arg);
}

bool db_list_categories(struct db *db, const struct db_head *in, db_query_done done, void *arg)
{
	return db_read(db, &db_list_categories_statement, &in->namespace_name, &in->reading, done, arg);
}

bool db_list_namespaces(struct db *db, db_query_done done, void *arg)
{
	return db_ask(db, &db_list_namespaces_statement, NULL, done, arg);
}

bool db_describe_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_describe_namespace_statement, &name, done, arg);
}

bool db_create_namespace(struct db *db, const struct db_create_namespace *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->name, in->description, in->token_hash, in->metadata,
								  in->tags ? "true" : "false"};

	return db_ask(db, &db_create_namespace_statement, params, done, arg);
}

bool db_redact(struct db *db, const struct db_redact *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->which, in->options};

	return db_ask(db, &db_redact_statement, params, done, arg);
}

bool db_drop_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_drop_namespace_statement, &name, done, arg);
}

bool db_set_limits(struct db *db, const struct db_set_limits *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->name, DB_OPTIONAL(in->requests_per_second),
								  DB_OPTIONAL(in->bytes_per_second)};

	return db_ask(db, &db_set_limits_statement, params, done, arg);
}

bool db_removal(struct db *db, const struct db_removal *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name,
								  in->method,
								  in->stream,
								  DB_OPTIONAL(in->number),
								  in->forget ? "true" : "false",
								  DB_NUMBER(in->max_rows)};

	return db_ask(db, &db_removal_statement, params, done, arg);
}

bool db_appending(struct db *db, db_query_done done, void *arg)
{
	return db_ask(db, &db_appending_statement, NULL, done, arg);
}

unsigned db_rows_of(const struct db_reply *reply)
{
	return (unsigned)db_rows(reply);
}

struct db_appending db_appending_of(const struct db_reply *reply, unsigned row)
{
	return (struct db_appending){
		.namespace_name = db_string(reply, (int)row, 0),
		.count = db_integer(reply, (int)row, 1),
		.oldest = strtod(db_string(reply, (int)row, 2), NULL),
	};
}
