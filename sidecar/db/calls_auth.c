/*
 * calls_auth.c: what opens a namespace, and how much may be asked of it; see calls.h.
 */
#include "db/statement.h"

bool db_token_hash(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_token_hash_statement, &name, done, arg);
}

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
