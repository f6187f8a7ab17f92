/*
 * db: what one worker says to Postgres.
 *
 * A worker owns one `struct db`; it is used from that worker's thread only.  It holds one connection for
 * appends (batches: all appends that gather while one batch is in flight go as ONE statement in one
 * transaction), a few for reads (pipeline mode, prepared statements, one sync per request), and one each for
 * slow statements (namespace calls, lists), imports, exports and the wait for what others commit, opened when
 * first needed.
 *
 * Every call answers through its `done` callback exactly once, later, from the
 * event loop: never from inside the call itself.  The reply and all it points to live until
 * `done` returns, except an answer that `done` takes with db_take.
 *
 * Lost connections are opened again with a growing pause.  Appends and reads
 * that were in flight are sent again (appends carry their ids, which makes that
 * exactly-once); what has waited longer than the retry window fails with
 * DB_UNAVAILABLE.  Namespace calls and imports that were in flight fail at once.
 *
 * A server that is silent for the answer timeout while something was asked (an idle connection asks for a
 * sign of life) counts as lost.
 */
#ifndef MILLRACE_DB_H
#define MILLRACE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#include "extension/protocol.h"

struct event_base;
struct answer; /* of Postgres, see db/answer.h */
struct config;
struct db;
struct stats;

enum db_status
{
	DB_OK,			/* see the reply's payload */
	DB_ERROR,		/* Postgres refused: sqlstate, message, detail, hint are set */
	DB_OVERLOADED,	/* a queue is full, nothing was sent */
	DB_UNAVAILABLE, /* no connection within the retry window, or shutting down */
	DB_NOT_YET,		/* a read's min_position: message and detail (JSON) are set */
	DB_GONE,		/* the session that a read was bound to; nothing was sent, or its answer is lost */
};

/* What Postgres said; the strings are never NULL (empty when absent). */
struct db_error
{
	char sqlstate[SQLSTATE_LEN + 1];
	const char *message;
	const char *detail;
	const char *hint;
	int pid; /* of the backend that said so, as in its log; 0: none did */
};

/* ---- appends -------------------------------------------------------- */

/* The verdict on one part (one stream) of one append request. */
struct db_part
{
	int64_t position;
	int64_t last_position;
	int64_t global_position;
	int64_t last_global_position;
};

struct db_append_reply
{
	enum db_status status;
	struct db_error error;	  /* DB_ERROR: also for a verdict */
	unsigned failed_part;	  /* DB_ERROR: which part was refused */
	int64_t expected, actual; /* SQLSTATE_WRONG_EXPECTED_VERSION: both versions */
	/* SQLSTATE_APPEND_CONDITION_FAILED: what matches, at `actual`, above the condition's `expected` */
	const char *stream, *type;
	const struct db_part *parts;
	unsigned nparts;
};

typedef void (*db_append_done)(void *arg, const struct db_append_reply *reply);

/* What was written between begin and end.  No request has more than MAX_STREAMS parts, nor has a batch. */
struct db_append
{
	unsigned nparts, nmessages;
	unsigned nconditions;		/* some of which may lock a stream */
	bool new_ids;				/* all ids were made for this request, so none can be stored yet */
	const char *namespace_name; /* where it appends; stays until `done` */
	db_append_done done;
	void *arg;
};

/*
 * An append is written straight into the batch that is gathering:
 *
 *     struct buf *frame = db_append_begin(db);   (NULL: overloaded or unavailable, *why says which)
 *     ... write exactly one `request` of the batch format ...
 *     db_append_end(db, &append);   or   db_append_abandon(db);
 *
 * Begin and end must be called within one turn of the event loop, unnested.
 * db_append_end returns false (and abandons) when frame->failed.
 */
struct buf *db_append_begin(struct db *db, enum db_status *why);
bool db_append_end(struct db *db, const struct db_append *append);
void db_append_abandon(struct db *db);

/* ---- commits --------------------------------------------------------- */

typedef void (*db_committed)(void *arg, const char *namespace_name);
/*
 * `committed` is called whenever a request to this db, an append or an import, has committed messages to a
 * namespace, before the request's own `done`.  There is one such callback; NULL: none.
 */
void db_on_commit(struct db *db, db_committed committed, void *arg);

/* ---- another database behind the same name ------------------------------ */

/*
 * `returned` is called, from the event loop, when a connection for appends was lost and is there again;
 * nothing is appended then until db_go_on.  There is one such callback; NULL: none.
 */
void db_on_return(struct db *db, void (*returned)(void *arg), void *arg);
/*
 * Appends go on.  Those that wait for namespaces which `refused` refuses fail: DB_ERROR,
 * SQLSTATE_NAMESPACE_MOVED.
 */
typedef bool (*db_refused)(void *arg, const char *namespace_name);
void db_go_on(struct db *db, db_refused refused, void *arg);

/* ---- everything else ------------------------------------------------- */

/*
 * Where a read may be answered.  Of two sessions the one may be at a standby that is behind the other's; a
 * session alone never goes back.  So what belongs together (the pages of an answer; what a feed hands out) is
 * bound to where the first part was answered: to the primary, or to one session with a standby.  When that is
 * gone such a read fails with DB_GONE.
 */
#define DB_ANYWHERE 0
#define DB_AT_PRIMARY 1

struct db_reading
{
	uint64_t seat;		  /* DB_ANYWHERE, DB_AT_PRIMARY, or the seat of an earlier reply */
	int64_t min_position; /* global: it waits until all up to there is decided and visible; 0: for nothing */
};

struct db_reply
{
	enum db_status status;
	uint64_t seat; /* DB_OK: where it was answered */
	struct db_error error;
	struct answer *answer; /* DB_OK: for the functions of calls.h to read; empty once it is taken */
};

