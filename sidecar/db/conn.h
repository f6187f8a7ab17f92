/*
 * conn.h: one connection, and what its files share; see internal.h.
 */
#ifndef MILLRACE_DB_CONN_H
#define MILLRACE_DB_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <libpq-fe.h>

#include "db/answer.h"
#include "db/shared.h"
#include "db/statement.h"

/* So many turns of the timer of a connection without an answer are silence. */
#define DB_UNREADY_TURNS 2

#define DB_PAUSE_MIN_MS 10 /* before a lost connection is opened again */
#define DB_MAX_GROUPS 24   /* syncs that are awaited on one connection: a few more than statements may be */

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
	unsigned groups[DB_MAX_GROUPS],
		ngroups;				  /* of each sync awaited there: its statements, not yet answered */
	uint64_t bytes_in, bytes_out; /* of results and parameters */
};

void conn_open(struct conn *conn);	/* does nothing unless unused */
void conn_close(struct conn *conn); /* for good; runs no callback */
void conn_lose(struct conn *conn, const char *why);
/* The same where it is known whether the server refused what was asked. */
void conn_lose_refused(struct conn *conn, const char *why, bool refused);
/* One step of connecting. */
void conn_poll(struct conn *conn);
void conn_on_timer(evutil_socket_t fd, short what, void *arg);
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
void conn_take_notice(struct conn *conn, const struct answer *answer);
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

#endif
