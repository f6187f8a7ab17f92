/*
 * calls_read.c: the statements that read messages; see calls.h.
 */
#include "db/statement.h"

struct piece db_take(struct db_reply *reply, struct slice bytes)
{
	return db_rows(reply) > 1 ? (struct piece){.bytes = bytes.bytes, .len = bytes.len}
							  : answer_take(reply->answer, bytes);
}

struct slice db_json_of(const struct db_reply *reply)
{
	return db_rows(reply) == 0 ? (struct slice){NULL, 0} : db_optional_text(reply, 0, 0);
}

/* ---- pages --------------------------------------------------------------------------------- */

static const char *direction_of(bool backward)
{
	return backward ? "backward" : "forward";
}

bool db_read_stream(struct db *db, const struct db_read_stream *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,			  in->stream, DB_OPTIONAL(in->position), DB_OPTIONAL(in->global_position),
		DB_NUMBER(in->batch_size),	  in->types,  DB_NUMBER(in->max_bytes),	 direction_of(in->backward),
		DB_OPTIONAL(in->strict.seen),
	};

	return db_read(db, in->strict.on ? &db_read_stream_strict_statement : &db_read_stream_statement, params,
				   &in->reading, done, arg);
}

bool db_read_category(struct db *db, const struct db_read_category *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,
		in->category,
		DB_OPTIONAL(in->position),
		DB_NUMBER(in->batch_size),
		in->correlation,
		in->size > 0 ? DB_NUMBER(in->member) : NULL,
		in->size > 0 ? DB_NUMBER(in->size) : NULL,
		in->types,
		DB_NUMBER(in->max_bytes),
		direction_of(in->backward),
		DB_OPTIONAL(in->strict.seen),
	};

	return db_read(db, in->strict.on ? &db_read_category_strict_statement : &db_read_category_statement,
				   params, &in->reading, done, arg);
}

struct db_page db_page_of(const struct db_reply *reply)
{
	return (struct db_page){
		.body = db_text(reply, 0, 0),
		.count = db_integer(reply, 0, 1),
		.next = db_optional_integer(reply, 0, 2),
	};
}

bool db_read_query(struct db *db, const struct db_read_query *in, db_query_done done, void *arg)
{
	const char *const params[] = {
		in->namespace_name,
		in->query,
		DB_OPTIONAL(in->position),
		DB_NUMBER(in->batch_size),
		DB_NUMBER(in->max_bytes),
		direction_of(in->backward),
		in->strict.on ? "true" : "false",
		DB_OPTIONAL(in->strict.seen),
	};

	return db_read(db, &db_read_query_statement, params, &in->reading, done, arg);
}

int64_t db_query_head_of(const struct db_reply *reply)
{
	return db_integer(reply, 0, 3);
}

bool db_query_has_more(const struct db_reply *reply)
{
	return db_truth(reply, 0, 4);
}

/* ---- single values ------------------------------------------------------------------------- */

bool db_last_message(struct db *db, const struct db_last_message *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->stream, in->type};

	return db_read(db, &db_last_message_statement, params, &in->reading, done, arg);
}

bool db_stream_version(struct db *db, const struct db_stream_version *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->stream};

	return db_read(db, &db_stream_version_statement, params, &in->reading, done, arg);
}

bool db_head(struct db *db, const struct db_head *in, db_query_done done, void *arg)
{
	return db_read(db, &db_head_statement, &in->namespace_name, &in->reading, done, arg);
}

int64_t db_head_of(const struct db_reply *reply)
{
	return db_integer(reply, 0, 0);
}
