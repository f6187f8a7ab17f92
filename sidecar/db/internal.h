/*
 * db_internal: what the files of the db family share; only they include it.
 *
 *     db.c          struct db: its life, the end of a loop turn, the sweep of what waited too long
 *     shared.c      what all connections and requests of a worker have in common
 *     conn.c        one nonblocking connection: connects, reconnects
 *     exchange.c    statements and answers on it, by libpq or
 *     wire.c, wire_send.c   without (wire.h)
 *     answer.c      what was answered (answer.h)
 *     setup.c       what a connection begins with
 *     failure.c     how an error is to be taken
 *     batch.c       the appends: one batch in flight, the next ones gathering
 *     batches.c     their memory
 *     gather.c      requests are written into the batch that gathers
 *     settle.c      answers to requests
 *     refuse.c      appends are held when another database may be behind a connection
 *     park.c        requests whose stream another session holds locked
 *     cancel.c      ends a statement that is not waited for any more
 *     site.c        where reads are answered
 *     standby.c     which server of it will do
 *     hold.c        how long a batch may gather when nothing is in flight (hold.h)
 *     frame.c       reads frames: which streams a request appends to, and the verdicts
 *     query.c       everything else: the requests,
 *     pool.c        the pools of connections that they go to,
 *     reach.c       and reads that ask for a position (query.h)
 *     watch.c       waits for what others commit
 *     walk.c        what there is to tell of each connection
 *     statement.h   what a statement is
 *     statements.c  the SQL
 *     session.c     the session of the start, which blocks
 *     pooler.c      whether sessions are lent
 *     calls_*.c     each statement's parameters and the columns of its answer (calls.h)
 *
 * Nothing is sent from inside db_append_end or db_ask.  They schedule the end of the loop turn,
 * so that requests which arrived together leave together, and nothing re-enters its caller.
 */
#ifndef MILLRACE_DB_INTERNAL_H
#define MILLRACE_DB_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <libpq-fe.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/config.h"
#include "db/answer.h"
#include "db/db.h"
#include "db/hold.h"
#include "db/hosts.h"
#include "db/statement.h"
#include "base/stats.h"

/* A request whose connection was lost this many times under it is taken for the cause, and fails. */
#define DB_MAX_LOST 10

/* So many turns of the timer of a connection without an answer are silence. */
#define DB_UNREADY_TURNS 2

#define DB_PAUSE_MIN_MS 10 /* before a lost connection is opened again */
#define DB_MAX_PARAMS 15   /* of a statement */
#define DB_MAX_GROUPS 24   /* syncs that are awaited on one connection: a few more than statements may be */

/* ---- shared.c ------------------------------------------------------------ */

struct conn;
struct db_site;
struct query;

STAILQ_HEAD(query_queue, query);

/* What all connections of a worker and all that wait for them have in common.  Owned by struct db. */
struct db_shared
{
	struct event_base *base;
	const struct config *config;
	struct stats *stats; /* the worker's */
	bool pooled;		 /* sessions are lent for single transactions */
	bool closing;
	_Atomic bool ready;			/* the append connection is up and not silent */
	_Atomic bool was_ready;		/* it was, once */
	_Atomic unsigned readable;	/* connections for reads that are ready and not silent, at any site */
	unsigned long reconnects;	/* of those for reads */
	uint64_t sessions;			/* the number of the last one */
	unsigned long returns;		/* the same, and that for appends */
	const struct conn *appends; /* the append connection */
	bool primary_found;			/* by it, in this loop turn: reads are to leave standbys */
	int64_t timeline;			/* that it found last; 0: none yet */
	bool timeline_changed;		/* in this loop turn: reads are to leave standbys that are on an older one */
	struct event turn;			/* the end of this loop turn: everything that gathered is sent */
	bool turn_scheduled;
	size_t waiting_requests, waiting_bytes; /* not yet answered */
	size_t noted_requests, noted_bytes;		/* of those, in the stats */
	struct query_queue free_queries;
	unsigned nfree_queries;
	db_committed committed; /* NULL: none */
	void *committed_arg;
	void (*returned)(void *arg); /* NULL: none */
	void *returned_arg;
	bool held; /* appends, until db_go_on */
};

