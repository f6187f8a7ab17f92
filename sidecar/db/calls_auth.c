/*
 * calls_auth.c: what opens a namespace, and how much may be asked of it; see calls.h.
 */
#include "base/rights.h"
#include "db/statement.h"

#include <string.h>

bool db_place(struct db *db, const char *namespace_name, db_query_done done, void *arg)
{
	return db_ask(db, &db_place_statement, &namespace_name, done, arg);
}

struct db_place db_place_of(const struct db_reply *reply)
{
	return db_place_in(reply, 0);
}

bool db_places(struct db *db, db_query_done done, void *arg)
{
	return db_ask(db, &db_places_statement, NULL, done, arg);
}

int64_t db_epoch_in(const struct db_reply *reply, const char *namespace_name)
{
	int from = 0, to = db_rows(reply);

	while (from < to)
	{
		int middle = from + (to - from) / 2;
		int order = strcmp(namespace_name, db_string(reply, middle, 0));

		if (order == 0)
			return db_integer(reply, middle, 1);
		if (order < 0)
			to = middle;
		else
			from = middle + 1;
	}
	return 0;
}

bool db_token_rights(struct db *db, const char *name, const char *token_hash, db_query_done done, void *arg)
{
	const char *const params[] = {name, token_hash};

	return db_ask(db, &db_token_rights_statement, params, done, arg);
}

bool db_ensure_namespace(struct db *db, const char *name, db_query_done done, void *arg)
{
	return db_ask(db, &db_ensure_namespace_statement, &name, done, arg);
}

struct db_rights db_rights_of(const struct db_reply *reply)
{
	struct db_place place = db_place_in(reply, 5);

	if (!place.exists || db_is_null(reply, 0, 2))
		return (struct db_rights){.exists = false, .place = place};
	return (struct db_rights){
		.exists = true,
		.requests_per_second = (uint64_t)db_integer(reply, 0, 0),
		.bytes_per_second = (uint64_t)db_integer(reply, 0, 1),
		.rights = rights_read(db_string(reply, 0, 2)),
		.refusal = db_string(reply, 0, 3),
		.expires_in_ms = db_optional_integer(reply, 0, 4),
		.place = place,
	};
}

bool db_create_token(struct db *db, const struct db_create_token *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->name, in->rights, in->token_hash,
								  DB_OPTIONAL(in->expires_at)};

	return db_ask(db, &db_create_token_statement, params, done, arg);
}

bool db_list_tokens(struct db *db, const char *namespace_name, db_query_done done, void *arg)
{
	return db_ask(db, &db_list_tokens_statement, &namespace_name, done, arg);
}

bool db_revoke_token(struct db *db, const char *namespace_name, const char *name, db_query_done done,
					 void *arg)
{
	const char *const params[] = {namespace_name, name};

	return db_ask(db, &db_revoke_token_statement, params, done, arg);
}