typedef void (*db_query_done)(void *arg, struct db_reply *reply);

/*
 * Imports a frame: it answers with a db_imported (calls.h).  With `trial` nothing is imported: the answer is
 * an error, DB_TRIAL_PASSED when Postgres did not refuse the frame.  The frame must stay as it is until
 * `done` is called.  It is not sent again when its connection is lost.  The queues' bounds do not count: the
 * caller sees to it that there are not too many.  False: out of memory, or closing.
 */
#define DB_TRIAL_PASSED SQLSTATE_DIVISION_BY_ZERO

bool db_import(struct db *db, const char *namespace_name, const struct buf *frame, bool trial,
			   db_query_done done, void *arg);

/* ---- what others commit ------------------------------------------------ */

#define DB_WATCH_MS 1000 /* the longest wait */

enum db_watch_end
{
	DB_WATCH_TOLD,		  /* a transaction that wrote has ended, in any session */
	DB_WATCH_OVER,		  /* none has, as far as can be told; if one has just then, the next wait tells so */
	DB_WATCH_UNAVAILABLE, /* the connection was lost, or cannot be had */
	DB_WATCH_REFUSED,	  /* the procedure is not there, or not for this role */
};

/* Whose commits: those that reads can find now, where they are answered, or those of the primary. */
enum db_watched
{
	DB_WATCH_READS,
	DB_WATCH_PRIMARY,
};

typedef void (*db_watch_done)(void *arg, enum db_watch_end end);

/*
 * Waits until a transaction that wrote has ended since the last DB_WATCH_TOLD; the first wait on a connection
 * ends at once.  Who is told so and reads then misses nothing.  One wait of each at a time, and one
 * for both where they are the same; it holds up no shutdown and is in no queue.  False: closing, or one is
 * under way.
 */
bool db_watch(struct db *db, enum db_watched which, db_watch_done done, void *arg);
/* Whether Postgres has the wait, and not for much longer than it should: it can be relied on. */
bool db_is_watching(struct db *db, enum db_watched which);

/* ---- life ------------------------------------------------------------- */

/*
 * Whether libpq can read the connection string of a setting, out of that file or (NULL) none; false:
 * *error says what is wrong with it.
 */
bool db_check_conninfo(const char *setting, const char *conninfo, const char *file, struct buf *error);
/*
 * True when a connection string, the environment or a service names more than one server; then only one that
 * takes writes will do.
 */
bool db_names_several_hosts(const char *conninfo);
/*
 * True when a connection string by itself names several hosts and would do with one that takes no writes:
 * such a string is no good for a subscription, which PostgreSQL connects.
 */
bool db_may_lead_to_standby(const char *conninfo);
/*
 * What every session begins with, whatever is set for the role or the database; $1 is the lock_timeout, $2
 * whether only for the transaction.
 */
extern const char db_setup_sql[];

/*
 * How many connections a worker has at most besides those for reads: one for each other role, two for
 * consumers.
 */
#define DB_OTHER_CONNECTIONS 9
/* The same to standbys: for exports, lists and subscriptions. */
#define DB_STANDBY_CONNECTIONS 3

/* By what a database is reached. */
struct db_reached
{
	const char *conninfo;
	const char *standbys; /* the same of its standbys, to which reads go; NULL: they go to the database */
	bool pooled;		  /* sessions are lent for single transactions */
};

/* The config and the stats must outlive it. */
struct db *db_new(struct event_base *base, const struct config *config, const struct db_reached *reached,
				  struct stats *stats);
/*
 * Two steps, because what uses it must end between them: db_close answers the requests that wait, and refuses
 * all that come from then on.
 */
void db_close(struct db *db);
void db_free(struct db *db);
struct stats *db_stats(const struct db *db);
const char *db_role_name(unsigned role);	  /* of STATS_ROLES; NULL: there is none */
unsigned db_connections(const struct db *db); /* open now, for sys.health */
bool db_ready(
	const struct db *db); /* the append connection is up and its server not silent; from any thread */
bool db_readable(const struct db *db);	  /* a connection for reads is up and not silent; from any thread */
bool db_has_standby(const struct db *db); /* --read-database is given */
/* Whether reads go to a standby now; from any thread. */
bool db_reads_from_standby(const struct db *db);
/* What is to be told of a request that failed with DB_UNAVAILABLE. */
const char *db_unavailable(const struct db *db);
/* How long there has been no connection for reads. */
uint64_t db_outage_ms(const struct db *db);
/* From the next attempt to connect on it is reached by this; nothing changes where there is no memory. */
void db_reach_by(struct db *db, const char *conninfo);
/*
 * How often a connection for reads was lost and is back: Postgres may have crashed meanwhile, or be another
 * one.
 */
unsigned long db_reconnects(const struct db *db);
/* The same of connections for reads and for appends. */
unsigned long db_returns(const struct db *db);
bool db_idle(const struct db *db); /* nothing queued, nothing in flight */

struct db_connection
{
	const char *what; /* "appends", "reads", ... */
	const char *state;
	bool is_ready;
	uint64_t age_ms;			  /* since it was ready, or was lost */
	uint64_t bytes_in, bytes_out; /* of parameters and results */
	unsigned in_flight;			  /* requests that Postgres has */
	unsigned waiting;			  /* requests that wait for it, or for any other of its kind */
	const char *host, *port;	  /* empty before it is connected */
	int pid;					  /* of the process that serves it; 0 before it is connected */
};

/* Those that were ever opened. */
void db_walk(const struct db *db, void (*visit)(void *arg, const struct db_connection *connection),
			 void *arg);

#endif
