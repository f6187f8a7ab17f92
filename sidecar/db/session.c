/*
 * session.c: see session.h.
 *
 * libpq is asked step by step, so that a signal is looked for between the steps.
 */
#include "db/session.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "db/db.h"
#include "db/hosts.h"
#include "db/conn.h"
#include "base/log.h"

#define STEP_MS 50		 /* between two looks for a signal */
#define RETRY_MS 100	 /* between two attempts */
#define MAX_REFUSALS 3	 /* a proxy that has just lost its server hangs up, too */
#define PATIENCE_MS 5000 /* then it is told what is waited for, again and again */

static void ignore_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

static void pause_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000L};

	nanosleep(&pause, NULL);
}

/* ---- connecting ------------------------------------------------------------ */

enum attempt
{
	ATTEMPT_DONE,
	ATTEMPT_FAILED, /* PQerrorMessage says why */
	ATTEMPT_SILENT, /* the host accepted and said nothing */
	ATTEMPT_STOPPED,
};

static enum attempt connect_by_steps(PGconn *pg, bool (*stopping)(void))
{
	PostgresPollingStatusType next =
		PQstatus(pg) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
	uint64_t asked = clock_ms();

	while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING)
	{
		struct pollfd socket = {.fd = PQsocket(pg),
								.events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT};

		if (stopping())
			return ATTEMPT_STOPPED;
		if (poll(&socket, 1, STEP_MS) > 0)
		{
			next = PQconnectPoll(pg);
			asked = clock_ms();
		}
		else if (clock_passed(clock_ms(), asked, db_connect_timeout(pg)))
			return ATTEMPT_SILENT;
	}
	return next == PGRES_POLLING_OK ? ATTEMPT_DONE : ATTEMPT_FAILED;
}

/* What the parameters of an attempt are; see conn.c for the order. */
struct parameters
{
	const char *keywords[10], *values[10];
};

static struct parameters parameters_of(const char *conninfo, const struct db_hosts *hosts, bool any_server)
{
	const char *session = !any_server && db_names_several_hosts(conninfo) ? "read-write" : "any";

	return (struct parameters){
		{"fallback_application_name", "target_session_attrs", "dbname", "client_encoding", "host", "hostaddr",
		 "port"},
		{"millrace", session, conninfo, "UTF8", hosts->host, hosts->hostaddr, hosts->port},
	};
}

/* Whether another attempt may do better: the server is away or starting, or none of several takes writes. */
static bool is_away(struct parameters parameters)
{
	size_t end = 0;
	PGPing state;

	while (parameters.keywords[end] != NULL)
		end++;
	parameters.keywords[end] = "connect_timeout";
	parameters.values[end] = "2";
	state = PQpingParams(parameters.keywords, parameters.values, 1);
	return state == PQPING_REJECT || state == PQPING_NO_RESPONSE;
}

/* Says once that the start waits; only the first line, libpq likes to explain. */
static void tell_waiting(struct session *session, struct buf *why, size_t from)
{
	buf_add(why, "", 1);
	if (!session->told && !session->quiet && !why->failed)
		log_warning("waiting for the database: %.*s", (int)strcspn(why->data + from, "\n"), why->data + from);
	session->told = true;
	buf_truncate(why, why->len - 1);
}

/* One attempt, with which `session` is open or *error says why it is not; true: another one may do better. */
static bool attempt(struct session *session, const char *conninfo, struct db_hosts *hosts, struct buf *error)
{
	struct parameters parameters = parameters_of(conninfo, hosts, session->any_server);
	PGconn *pg = PQconnectStartParams(parameters.keywords, parameters.values, 1);
	enum attempt how = connect_by_steps(pg, session->stopping);
	bool again = false;

	buf_clear(error);
	if (how == ATTEMPT_DONE)
	{
		PQsetNoticeReceiver(pg, ignore_notice, NULL);
		session->pg = pg;
		session->refusals = 0;
		return false;
	}
	buf_add_str(error, "could not connect to the database: ");
	if (how == ATTEMPT_STOPPED)
		buf_add_str(error, "told to stop");
	else if (how == ATTEMPT_SILENT)
		buf_printf(error, "%s port %s does not answer", PQhost(pg), PQport(pg));
	else
		buf_add_str(error, PQerrorMessage(pg));
	if (how == ATTEMPT_SILENT || (how == ATTEMPT_FAILED && is_away(parameters)))
	{
		again = true;
		tell_waiting(session, error, strlen("could not connect to the database: "));
		db_hosts_next(hosts, pg);
	}
	else if (how == ATTEMPT_FAILED)
		again = ++session->refusals < MAX_REFUSALS;
	PQfinish(pg);
	return again;
}

