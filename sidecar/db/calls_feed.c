/*
 * calls_feed.c: the statements of subscriptions; see calls.h.
 */
#include "db/calls_feed.h"
#include "db/statement.h"

/* ---- what is new ----------------------------------------------------------------------------- */

/* The columns of both. */
enum feed_column
{
	FEED_STREAM_NAME,
	FEED_POSITION,
	FEED_GLOBAL_POSITION,
	FEED_POKE,
	FEED_GROUP_HASH, /* NULL: the stream has no id */
	FEED_MATCHES,
	FEED_MESSAGE, /* of the second one only */
};

bool db_read_feed(struct db *db, const struct db_read_feed *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,
		DB_NUMBER(in->position),
		DB_NUMBER(in->max_rows),
		in->queries,
		in->whole ? DB_NUMBER(in->max_bytes) : NULL, /* the second one's only */
	};

	return db_read(db, in->whole ? &db_read_feed_whole_statement : &db_read_feed_statement, params,
				   &in->reading, done, arg);
}

int db_feed_rows(const struct db_reply *reply)
{
	return db_rows(reply);
}

struct slice db_feed_message(const struct db_reply *reply, int row)
{
	return db_text(reply, row, FEED_MESSAGE);
}

int64_t db_feed_global_position(const struct db_reply *reply, int row)
{
	return db_integer(reply, row, FEED_GLOBAL_POSITION);
}

struct db_feed_row db_feed_row(const struct db_reply *reply, int row, bool whole)
{
	return (struct db_feed_row){
		.stream = db_text(reply, row, FEED_STREAM_NAME),
		.position = db_integer(reply, row, FEED_POSITION),
		.global_position = db_integer(reply, row, FEED_GLOBAL_POSITION),
		.global_text = db_text(reply, row, FEED_GLOBAL_POSITION),
		.poke = db_text(reply, row, FEED_POKE),
		.group_hash = db_optional_integer(reply, row, FEED_GROUP_HASH),
		.matches = db_text(reply, row, FEED_MATCHES),
		.message = whole ? db_feed_message(reply, row) : (struct slice){NULL, 0},
	};
}

/* ---- the state of a namespace ------------------------------------------------------------------ */

bool db_feed_state(struct db *db, const struct db_feed_question *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->token_hashes};

	return db_ask(db, in->of_primary ? &db_feed_tokens_statement : &db_feed_state_statement, params, done,
				  arg);
}

struct db_feed_state db_feed_state_of(const struct db_reply *reply)
{
	if (db_rows(reply) == 0)
		return (struct db_feed_state){.exists = false};
	return (struct db_feed_state){
		.exists = true,
		.head = db_integer(reply, 0, 0),
		.created_at = db_string(reply, 0, 1),
		.refused = db_string(reply, 0, 2),
		.place = db_place_in(reply, 3),
	};
}

/* ---- what was before --------------------------------------------------------------------------- */

bool db_read_pokes(struct db *db, const struct db_read_pokes *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,
		in->stream,
		in->category,
		DB_NUMBER(in->position),
		DB_NUMBER(in->below),
		in->size > 0 ? DB_NUMBER(in->member) : NULL,
		in->size > 0 ? DB_NUMBER(in->size) : NULL,
		in->ids ? "t" : "f",
		in->messages ? "t" : "f",
		DB_NUMBER(in->max_bytes),
		in->stream != NULL ? DB_NUMBER(in->global_position) : NULL,
		in->types,
		in->correlation,
		in->query,
		DB_OPTIONAL(in->strict.seen),
	};

	return db_read(db, in->strict.on ? &db_read_pokes_strict_statement : &db_read_pokes_statement, params,
				   &in->reading, done, arg);
}

struct db_pokes db_pokes_of(const struct db_reply *reply)
{
	return (struct db_pokes){
		.body = db_text(reply, 0, 0),
		.next = db_integer(reply, 0, 1),
		.state = db_string(reply, 0, 2),
	};
}

bool db_subscribe_head(struct db *db, const struct db_subscribe_head *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->stream};

	return db_ask(db, &db_subscribe_head_statement, params, done, arg);
}

struct db_heads db_heads_of(const struct db_reply *reply)
{
	struct slice version = db_text(reply, 0, 2);

	return (struct db_heads){
		.last_global = db_integer(reply, 0, 0),
		.in_recovery = slice_is(db_text(reply, 0, 1), "t"),
		.version = version.len == 0 || slice_is(version, "null") ? -1 : db_integer(reply, 0, 2),
	};
}
