/*
 * calls_namespace.c: the statements about namespaces as a whole; see calls.h.
 */
#include "db/statement.h"

const struct db_statement_info db_list_streams_statement = {
	"millrace_list_streams", "SELECT millrace.json_list_streams($1::text, $2::text, $3::bigint, $4::text)", 4,
	DB_ROLE_LIST, false};

bool db_list_streams(struct db *db, const struct db_list_streams *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->prefix, DB_NUMBER(in->max_rows), in->after};

	return db_ask(db, &db_list_streams_statement, params, done, arg);
}

const struct db_statement_info db_list_categories_statement = {
	"millrace_list_categories", "SELECT millrace.json_list_categories($1::text)", 1, DB_ROLE_LIST, false};

bool db_list_categories(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_list_categories_statement, &name, done, arg);
}

const struct db_statement_info db_list_namespaces_statement = {
	"millrace_list_namespaces", "SELECT millrace.json_list_namespaces()", 0, DB_ROLE_LIST, false};

bool db_list_namespaces(struct db *db, db_query_done done, void *arg)
{
	return db_ask(db, &db_list_namespaces_statement, NULL, done, arg);
}

const struct db_statement_info db_describe_namespace_statement = {
	"millrace_describe_namespace", "SELECT millrace.json_describe_namespace($1::text)", 1, DB_ROLE_LIST,
	false};

bool db_describe_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_describe_namespace_statement, &name, done, arg);
}

const struct db_statement_info db_create_namespace_statement = {
	"millrace_create_namespace",
	"SELECT millrace.json_create_namespace($1::text, $2::text, $3::text, $4::jsonb)", 4, DB_ROLE_SLOW, true};

bool db_create_namespace(struct db *db, const struct db_create_namespace *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->name, in->description, in->token_hash, in->metadata};

	return db_ask(db, &db_create_namespace_statement, params, done, arg);
}

const struct db_statement_info db_drop_namespace_statement = {
	"millrace_drop_namespace", "SELECT millrace.json_drop_namespace($1::text)", 1, DB_ROLE_SLOW, true};

bool db_drop_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_drop_namespace_statement, &name, done, arg);
}

const struct db_statement_info db_set_limits_statement = {
	"millrace_set_limits", "SELECT millrace.json_set_namespace_limits($1::text, $2::bigint, $3::bigint)", 3,
	DB_ROLE_SLOW, false};

bool db_set_limits(struct db *db, const struct db_set_limits *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->name, DB_OPTIONAL(in->requests_per_second),
								  DB_OPTIONAL(in->bytes_per_second)};

	return db_ask(db, &db_set_limits_statement, params, done, arg);
}