bool session_open(struct session *session, const char *conninfo, uint64_t until, struct buf *error)
{
	struct db_hosts hosts = {0};

	session->pg = NULL;
	session->again = false;
	while (attempt(session, conninfo, &hosts, error) && clock_ms() < until && !session->stopping())
		pause_ms(RETRY_MS);
	db_hosts_free(&hosts);
	return session->pg != NULL;
}

void session_close(struct session *session)
{
	PQfinish(session->pg);
	session->pg = NULL;
}

void session_pause(struct session *session, struct buf *why)
{
	tell_waiting(session, why, 0);
	pause_ms(RETRY_MS);
}

/* ---- statements ------------------------------------------------------------ */

void session_explain(struct buf *error, const char *doing, const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	if (result == NULL)
	{
		buf_printf(error, "could not %s: told to stop", doing);
		return;
	}
	buf_printf(error, "could not %s: %s", doing, message ? message : PQresultErrorMessage(result));
	if (detail != NULL)
		buf_printf(error, " (%s)", detail);
	if (hint != NULL)
		buf_printf(error, "; %s", hint);
}

/* True when the answer is there, or the connection is lost; false: told to stop. */
static bool await_answer(struct session *session, const char *doing)
{
	uint64_t told = clock_ms();

	while (PQisBusy(session->pg))
	{
		struct pollfd socket = {.fd = PQsocket(session->pg), .events = POLLIN};

		if (session->stopping())
			return false;
		if (poll(&socket, 1, STEP_MS) > 0 && !PQconsumeInput(session->pg))
			return true;
		if (clock_passed(clock_ms(), told, PATIENCE_MS))
		{
			log_warning("still trying to %s: PostgreSQL (process %d) has not answered", doing,
						PQbackendPID(session->pg));
			told = clock_ms();
		}
	}
	return true;
}

/* What came of what was sent; NULL: told to stop. */
static PGresult *take_answer(struct session *session, const char *doing, int sent)
{
	PGresult *result, *next;

	if (!sent)
		return PQmakeEmptyPGresult(session->pg, PGRES_FATAL_ERROR);
	if (!await_answer(session, doing))
		return NULL;
	result = PQgetResult(session->pg);
	while (await_answer(session, doing) && (next = PQgetResult(session->pg)) != NULL)
		PQclear(next);
	return result;
}

PGresult *session_ask(struct session *session, const char *doing, const char *sql, const char *first,
					  const char *second)
{
	const char *params[] = {first, second};

	return session_ask_with(session, doing, sql, params, second ? 2 : first ? 1 : 0);
}

PGresult *session_ask_with(struct session *session, const char *doing, const char *sql,
						   const char *const *params, int nparams)
{
	PGresult *result = take_answer(session, doing,
								   PQsendQueryParams(session->pg, sql, nparams, NULL, params, NULL, NULL, 0));

	if (session_has_sqlstate(result, SQLSTATE_READ_ONLY_TRANSACTION))
		session->again = true;
	return result;
}

PGresult *session_prepare(struct session *session, const char *doing, const char *name, const char *sql)
{
	return take_answer(session, doing, PQsendPrepare(session->pg, name, sql, 0, NULL));
}

PGresult *session_execute(struct session *session, const char *doing, const char *name)
{
	return take_answer(session, doing, PQsendQueryPrepared(session->pg, name, 0, NULL, NULL, NULL, 0));
}

PGresult *session_run(struct session *session, const char *doing, const char *sql, const char *first,
					  const char *second, struct buf *error)
{
	PGresult *result = session_ask(session, doing, sql, first, second);

	if (session_succeeded(result))
		return result;
	session_explain(error, doing, result);
	PQclear(result);
	return NULL;
}

bool session_run_only(struct session *session, const char *doing, const char *sql, const char *first,
					  const char *second, struct buf *error)
{
	PGresult *result = session_run(session, doing, sql, first, second, error);

	PQclear(result);
	return result != NULL;
}

/* ---- answers, the server --------------------------------------------------- */