void shared_schedule(struct db_shared *shared);
void shared_note_queues(struct db_shared *shared); /* in the stats */
/* True when one more request of that size fits the queues. */
bool shared_has_room(const struct db_shared *shared, size_t bytes);
/* When a request that arrives now on a connection that is down since then gives up waiting. */
uint64_t shared_deadline(const struct db_shared *shared, uint64_t now);
/* Messages were committed to the namespace. */
void shared_tell_commit(const struct db_shared *shared, const char *namespace_name);
/* A connection is ready: counts it where it is back. */
void shared_note_return(const struct conn *conn);
/* Why a request is not answered, for its client. */
const char *shared_unavailable(const struct db_shared *shared);

/* ---- conn.c ----------------------------------------------------------- */

enum conn_state
{
	CONN_UNUSED,	 /* never opened, or closed for good */
	CONN_PAUSED,	 /* lost; the timer opens it again */
	CONN_CONNECTING, /* libpq is at it */
	CONN_SETUP,		 /* settings and prepared statements are on their way */
	CONN_READY,
};

/* What the user of a connection wants to hear. */
struct conn_user
{
	enum db_role role;
	const char *what; /* for the log */
	bool grouped;	  /* its statements only read, so several may share a sync */
	void (*on_ready)(struct conn *conn);
	/*
	 * The answer to the oldest in flight: final, and the callee's to clear.  Of a grouped one
	 * ANSWER_PASSED_OVER too, which stands for no answer: another one of its group failed.
	 */
	void (*on_answer)(struct conn *conn, struct answer *answer);
	/* Everything in flight is unanswered and must be sent again or failed. */
	void (*on_lost)(struct conn *conn);
};

struct conn
{
	struct db_shared *shared;
	struct db_site *site;
	const struct conn_user *user;
	enum conn_state state;
	PGconn *pg;
	struct event readable, writable, timer;
	event_callback_fn on_socket;	 /* exchange.c */
	void (*sync)(struct conn *conn); /* conn_sync */
	unsigned in_flight;				 /* statements whose answers are awaited */
	unsigned syncs;					 /* awaited */
	bool unsynced;					 /* a statement waits for conn_sync */
	bool heard;						 /* since the timer's last turn the server gave or took something */
	bool unreplicated;				 /* what is being answered may not be on the synchronous standby */
	bool probing;					 /* the first sync that is awaited asks for nothing but an answer */
	unsigned silence;  /* turns of the timer for which an answer was awaited and nothing heard */
	unsigned pause_ms; /* before the next attempt; small again after the first answer */
	uint64_t down_since, ready_since; /* ms; which one counts depends on the state */
	bool outage_logged, reason_logged;
	uint64_t session; /* its number: no other one that was ever ready has it, nor DB_AT_PRIMARY */
	bool refused;	  /* the last that was asked, as the server takes no writes: no fault of what was asked */
	bool was_ready;	  /* ever */
	bool is_back;	  /* and was before it was lost */
	bool counted;	  /* among site.readable */
	int64_t timeline; /* of its server, when it was set up; 0: not asked */
	bool overdue;	  /* what was asked last was not answered in time, and goes on there, perhaps for long */
	struct answer answer;	  /* of the oldest in flight, until its sync: the first error, else the first */
	bool answered;			  /* there is one */
	struct wire *wire;		  /* owned; NULL: libpq sends and receives */
	uint32_t append_function; /* what appends call there, by its OID; 0: they execute a statement */
	bool no_wire;	/* the next attempt is libpq's: on the last one there was no answer by the wire */
	unsigned group; /* statements on the wire that wait for conn_sync */
	unsigned groups[DB_MAX_GROUPS], ngroups; /* of each sync awaited there: its statements, unanswered */
	uint64_t bytes_in, bytes_out;			 /* of results and parameters */
};

