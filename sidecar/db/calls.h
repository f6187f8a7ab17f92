/*
 * db_calls: what can be asked of a worker's database besides appends, imports and the wait for commits: for
 * each statement a struct that goes in, and one that comes out.
 *
 *     db_read_stream(db, &(struct db_read_stream){...}, on_page, arg)
 *     ... and in on_page, when reply->status is DB_OK:  struct db_page page = db_page_of(reply);
 *
 * A call returns false when a queue is full (answer OVERLOADED); `done` is then never called.  What goes in
 * is copied; its strings are NUL-terminated, and NULL for SQL NULL.  What comes out points into the reply,
 * and lives as long as that, or as the piece that took it.  A slice of an answer has a NUL behind it.
 */
#ifndef MILLRACE_DB_CALLS_H
#define MILLRACE_DB_CALLS_H

#include "base/slice.h"
#include "db/db.h"

/* A number, or SQL NULL. */
struct db_optional
{
	bool is_set;
	int64_t value;
};

/*
 * Bytes of an answer as a piece that owns the answer, which so outlives `done`.  Of an answer with several
 * rows the piece owns nothing, as the other rows are to be read yet; it is good until `done` returns.
 */
struct piece db_take(struct db_reply *reply, struct slice bytes);

/* The answer of a statement that makes JSON text; .bytes NULL: there is none. */
struct slice db_json_of(const struct db_reply *reply);

/* ---- reads (calls_read.c) ------------------------------------------------------------------ */

/* Whether a read fails, SQLSTATE_POSITION_REMOVED, where messages were removed that it would have had. */
struct db_strict
{
	bool on;
	struct db_optional seen; /* the removals that the reader was told of */
};

struct db_read_stream
{
	const char *namespace_name, *stream;
	struct db_optional position;		/* the first wanted; not set: from the stream's start */
	struct db_optional global_position; /* no message below it */
	int64_t batch_size;					/* -1: all */
	const char *types;					/* an array literal */
	int64_t max_bytes;
	bool backward; /* the newest first: the positions are the highest wanted; not set: from the end */
	struct db_strict strict;
	struct db_reading reading;
};

struct db_read_category
{
	const char *namespace_name, *category;
	struct db_optional position; /* global */
	int64_t batch_size;
	const char *correlation;
	int64_t member, size; /* of a consumer group; size 0: none */
	const char *types;
	int64_t max_bytes;
	bool backward;
	struct db_strict strict;
	struct db_reading reading;
};

/* Of messages, each as JSON text. */
struct db_page
{
	struct slice body;		 /* with commas between them */
	int64_t count;			 /* of messages */
	struct db_optional next; /* where the next page begins; not set: this is the last one */
};

struct db_read_query
{
	const char *namespace_name;
	const char *query; /* a JSON object */
	struct db_optional position;
	int64_t batch_size;
	int64_t max_bytes;
	bool backward;
	struct db_reading reading;
	struct db_strict strict; /* of all categories */
};

bool db_read_stream(struct db *db, const struct db_read_stream *in, db_query_done done, void *arg);
bool db_read_category(struct db *db, const struct db_read_category *in, db_query_done done, void *arg);
struct db_page db_page_of(const struct db_reply *reply);
bool db_read_query(struct db *db, const struct db_read_query *in, db_query_done done, void *arg);
/* Beside its db_page: up to where the answer is complete, and whether there may be more behind batch_size. */
int64_t db_query_head_of(const struct db_reply *reply);
bool db_query_has_more(const struct db_reply *reply);

struct db_last_message
{
	const char *namespace_name, *stream;
	const char *type; /* NULL: any */
	struct db_reading reading;
};

struct db_stream_version
{
	const char *namespace_name, *stream;
	struct db_reading reading;
};

bool db_last_message(struct db *db, const struct db_last_message *in, db_query_done done, void *arg);
bool db_stream_version(struct db *db, const struct db_stream_version *in, db_query_done done, void *arg);

struct db_head
{
	const char *namespace_name;
	struct db_reading reading;
};

bool db_head(struct db *db, const struct db_head *in, db_query_done done, void *arg);
/* The global position of the last message; 0: none. */
int64_t db_head_of(const struct db_reply *reply);

/* ---- namespaces (calls_namespace.c): all answer with JSON text ---------------------------------- */

struct db_list_streams
{
	const char *namespace_name;
	const char *prefix; /* "": any */
	int64_t max_rows;
	const char *after; /* the cursor; NULL: from the first one on */
	struct db_reading reading;
};

struct db_create_namespace
{
	const char *name;
	const char *description; /* NULL: none */
	const char *token_hash;
	const char *metadata; /* a JSON object; NULL: none */
	bool tags;			  /* with an index of them */
};

struct db_set_limits
{
	const char *name;
	struct db_optional requests_per_second, bytes_per_second; /* not set: any number */
};

/* What makes a stream keep less, or take no more. */
struct db_removal
{
	const char *namespace_name;
	const char *method; /* its name behind the dot */
	const char *stream;
	struct db_optional number; /* before which position, or at which version */
	bool forget;
	int64_t max_rows;
};

