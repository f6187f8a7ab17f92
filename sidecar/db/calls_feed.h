/*
 * calls_feed: as calls.h, what subscriptions ask.
 */
#ifndef MILLRACE_CALLS_FEED_H
#define MILLRACE_CALLS_FEED_H

#include "db/calls.h"

struct db_read_feed
{
	const char *namespace_name;
	int64_t position; /* global, of the first message wanted */
	int64_t max_rows;
	bool whole;			 /* messages, and not only pokes */
	const char *queries; /* a JSON array; NULL: none */
	int64_t max_bytes;	 /* of whole messages: the page ends with the one that reaches it */
	struct db_reading reading;
};

struct db_feed_row
{
	struct slice stream, poke;
	int64_t position, global_position;
	struct slice global_text;	   /* the global position */
	struct db_optional group_hash; /* hash_64 of the cardinal id; not set: the stream has no id */
	struct slice matches;		   /* numbers of the queries that it matches, each with a space behind it */
	struct slice message;		   /* of a whole one */
};

bool db_read_feed(struct db *db, const struct db_read_feed *in, db_query_done done, void *arg);
int db_feed_rows(const struct db_reply *reply);
struct db_feed_row db_feed_row(const struct db_reply *reply, int row, bool whole);
/* Single columns of a row. */
int64_t db_feed_global_position(const struct db_reply *reply, int row);
struct slice db_feed_message(const struct db_reply *reply, int row);

struct db_feed_state
{
	bool exists;
	int64_t head;			/* all below it is final */
	const char *created_at; /* as text, to be compared */
	const char *refused;	/* of the hashes that were asked for those of tokens that may not read */
	struct db_place place;
};

struct db_feed_question
{
	const char *namespace_name;
	const char *token_hashes; /* an array literal */
	bool of_primary;		  /* which knows the latest of tokens, but not what its standbys have */
};

bool db_feed_state(struct db *db, const struct db_feed_question *in, db_query_done done, void *arg);
struct db_feed_state db_feed_state_of(const struct db_reply *reply);

struct db_read_pokes
{
	const char *namespace_name;
	const char *stream, *category; /* one of these two and `query` at most; none: the whole namespace */
	int64_t position;			   /* of the stream, else global */
	int64_t below;				   /* this global position */
	int64_t member, size;		   /* of a consumer group; size 0: none */
	bool ids, messages;			   /* what the events hold */
	int64_t max_bytes;
	int64_t global_position; /* a stream's: none below it */
	const char *types;		 /* an array literal */
	const char *correlation;
	const char *query; /* JSON */
	struct db_strict strict;
	struct db_reading reading;
};

struct db_pokes
{
	struct slice body; /* events */
	int64_t next;	   /* position */
	const char *state; /* POKES_DONE and the like */
};

bool db_read_pokes(struct db *db, const struct db_read_pokes *in, db_query_done done, void *arg);
struct db_pokes db_pokes_of(const struct db_reply *reply);

struct db_subscribe_head
{
	const char *namespace_name;
	const char *stream; /* NULL: its version is not wanted */
};

struct db_heads
{
	int64_t last_global; /* 0: the namespace is empty */
	bool in_recovery;	 /* of a standby, which may not have got there yet */
	int64_t version;	 /* of the stream; -1: it does not exist, or was not asked for */
};

bool db_subscribe_head(struct db *db, const struct db_subscribe_head *in, db_query_done done, void *arg);
struct db_heads db_heads_of(const struct db_reply *reply);

#endif