void conn_open(struct conn *conn);	/* does nothing unless unused */
void conn_close(struct conn *conn); /* for good; runs no callback */
void conn_lose(struct conn *conn, const char *why);
/* The same where it is known whether the server refused what was asked. */
void conn_lose_refused(struct conn *conn, const char *why, bool refused);
/* One step of connecting. */
void conn_poll(struct conn *conn);
void conn_on_timer(evutil_socket_t fd, short what, void *conn);
/* For so many turns of the timer nothing was heard.  Everybody hears of it, at /ready. */
void conn_note_silence(struct conn *conn, unsigned turns);
/* What a connection begins with was answered. */
void conn_set_up(struct conn *conn);
/* The server owes an answer for so long that it is not counted on. */
static inline bool conn_is_silent(const struct conn *conn)
{
	return conn->silence >= DB_UNREADY_TURNS;
}

/* PostgreSQL has told something that is no answer. */
void conn_take_notice(struct conn *conn, const struct answer *notice);
/* The same for libpq. */
void conn_take_pq_notice(void *conn, const PGresult *result);
/* For the log: it is ready; it took what was asked; it is lost, and why. */
void outage_note_ready(struct conn *conn);
void outage_note_taken(struct conn *conn);
void outage_note_lost(struct conn *conn, const char *why);
/* Down for longer than a request waits. */
bool conn_outage_is_long(const struct conn *conn, uint64_t now);
/* As libpq wants them: formats NULL = all text, lengths count for binary ones only. */
struct conn_params
{
	const char *const *values;
	const int *lengths;
	const int *formats;
	int result_format;
};

/* As libpq's functions for this: 0, it has failed. */
static inline int conn_send(PGconn *pg, const struct db_statement_info *statement,
							const struct conn_params *params)
{
	if (statement->sql == NULL)
		return PQsendQueryParams(pg, params->values[0], 0, NULL, NULL, NULL, NULL, 0);
	return PQsendQueryPrepared(pg, statement->name, statement->nparams, params->values, params->lengths,
							   params->formats, params->result_format);
}

/* ---- exchange.c ------------------------------------------------------- */

void conn_init(struct conn *conn, struct db_site *site, const struct conn_user *user);
/* Queues a statement, which conn_sync sends; false: the connection was lost (on_lost was called). */
bool conn_queue(struct conn *conn, const struct db_statement_info *statement,
				const struct conn_params *params);
/* Sends what is queued, with a sync behind it.  The connection may be lost by it (on_lost is called). */
void conn_sync(struct conn *conn);

/* ---- failure.c --------------------------------------------------------- */

/* How an error is to be taken. */
enum db_failure
{
	FAILURE_FINAL, /* the answer */
	FAILURE_AGAIN, /* a clash with others: the same statement may succeed at once */
	FAILURE_LOST,  /* this server is going away or is the wrong one: connect again, then send again */
};

bool conn_is_error(const struct answer *answer);
/* Whether it says that the server takes no writes for now. */
bool conn_is_refused(const struct conn *conn, const struct answer *answer);
/* Whether it is an error of this SQLSTATE. */
bool answer_has_sqlstate(const struct answer *answer, const char *wanted);
enum db_failure conn_failure(const struct conn *conn, const struct answer *answer);
/* Points into `answer`. */
void conn_describe_error(const struct conn *conn, const struct answer *answer, struct db_error *error);

/* ---- setup.c ----------------------------------------------------------- */

/* Begins to connect; never NULL but when out of memory. */
PGconn *conn_start(const struct conn *conn);
/* Sends the settings and all statements of the role with one sync; false when that fails at once. */
bool conn_send_setup(struct conn *conn);
/* Takes what that brought.  NULL, or why this server will not do. */
const char *conn_take_look(struct conn *conn, const struct answer *answer);

/* ---- cancel.c ---------------------------------------------------------- */

/* Asks the server to end what it does for this connection, which may be closed at once. */
void conn_cancel(const struct conn *conn);

/* ---- standby.c --------------------------------------------------------- */

bool conn_reads(const struct conn *conn); /* nothing that it is asked writes */
/* Whether this connection must lead to a server that takes writes. */
bool conn_wants_primary(const struct conn *conn);
/* Whether libpq has connected it to a server that will not do. */
bool conn_misses_server(const struct conn *conn);
bool conn_is_at_standby(const struct conn *conn);
/* Whether it was to a standby, which is one no more. */
bool conn_is_promoted(const struct conn *conn);
/* Whether it is to a standby that is on an older timeline than the primary, by what is known of both. */
bool conn_is_of_old_history(const struct conn *conn);

