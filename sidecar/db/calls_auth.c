/*
 * calls_auth.c: what opens a namespace, and how much may be asked of it; see calls.h.
 */
#include "db/statement.h"

const struct db_statement_info db_token_hash_statement = {
	"millrace_token_hash",
	"SELECT hash, n.requests_per_second, n.bytes_per_second"
	" FROM millrace.namespace_token_hash($1::text) AS hash"
	" LEFT JOIN millrace.namespaces n ON n.name = $1::text",
	1, DB_ROLE_READ, false};

bool db_token_hash(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_token_hash_statement, &name, done, arg);
}

const struct db_statement_info db_ensure_namespace_statement = {
	"millrace_ensure_namespace",
	"SELECT NULL, (SELECT requests_per_second FROM millrace.namespaces WHERE name = $1::text),"
	" (SELECT bytes_per_second FROM millrace.namespaces WHERE name = $1::text)"
	" FROM millrace.ensure_namespace($1::text)",
	1, DB_ROLE_SLOW, false};

bool db_ensure_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_ensure_namespace_statement, &name, done, arg);
}

struct db_rights db_rights_of(const struct db_reply *reply)
{
	if (PQntuples(reply->result) == 0)
		return (struct db_rights){.exists = false};
	return (struct db_rights){
		.exists = true,
		.token_hash = db_text(reply, 0, 0),
		.requests_per_second = (uint64_t)db_integer(reply, 0, 1),
		.bytes_per_second = (uint64_t)db_integer(reply, 0, 2),
	};
}