bool db_list_streams(struct db *db, const struct db_list_streams *in, db_query_done done, void *arg);
bool db_list_categories(struct db *db, const struct db_head *in, db_query_done done, void *arg);
bool db_list_namespaces(struct db *db, db_query_done done, void *arg);
bool db_describe_namespace(struct db *db, const char *name, db_query_done done, void *arg);
bool db_create_namespace(struct db *db, const struct db_create_namespace *in, db_query_done done, void *arg);
bool db_drop_namespace(struct db *db, const char *name, db_query_done done, void *arg);
bool db_set_limits(struct db *db, const struct db_set_limits *in, db_query_done done, void *arg);
bool db_removal(struct db *db, const struct db_removal *in, db_query_done done, void *arg);

/* ---- places, rights (calls_auth.c) ----------------------------------------------------------- */

enum db_place_state
{
	DB_PLACE_OPEN,
	DB_PLACE_SEALED, /* nobody appends, while it is moved */
	DB_PLACE_MOVED,
};

/* What a database says of a namespace: whether that is there. */
struct db_place
{
	bool exists;
	enum db_place_state state;
	int64_t epoch;		  /* each move raises it */
	const char *moved_to; /* a cluster's name; "": it has not moved */
};

bool db_place(struct db *db, const char *namespace_name, db_query_done done, void *arg);
struct db_place db_place_of(const struct db_reply *reply);
/* The same of all namespaces; rows by name, as bytes. */
bool db_places(struct db *db, db_query_done done, void *arg);
/* The epoch that a database has of a namespace, from the answer of db_places; 0: it has no such namespace. */
int64_t db_epoch_in(const struct db_reply *reply, const char *namespace_name);

/* Of a token. */
struct db_rights
{
	bool exists;									/* false: no namespace has it */
	const char *refusal;							/* why it opens nothing any more; "": it does */
	unsigned rights;								/* see base/rights.h */
	struct db_optional expires_in_ms;				/* not set: never */
	uint64_t requests_per_second, bytes_per_second; /* of its namespace; 0: any number */
	struct db_place place;							/* the same */
};

bool db_token_rights(struct db *db, const char *name, const char *token_hash, db_query_done done, void *arg);
/* Makes the namespace when it is not there, and asks for no token. */
bool db_ensure_namespace(struct db *db, const char *name, db_query_done done, void *arg);
struct db_rights db_rights_of(const struct db_reply *reply);

/* These answer with JSON text. */
struct db_create_token
{
	const char *namespace_name;
	const char *name;
	const char *rights; /* an array literal */
	const char *token_hash;
	struct db_optional expires_at; /* microseconds since 2000-01-01 UTC; not set: never */
};

bool db_create_token(struct db *db, const struct db_create_token *in, db_query_done done, void *arg);
bool db_list_tokens(struct db *db, const char *namespace_name, db_query_done done, void *arg);
bool db_revoke_token(struct db *db, const char *namespace_name, const char *name, db_query_done done,
					 void *arg);

/* ---- lookups (calls_lookup.c): each answers with JSON text --------------------------------------- */

struct db_get_message
{
	const char *namespace_name;
	const char *id; /* a UUID */
	struct db_reading reading;
};

bool db_get_message(struct db *db, const struct db_get_message *in, db_query_done done, void *arg);

struct db_position_at
{
	const char *namespace_name;
	int64_t time; /* microseconds since 2000-01-01 UTC */
	struct db_reading reading;
};

bool db_position_at(struct db *db, const struct db_position_at *in, db_query_done done, void *arg);

struct db_list_types
{
	const char *namespace_name;
	const char *category;		   /* NULL: all */
	struct db_optional position;   /* the highest looked at; not set: from the end */
	struct db_optional scan_limit; /* messages looked at */
	struct db_reading reading;
};

struct db_recent_streams
{
	const char *namespace_name;
	int64_t max_rows;
	struct db_optional position;
	const char *category;
	struct db_optional scan_limit;
	struct db_reading reading;
};

struct db_search_messages
{
	const char *namespace_name;
	const char *request; /* a JSON object */
	struct db_reading reading;
};

bool db_list_types(struct db *db, const struct db_list_types *in, db_query_done done, void *arg);
bool db_recent_streams(struct db *db, const struct db_recent_streams *in, db_query_done done, void *arg);
bool db_search_messages(struct db *db, const struct db_search_messages *in, db_query_done done, void *arg);
/* Redacts; safe to repeat. */
struct db_redact
{
	const char *namespace_name;
	const char *which; /* JSON objects, both */
	const char *options;
};

bool db_redact(struct db *db, const struct db_redact *in, db_query_done done, void *arg);
/* How far a namespace's readers come. */
bool db_namespace_stats(struct db *db, const char *namespace_name, db_query_done done, void *arg);
/* Who holds up whom. */
bool db_blocked(struct db *db, db_query_done done, void *arg);

/* ---- consumers (calls_consumer.c) --------------------------------------------------------------- */