/* It counts among those that are readable at its site now, or no more: where reads go is told. */
void conn_note_readable(const struct conn *conn);

/* ---- batch.c ----------------------------------------------------------- */

struct batch;

TAILQ_HEAD(batch_list, batch);

struct batcher
{
	struct conn conn;		  /* first: callbacks get it and cast */
	struct batcher *deferred; /* where requests go that met a locked stream; may be itself */
	struct batch *flight;	  /* sent, or to be sent (again) before all others */
	bool sent;				  /* flight is with Postgres */
	uint64_t sent_us;
	struct batch_list gathering; /* oldest first */
	struct batch_list spares;	 /* empty, memory kept */
	unsigned nspares;
	struct batch *writing; /* between db_append_begin and db_append_end: always the last that gathers */
	size_t mark;		   /* where the request being written begins */
	struct hold hold;
	struct db_part *parts; /* of the reply being delivered */
	size_t nparts;
};

void batcher_init(struct batcher *batcher, struct db_site *primary, const struct conn_user *user,
				  struct batcher *deferred);
void batcher_free(struct batcher *batcher); /* fails what waits */
void batcher_send(struct batcher *batcher);
/* Requests of both kinds. */
void batcher_count(const struct batcher *batcher, unsigned *in_flight, unsigned *waiting);
bool batcher_sweep(struct batcher *batcher, uint64_t now); /* true: something still waits for a connection */

extern const struct conn_user batcher_append_user;
extern const struct conn_user batcher_deferred_user;

/* ---- refuse.c --------------------------------------------------------- */

/* A connection is ready: if it is one for appends that is back, these are held. */
void batch_hold(const struct conn *conn);

/* ---- frame.c ---------------------------------------------------------- */

/* One request of the batch format, as db_append_begin's caller wrote it. */
struct frame_request
{
	const char *bytes;
	size_t len;
};

/* True when both append to a stream of the same name in the same namespace. */
bool frame_share_stream(struct frame_request a, struct frame_request b);

/* The verdicts on a batch, not yet read. */
struct frame_verdicts
{
	const char *at, *end;
	unsigned nrefused;
};

/* On one request.  Points into the frame. */
struct frame_verdict
{
	uint32_t nparts; /* 0: refused */
	const char *parts;
	char sqlstate[SQLSTATE_LEN + 1];
	uint32_t failed_part;
	int64_t expected, actual;
	const char *message;
	const char *stream, *type; /* SQLSTATE_APPEND_CONDITION_FAILED */
};

/* False: it isn't a frame of as many sound verdicts. */
bool frame_open_verdicts(struct frame_verdicts *verdicts, const char *bytes, size_t len, unsigned count);
bool frame_next_verdict(struct frame_verdicts *verdicts, struct frame_verdict *verdict);
void frame_read_part(const struct frame_verdict *verdict, unsigned part, struct db_part *out);

/* ---- query.c, pool.c --------------------------------------------------- */

struct query_list
{
	struct query_queue queries;
	size_t count;
};

struct pooled_conn
{
	struct conn conn; /* first: callbacks get it and cast */
	struct conn_pool *pool;
	struct query_list flying;
};

struct conn_pool
{
	struct db_site *site;
	struct conn_pool *other; /* of the same role at the other site; NULL: there is none */
	struct pooled_conn *conns;
	unsigned nconns;
	unsigned depth; /* most requests in flight on one connection */
	struct query_list waiting;
	struct query_list behind; /* ask for a position that is not there yet */
	size_t most_waiting;	  /* beyond it: overloaded */
};

struct query_order;

bool conn_pool_init(struct conn_pool *pool, struct db_site *site, const struct conn_user *user,
					unsigned nconns, unsigned depth);
