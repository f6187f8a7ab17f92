/*
 * db_statement: what a prepared statement is, and what the calls_*.c write theirs with; no file outside
 * db includes it.
 *
 * Parameters are cast in the SQL, so that a statement means the same function whatever overloads appear
 * later.
 */
#ifndef MILLRACE_DB_STATEMENT_H
#define MILLRACE_DB_STATEMENT_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/slice.h"
#include "db/answer.h"
#include "db/calls.h"

/*
 * A batch waits that long for a stream that another session holds; then it goes on without it, see batch.c.
 */
#define DB_LOCK_TIMEOUT "250ms"

enum db_role
{
	DB_ROLE_APPEND,
	DB_ROLE_DEFERRED, /* appends whose stream another session holds locked */
	DB_ROLE_READ,
	DB_ROLE_SLOW,
	DB_ROLE_IMPORT,
	DB_ROLE_EXPORT,
	DB_ROLE_LIST, /* namespace calls that only read */
	DB_ROLE_WATCH,
	DB_ROLE_CONSUME,
	DB_ROLES
};

struct db_statement_info
{
	const char *name; /* of the prepared statement */
	const char *sql;  /* NULL: it is the parameter, and never prepared */
	int nparams;
	enum db_role role;
	bool once; /* must not be sent again when its connection was lost: the answer would be wrong */
};

/* All that are prepared at the start of a session but for the appends; NULL ends them. */
extern const struct db_statement_info *const db_statements[];
/* Whether a standby may only answer it while the primary is away. */
bool db_is_of_primary(const struct db_statement_info *statement);
extern const struct db_statement_info db_append_statement, db_append_pooled;

extern const struct db_statement_info db_read_stream_statement, db_read_category_statement;
extern const struct db_statement_info db_read_query_statement;
extern const struct db_statement_info db_last_message_statement, db_stream_version_statement;
extern const struct db_statement_info db_head_statement, db_reach_statement;
extern const struct db_statement_info db_get_message_statement, db_position_at_statement;
extern const struct db_statement_info db_list_types_statement, db_recent_streams_statement;
extern const struct db_statement_info db_search_messages_statement;
extern const struct db_statement_info db_namespace_stats_statement, db_blocked_statement;
extern const struct db_statement_info db_list_streams_statement;
extern const struct db_statement_info db_list_categories_statement;
extern const struct db_statement_info db_list_namespaces_statement;
extern const struct db_statement_info db_describe_namespace_statement;
extern const struct db_statement_info db_create_namespace_statement;
extern const struct db_statement_info db_drop_namespace_statement;
extern const struct db_statement_info db_set_limits_statement;
extern const struct db_statement_info db_redact_statement;
extern const struct db_statement_info db_place_statement, db_places_statement, db_token_rights_statement;
extern const struct db_statement_info db_create_token_statement;
extern const struct db_statement_info db_list_tokens_statement, db_revoke_token_statement;
extern const struct db_statement_info db_ensure_namespace_statement;
extern const struct db_statement_info db_read_feed_statement;
extern const struct db_statement_info db_read_feed_whole_statement;
extern const struct db_statement_info db_feed_state_statement, db_feed_tokens_statement;
extern const struct db_statement_info db_read_pokes_statement;
extern const struct db_statement_info db_subscribe_head_statement;
extern const struct db_statement_info db_consumer_next_statement, db_consumer_settle_statement;
extern const struct db_statement_info db_consumer_statement, db_consumer_read_statement;
extern const struct db_statement_info db_removal_statement;
extern const struct db_statement_info db_consumer_release_statement, db_consumer_metrics_statement;
extern const struct db_statement_info db_export_statement, db_export_end_statement;
extern const struct db_statement_info db_empty_namespace_statement, db_remove_archived_statement;
extern const struct db_statement_info db_purge_statements_statement, db_purge_left_statement;
extern const struct db_statement_info db_run_statement;
extern const struct db_statement_info db_appending_statement;
extern const struct db_statement_info db_import_statement;
extern const struct db_statement_info db_import_trial_statement;
extern const struct db_statement_info db_read_stream_strict_statement, db_read_category_strict_statement;
extern const struct db_statement_info db_read_pokes_strict_statement;
extern const struct db_statement_info db_retention_statement, db_retention_read_statement;
extern const struct db_statement_info db_sweep_statement, db_sweeps_due_statement;
extern const struct db_statement_info db_retention_held_statement;

/* As many parameters as the statement has, NULL for SQL NULL: they are copied.  False: a queue is full. */
bool db_ask(struct db *db, const struct db_statement_info *statement, const char *const *params,
			db_query_done done, void *arg);
/* The same of one whose first parameter is the namespace whose messages it reads. */
bool db_read(struct db *db, const struct db_statement_info *statement, const char *const *params,
			 const struct db_reading *reading, db_query_done done, void *arg);

/* ---- parameters: their text lives as long as the block that they are written in ----------------- */

#define DB_NUMBER_LEN 24

static inline const char *db_print(char text[DB_NUMBER_LEN], int64_t value)
{
	*decimal_write(text, value) = '\0';
	return text;
}

#define DB_NUMBER(value) db_print((char[DB_NUMBER_LEN]){""}, (value))
#define DB_OPTIONAL(optional) ((optional).is_set ? DB_NUMBER((optional).value) : NULL)

/* ---- columns --------------------------------------------------------------------------------- */

static inline bool db_is_null(const struct db_reply *reply, int row, int column)
{
	return answer_is_null(reply->answer, row, column);
}

/* NULL is as an empty text. */
static inline struct slice db_text(const struct db_reply *reply, int row, int column)
{
	return answer_value(reply->answer, row, column);
}

/* The same as a string. */
static inline const char *db_string(const struct db_reply *reply, int row, int column)
{
	return db_text(reply, row, column).bytes;
}

static inline bool db_truth(const struct db_reply *reply, int row, int column)
{
	return db_string(reply, row, column)[0] == 't';
}

static inline int db_rows(const struct db_reply *reply)
{
	return answer_rows(reply->answer);
}

/* NULL has no bytes. */
static inline struct slice db_optional_text(const struct db_reply *reply, int row, int column)
{
	return db_is_null(reply, row, column) ? (struct slice){NULL, 0} : db_text(reply, row, column);
}

/* NULL is 0. */
static inline int64_t db_integer(const struct db_reply *reply, int row, int column)
{
	return strtoll(db_string(reply, row, column), NULL, 10);
}

static inline struct db_optional db_optional_integer(const struct db_reply *reply, int row, int column)
{
	return (struct db_optional){!db_is_null(reply, row, column), db_integer(reply, row, column)};
}

/* ---- places, of which three columns tell ----------------------------------------------------------- */

static inline struct db_place db_place_in(const struct db_reply *reply, int column)
{
	struct slice state;

	if (db_rows(reply) == 0)
		return (struct db_place){.exists = false};
	state = db_text(reply, 0, column);
	return (struct db_place){
		.exists = true,
		.state = slice_is(state, "sealed")	? DB_PLACE_SEALED
				 : slice_is(state, "moved") ? DB_PLACE_MOVED
											: DB_PLACE_OPEN,
		.epoch = db_integer(reply, 0, column + 1),
		.moved_to = db_string(reply, 0, column + 2),
	};
}

#endif