struct db_consumer_next
{
	const char *namespace_name, *consumer;
	const char *requests; /* a JSON array of {max, maxBytes, leaseMs, member, request} */
};

/* What one of the requests is answered: members of a JSON object. */
struct db_delivery
{
	struct slice body;
	struct db_optional claim;		/* not set: there is nothing to do... */
	struct db_optional next_due_ms; /* ...until then; not set: until an append or a settle */
	int64_t expired;				/* claims whose lease ran out */
	int64_t granted;				/* when the claim was, for db_consumer_release */
};

/*
 * Answers with as many db_delivery as there are requests, made in one transaction; with none when another
 * session is at the same consumer, and nothing was done.
 */
bool db_consumer_next(struct db *db, const struct db_consumer_next *in, db_query_done done, void *arg);
unsigned db_deliveries_of(const struct db_reply *reply);
struct db_delivery db_delivery_of(const struct db_reply *reply, unsigned index);

/* What came of what one of the requests settles. */
struct db_settled
{
	struct slice settled; /* further members of the object */
	int64_t claims_settled, claims_lost, messages_failed;
};

/*
 * Settles what each of the requests has as `settle`, in one transaction, and answers with a db_settled for
 * each.  Nothing is settled where one of them is refused.
 */
bool db_consumer_settle(struct db *db, const struct db_consumer_next *in, db_query_done done, void *arg);
struct db_settled db_settled_of(const struct db_reply *reply, unsigned index);

/* Gives back a claim that was granted then, if it was not granted again since. */
struct db_consumer_release
{
	const char *namespace_name, *consumer;
	int64_t claim, granted;
};

bool db_consumer_release(struct db *db, const struct db_consumer_release *in, db_query_done done, void *arg);

struct db_consumer
{
	const char *namespace_name;
	const char *method; /* "create", "settle", ...: what is behind `consumer.` */
	const char *consumer;
	const char *options; /* a JSON object */
	bool reads;			 /* only, which a standby can */
};

/* All other calls about consumers; answers with JSON text. */
bool db_consumer(struct db *db, const struct db_consumer *in, db_query_done done, void *arg);

/* How a consumer is doing; numbers as text, "" for none. */
enum db_consumer_figure
{
	CONSUMER_CEILING,
	CONSUMER_FLOOR,
	CONSUMER_LAG,
	CONSUMER_LAG_SECONDS, /* the age of the oldest message that is not settled */
	CONSUMER_IN_FLIGHT,
	CONSUMER_CLAIM_SECONDS, /* the age of the oldest claim */
	CONSUMER_RETRYING,
	CONSUMER_PARKED,
	CONSUMER_FIGURES
};

struct db_consumer_status
{
	const char *namespace_name; /* NULL: there are more consumers, and this is the last row */
	const char *consumer, *state;
	const char *figures[CONSUMER_FIGURES];
};

/* Answers with db_rows_of() of them, at most so many and begun within so many ms, by namespace and name. */
bool db_consumer_metrics(struct db *db, int max_consumers, int max_ms, db_query_done done, void *arg);
struct db_consumer_status db_consumer_status_of(const struct db_reply *reply, unsigned row);

/* ---- what is kept of a namespace (calls_sweep.c) ---------------------------------------------- */

struct db_retention
{
	const char *namespace_name;
	const char *method;	  /* "setRetention", "sweep", ...: what is behind `ns.` */
	const char *category; /* of setRetention */
	const char *options;  /* a JSON object */
	bool reads;			  /* and writes nothing */
};

/* Answers with JSON text. */
bool db_retention(struct db *db, const struct db_retention *in, db_query_done done, void *arg);

/* A step of a sweep, or none while another session makes one. */
struct db_swept
{
	int64_t removed;
	bool more;
	const char *held_by; /* a consumer; NULL: none */
	int64_t held_position;
};

bool db_sweep(struct db *db, const char *name, int64_t max_rows, db_query_done done, void *arg);
struct db_swept db_swept_of(const struct db_reply *reply);

/* Answers with db_rows_of() namespaces: those that nobody has swept for so long. */
bool db_sweeps_due(struct db *db, int64_t interval_ms, db_query_done done, void *arg);
const char *db_due_of(const struct db_reply *reply, unsigned row);

struct db_held
{
	const char *namespace_name;
	bool held; /* a consumer held the last sweep */
};

/* Answers with db_rows_of() of them: the namespaces that are swept. */
bool db_retention_held(struct db *db, db_query_done done, void *arg);
struct db_held db_held_of(const struct db_reply *reply, unsigned row);

/* ---- transactions that append (calls_namespace.c) --------------------------------------------- */

/* Of one namespace. */
struct db_appending
{
	const char *namespace_name;
	int64_t count; /* open transactions that appended */
	double oldest; /* the age of the oldest in s; 0: not known */
};

/* Answers with a struct for each namespace that has any, the oldest transaction's first. */
bool db_appending(struct db *db, db_query_done done, void *arg);
struct db_appending db_appending_of(const struct db_reply *reply, unsigned row);
unsigned db_rows_of(const struct db_reply *reply);

#endif