void conn_pool_open(struct conn_pool *pool);
void conn_pool_free(struct conn_pool *pool); /* fails what waits */
void conn_pool_send(struct conn_pool *pool);
/* Puts a request on the pool.  False: there is no room for it. */
bool conn_pool_ask(struct conn_pool *pool, const struct query_order *order);
/* Whether what is asked of it now is answered soon. */
bool conn_pool_is_there(const struct conn_pool *pool);
/* Hands what waits to the other pool, where this one is not there and that one is. */
void conn_pool_balance(struct conn_pool *pool);
void conn_pool_leave_standbys(struct conn_pool *pool);
/* Loses one that is of an old history (standby.c), and each such one of a pool. */
void conn_leave_old_history(struct conn *conn);
void conn_pool_leave_old_history(struct conn_pool *pool);
bool conn_pool_sweep(struct conn_pool *pool, uint64_t now); /* true: something still waits for a connection */

void query_free_spares(struct db_shared *shared);

extern const struct conn_user read_pool_user;
extern const struct conn_user slow_pool_user;
extern const struct conn_user import_pool_user;
extern const struct conn_user export_pool_user;
extern const struct conn_user list_pool_user;
extern const struct conn_user consume_pool_user;
extern const struct conn_user standby_read_user, standby_export_user, standby_list_user;

/* ---- watch.c ----------------------------------------------------------- */

struct watch
{
	struct conn conn;	/* first: callbacks get it and cast */
	db_watch_done done; /* NULL: no wait is under way */
	void *arg;
	bool heard; /* what the last answer told */
	bool refused;
	bool sent;
	uint64_t sent_ms;
	char asker[24]; /* a number of its own */
};

void watch_init(struct watch *watch, struct db_site *site);
void watch_open(struct watch *watch);
void watch_send(struct watch *watch);
void watch_free(struct watch *watch); /* a wait that is under way ends without a callback */

/* ---- site.c ------------------------------------------------------------- */

/*
 * Of one cluster, where reads are answered: at --database, its primary, to which all else goes, too, or at
 * --read-database, its standbys.  Which cluster it is nobody asks here: that is a place (places.h).  Owned by
 * struct db.
 */
struct db_site
{
	struct db_shared *shared;
	char *conninfo;		   /* NULL: there is no such site */
	bool standby;		   /* it is --read-database: only standbys will do */
	struct db_hosts hosts; /* which one the next attempt begins with */
	bool several_hosts;	   /* reads too must then ask for the primary, or they may miss the newest appends */
	_Atomic unsigned readable; /* connections for reads that are ready and not silent */
	struct conn_pool reads, exports, lists;
	struct watch watch;
	bool told; /* by the watch, in this loop turn: reads that ask for a position may find it */
};

/* False: out of memory. */
bool site_init(struct db_site *site, struct db_shared *shared, const char *conninfo, bool standby);
void site_free(struct db_site *site); /* fails what waits */
void site_send(struct db_site *site);
bool site_sweep(struct db_site *site, uint64_t now); /* true: something still waits */
/* Now that the appends have found the primary. */
void site_leave_standbys(struct db_site *site);
/* Now that they have found another one than before. */
void site_leave_old_history(struct db_site *site);
/* The pool of a role; NULL: such statements go nowhere else than to --database. */
struct conn_pool *site_pool(struct db_site *site, enum db_role role);
/* From any thread. */
static inline unsigned site_readable(const struct db_site *site)
{
	return atomic_load(&site->readable);
}

/* Whether reads wait there for a position. */
static inline bool site_has_behind(const struct db_site *site)
{
	return site->reads.behind.count + site->exports.behind.count + site->lists.behind.count > 0;
}

/* What waits at the one may go to the other. */
void site_pair(struct db_site *one, struct db_site *other);
void site_balance(struct db_site *site);

/* Where a request was answered, as a site that one that belongs to it can be bound to. */
static inline uint64_t conn_seat(const struct conn *conn)
{
	return conn->site->standby ? conn->session : DB_AT_PRIMARY;
}

/* ---- db.c ---------------------------------------------------------------- */

struct db
{
	struct db_shared shared;
	struct event sweep; /* runs only while something waits for a lost connection */
	struct batcher batcher;
	struct batcher deferred; /* requests that met a locked stream: they wait here and hold up no others */
	struct conn_pool slow, imports, consumers;
	struct db_site primary, standby;
};

#endif