bool session_succeeded(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

unsigned session_rows(const PGresult *result)
{
	return (unsigned)PQntuples(result);
}

const char *session_value(const PGresult *result, int column)
{
	return PQgetvalue(result, 0, column);
}

const char *session_value_of(const PGresult *result, unsigned row, int column)
{
	return PQgetvalue(result, (int)row, column);
}

void session_error(const PGresult *result, struct error *error)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	error_from_sqlstate(error, sqlstate != NULL ? sqlstate : SQLSTATE_CONNECTION_FAILURE,
						message != NULL ? message : "the connection was lost", hint != NULL ? hint : "", 0);
}

bool session_is_null(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column);
}

bool session_has_sqlstate(const PGresult *result, const char *sqlstate)
{
	return answer_has_sqlstate(&(struct answer){.result = (PGresult *)result}, sqlstate);
}

void session_free(PGresult *result)
{
	PQclear(result);
}

const char *session_parameter(const struct session *session, const char *name)
{
	return PQparameterStatus(session->pg, name);
}

int session_server_version(const struct session *session)
{
	return PQserverVersion(session->pg);
}

int session_process(const struct session *session)
{
	return PQbackendPID(session->pg);
}

bool session_is_lost(const struct session *session)
{
	return PQstatus(session->pg) == CONNECTION_BAD;
}

void session_describe(const struct session *session, struct buf *out)
{
	buf_printf(out, "database %s at %s port %s", PQdb(session->pg), PQhost(session->pg), PQport(session->pg));
}

/* ---- the start-up lock ------------------------------------------------------ */

/* The lock's number is "millrace" in ASCII; its halves are how pg_locks shows it. */
static const char lock_sql[] = "SELECT pg_try_advisory_xact_lock(7883960610104632165)";
static const char holder_sql[] =
	"SELECT l.pid,"
	" format('process %s (application \"%s\", role %s) since %s', l.pid, a.application_name, a.usename,"
	" coalesce(to_char(coalesce(a.xact_start, a.state_change), 'YYYY-MM-DD HH24:MI:SS TZ'), 'a time that "
	"this role may not see'))"
	" FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)"
	" WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
	" AND l.classid = (7883960610104632165 >> 32)::oid AND l.objid = (7883960610104632165 & 4294967295)::oid"
	" AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/*
 * The server's own look at whether we are still there: what was killed leaves no session behind that holds
 * the lock.
 */
static const char alive_sql[] = "SELECT CASE WHEN version() LIKE '%linux%' THEN "
								"set_config('client_connection_check_interval', '1s', true) END";

static bool tell_holder(struct session *session, struct buf *error)
{
	PGresult *result =
		session_run(session, "look who holds the start-up lock", holder_sql, NULL, NULL, error);

	if (result != NULL && PQntuples(result) > 0) /* else it has just been given back */
		log_warning("waiting for the start-up lock, which is held by %s; pg_terminate_backend(%s) ends it",
					PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 0));
	PQclear(result);
	return result != NULL;
}

static bool take_lock(struct session *session, struct buf *error)
{
	static const char doing[] = "take the start-up lock";
	uint64_t tell = clock_ms() + (uint64_t)5 * RETRY_MS;

	for (;;)
	{
		PGresult *result = session_run(session, doing, lock_sql, NULL, NULL, error);
		bool taken = result != NULL && strcmp(PQgetvalue(result, 0, 0), "t") == 0;

		PQclear(result);
		if (result == NULL || taken)
			return taken;
		if (session->stopping())
		{
			session_explain(error, doing, NULL);
			return false;
		}
		if (clock_ms() >= tell)
		{
			if (!tell_holder(session, error))
				return false;
			tell = clock_ms() + PATIENCE_MS;
		}
		pause_ms(RETRY_MS);
	}
}

bool session_set_up(struct session *session, struct buf *error)
{
	return session_run_only(session, "set up the session", db_setup_sql, "0", "false", error);
}

bool session_begin(struct session *session, struct buf *error)
{
	return session_run_only(session, "begin a transaction", "BEGIN ISOLATION LEVEL READ COMMITTED", NULL,
							NULL, error) &&
		   session_run_only(session, "set up the session", db_setup_sql, "0", "true", error) &&
		   session_run_only(session, "set up the session", alive_sql, NULL, NULL, error) &&
		   take_lock(session, error);
}
