/*
 * db_conn: one nonblocking connection to Postgres, in pipeline mode; see internal.h.
 *
 *     UNUSED -> CONNECTING -> SETUP -> READY
 *                   ^  \________\________\
 *                   |                     v
 *                   +------ timer ----- PAUSED
 *
 * conn_move is the only function that changes the state; it also sets up and tears down what belongs to a
 * state.  A statement that writes has its own sync, and its answer counts only when that has arrived: the
 * implicit transaction commits there.  Reads that are sent together share one, which spares Postgres a
 * transaction and a write to the socket for each of them.  Their answers count at once.  When one fails,
 * Postgres passes over those behind it up to the sync (PGRES_PIPELINE_ABORTED), and they are to be sent
 * again.  The PGconn is owned by the connection and lives in the states CONNECTING to READY.
 */
#include "base/clock.h"
#include "db/internal.h"
#include "db/traffic.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define PAUSE_MIN_MS 10
#define PAUSE_MAX_MS 500
#define STABLE_MS 5000 /* a connection that lasted that long may be opened again at once */
/*
 * The answer timeout is counted in turns of a timer, not read off a clock: a program that was stopped for a
 * while finds one turn over, not all.  The first turn may have begun long before the question, so there is
 * one more.
 */
#define SILENT_TURNS 6
#define PATIENCE_FACTOR 10 /* for statements that may take long */

static void conn_move(struct conn *conn, enum conn_state state);
static void conn_on_socket(evutil_socket_t fd, short what, void *arg);

static const char out_of_step[] = "the server answered something that was not asked";

static void set_timer(struct conn *conn, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	event_add(&conn->timer, &tv);
}

/* libpq may close a socket and open another of the same number between two polls: start anew each time. */
static void watch_socket(struct conn *conn, bool readable, bool writable)
{
	int fd = PQsocket(conn->pg);

	event_del(&conn->readable);
	event_del(&conn->writable);
	event_assign(&conn->readable, conn->shared->base, fd, EV_READ | EV_PERSIST, conn_on_socket, conn);
	event_assign(&conn->writable, conn->shared->base, fd, EV_WRITE | EV_PERSIST, conn_on_socket, conn);
	if (readable)
		event_add(&conn->readable, NULL);
	if (writable)
		event_add(&conn->writable, NULL);
}

/* Tears down the connection; what was in flight is the user's business. */
static void drop_connection(struct conn *conn)
{
	event_del(&conn->readable);
	event_del(&conn->writable);
	event_del(&conn->timer);
	PQclear(conn->result);
	conn->result = NULL;
	conn->in_flight = conn->syncs = 0;
	conn->unsynced = conn->probing = conn->unreplicated = false;
	conn->silence = 0;
	PQfinish(conn->pg);
	conn->pg = NULL;
}

/* Counts connections: one more, one less, or none. */
static void note_ready(struct conn *conn, int change)
{
	struct stats *stats = conn->shared->stats;

	stats_add(&stats->postgres[conn->user->role], (uint64_t)change);
	if (change <= 0)
		return;
	stats_add(&stats->reconnects[conn->user->role], conn->was_ready);
	conn->is_back = conn->was_ready;
	shared_note_return(conn);
	conn->was_ready = true;
}

/* Of connections for reads, those count that are ready and not silent. */
static void note_readable(struct conn *conn)
{
	bool readable = conn->user->role == DB_ROLE_READ && conn->state == CONN_READY && !conn_is_silent(conn);

	if (readable == conn->counted)
		return;
	atomic_fetch_add(&conn->shared->readable, readable ? 1U : -1U);
	atomic_fetch_add(&conn->site->readable, readable ? 1U : -1U);
	conn->counted = readable;
	conn_note_readable(conn);
}

/* In seconds. */
static unsigned answer_timeout(const struct conn *conn)
{
	enum db_role role = conn->user->role;
	bool quick = role == DB_ROLE_APPEND || role == DB_ROLE_DEFERRED || role == DB_ROLE_READ;

	return (unsigned)conn->shared->config->answer_timeout * (quick ? 1 : PATIENCE_FACTOR);
}

/* Of the timer that looks for silence. */
static unsigned turn_ms(const struct conn *conn)
{
	return answer_timeout(conn) * 1000 / SILENT_TURNS;
}

static void note_primary(const struct conn *conn)
{
	struct db_shared *shared = conn->shared;

	shared->primary_found = true;
	shared->timeline_changed = shared->timeline_changed || conn->timeline != shared->timeline;
	shared->timeline = conn->timeline;
}

static void begin_ready(struct conn *conn)
{
	conn->ready_since = clock_ms();
	conn->session = ++conn->shared->sessions;
	conn->bytes_in = conn->bytes_out = 0;
	conn->heard = true;
	set_timer(conn, turn_ms(conn));
	outage_note_ready(conn);
	if (conn->user->role == DB_ROLE_APPEND)
		note_primary(conn);
	batch_hold(conn);
	conn->user->on_ready(conn);
}

static void conn_move(struct conn *conn, enum conn_state state)
{
	if (conn->state == CONN_UNUSED)
		conn->down_since = clock_ms();
	note_ready(conn, (state == CONN_READY) - (conn->state == CONN_READY));
	conn->state = state;
	note_readable(conn);
	if (conn->user->role == DB_ROLE_APPEND)
		atomic_store(&conn->shared->ready, state == CONN_READY);
	switch (state)
	{
		case CONN_UNUSED:
			drop_connection(conn);
			break;
		case CONN_PAUSED:
			drop_connection(conn);
			set_timer(conn, conn->pause_ms);
			conn->pause_ms = conn->pause_ms * 2 < PAUSE_MAX_MS ? conn->pause_ms * 2 : PAUSE_MAX_MS;
			break;
		case CONN_CONNECTING:
			conn->pg = conn_start(conn);
			if (conn->pg == NULL || PQstatus(conn->pg) == CONNECTION_BAD)
			{
				conn_lose(conn, conn->pg == NULL ? "out of memory" : PQerrorMessage(conn->pg));
				return;
			}
			PQsetNoticeReceiver(conn->pg, conn_take_notice, conn);
			watch_socket(conn, false, true);
			set_timer(conn, db_connect_timeout(conn->pg));
			break;
		case CONN_SETUP:
			if (!conn_send_setup(conn))
			{
				conn_lose(conn, PQerrorMessage(conn->pg));
				return;
			}
			watch_socket(conn, true, true);
			break;
		case CONN_READY:
			begin_ready(conn);
			break;
	}
}

/* A server that refuses again and again is down since the first time. */
static void lose(struct conn *conn, const char *why, bool refused)
{
	if (conn->state == CONN_READY && !(refused && conn->refused))
		conn->down_since = clock_ms();
	conn->refused = refused;
	outage_note_lost(conn, why);
	if (conn->pg != NULL && (conn->state != CONN_READY || conn->silence > SILENT_TURNS))
		db_hosts_next(&conn->site->hosts, conn->pg);
	if (conn->state == CONN_READY && clock_passed(clock_ms(), conn->ready_since, STABLE_MS))
		conn->pause_ms = PAUSE_MIN_MS;
	conn_move(conn, CONN_PAUSED);
	conn->user->on_lost(conn);
}

void conn_lose(struct conn *conn, const char *why)
{
	lose(conn, why, conn->refused && conn->state != CONN_READY);
}

/* Everybody hears of it, at /ready. */
static void note_silence(struct conn *conn, unsigned turns)
{
	conn->silence = turns;
	note_readable(conn);
	if (conn->user->role == DB_ROLE_APPEND)
		atomic_store(&conn->shared->ready, !conn_is_silent(conn));
}

static bool writes(const struct conn *conn)
{
	enum db_role role = conn->user->role;

	return role == DB_ROLE_APPEND || role == DB_ROLE_DEFERRED || role == DB_ROLE_SLOW ||
		   role == DB_ROLE_IMPORT || role == DB_ROLE_CONSUME;
}

/* A sync alone is answered without a transaction. */
static void probe(struct conn *conn)
{
	conn->probing = conn->unsynced = true;
	conn_sync(conn);
}

/* A turn of the timer is over. */
static void look_for_silence(struct conn *conn)
{
	bool awaited = conn->syncs > 0;

	note_silence(conn, awaited && !conn->heard ? conn->silence + 1 : 0);
	conn->heard = false;
	if (conn->silence > SILENT_TURNS)
	{
		log_warning("connection for %s: %s port %s (process %d there) has not answered for %u s",
					conn->user->what, PQhost(conn->pg), PQport(conn->pg), PQbackendPID(conn->pg),
					answer_timeout(conn));
		conn->outage_logged = true;
		conn->overdue = conn->in_flight > 0 && writes(conn);
		if (conn->in_flight > 0)
			conn_cancel(conn);
		conn_lose(conn, "the server is silent");
		return;
	}
	set_timer(conn, turn_ms(conn));
	if (!awaited)
		probe(conn);
}

static void lose_silent(struct conn *conn)
{
	char why[256];

	snprintf(why, sizeof(why), "%s port %s does not answer", PQhost(conn->pg), PQport(conn->pg));
	conn_lose(conn, why);
}

static void conn_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;

	(void)fd;
	(void)what;
	if (conn->state == CONN_PAUSED)
		conn_move(conn, CONN_CONNECTING);
	else if (conn->state == CONN_READY)
		look_for_silence(conn);
	else
		lose_silent(conn);
}

/* One step of connecting. */
static void poll_connection(struct conn *conn)
{
	event_del(&conn->readable);
	event_del(&conn->writable);
	set_timer(conn, db_connect_timeout(conn->pg)); /* anew, as libpq may have gone on to the next host */
	switch (PQconnectPoll(conn->pg))
	{
		case PGRES_POLLING_READING:
			watch_socket(conn, true, false);
			break;
		case PGRES_POLLING_WRITING:
			watch_socket(conn, false, true);
			break;
		case PGRES_POLLING_OK:
			conn_move(conn, conn_misses_server(conn) ? CONN_PAUSED : CONN_SETUP);
			break;
		default:
			conn_lose(conn, PQerrorMessage(conn->pg));
			break;
	}
}

static void flush_output(struct conn *conn)
{
	int rc = PQflush(conn->pg);

	if (rc > 0)
		event_add(&conn->writable, NULL);
	else
		event_del(&conn->writable);
	if (rc < 0)
		conn_lose(conn, PQerrorMessage(conn->pg));
}

/* conn->result is the whole answer to the oldest in flight. */
static void take_answer(struct conn *conn)
{
	PGresult *result = conn->result;
	const char *wrong;

	if (conn->state == CONN_SETUP || (conn_is_error(result) && conn_failure(conn, result) == FAILURE_LOST))
	{
		if (conn_is_error(result))
		{
			char why[512];

			/* The message dies with the result. */
			snprintf(why, sizeof(why), "%s", PQresultErrorMessage(result));
			lose(conn, why, conn_is_refused(conn, result));
			return;
		}
		wrong = conn_take_look(conn, result);
		if (wrong != NULL)
		{
			conn_lose(conn, wrong);
			return;
		}
		conn->overdue = false;
		PQclear(result);
		conn->result = NULL;
		conn->in_flight--;
		conn_move(conn, CONN_READY);
		return;
	}
	conn->result = NULL;
	conn->in_flight--;
	conn->pause_ms = PAUSE_MIN_MS;
	outage_note_taken(conn);
	conn->bytes_in += result_bytes(result);
	conn->user->on_answer(conn, result);
}

/* Keeps the first error of a statement or else its first result. */
static void keep_result(struct conn *conn, PGresult *result)
{
	if (conn->result == NULL || (conn_is_error(result) && !conn_is_error(conn->result)))
	{
		PQclear(conn->result);
		conn->result = result;
	}
	else
		PQclear(result);
}

static bool is_grouped(const struct conn *conn)
{
	return conn->user->grouped && conn->state == CONN_READY;
}

/* Takes every answer that is whole.  A callback may lose the connection; then there is nothing more. */
static void take_answers(struct conn *conn)
{
	const PGconn *pg = conn->pg;
	bool ended = false;

	while (conn->pg == pg && conn->syncs > 0 && !PQisBusy(conn->pg))
	{
		PGresult *result = PQgetResult(conn->pg);
		bool synced = PQresultStatus(result) == PGRES_PIPELINE_SYNC;

		if (result == NULL && ended) /* libpq expects nothing more, we do: the connection broke */
		{
			conn_lose(conn, PQstatus(conn->pg) == CONNECTION_BAD ? PQerrorMessage(conn->pg) : out_of_step);
			return;
		}
		ended = result == NULL;
		if (synced)
		{
			PQclear(result);
			conn->syncs--;
			if (conn->probing)
			{
				conn->probing = false;
				continue;
			}
		}
		else if (result != NULL)
			keep_result(conn, result);
		if (!(is_grouped(conn) ? ended : synced))
			continue;
		if (conn->unreplicated)
		{
			conn_lose(conn, "the wait for a synchronous standby was cancelled");
			return;
		}
		if (conn->result == NULL)
		{
			conn_lose(conn, out_of_step);
			return;
		}
		take_answer(conn);
	}
}

static void conn_on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	const PGconn *pg = conn->pg;
	bool alive;

	(void)fd;
	if (conn->state == CONN_CONNECTING)
	{
		poll_connection(conn);
		return;
	}
	conn->heard = true;
	if (conn->silence > 0)
		note_silence(conn, 0);
	if (what & EV_READ)
	{
		alive = PQconsumeInput(conn->pg);
		/* What was committed and answered before the connection broke still counts. */
		take_answers(conn);
		if (!alive && conn->pg == pg && pg != NULL)
		{
			conn_lose(conn, PQerrorMessage(conn->pg));
			return;
		}
	}
	if ((what & EV_WRITE) && conn->pg == pg && pg != NULL)
		flush_output(conn);
	if (conn->pg == pg && pg != NULL && conn->state == CONN_READY && conn_is_promoted(conn))
		conn_lose(conn, "the standby was promoted");
}

bool conn_queue(struct conn *conn, const struct db_statement_info *statement,
				const struct conn_params *params)
{
	if (!conn_send(conn->pg, statement, params))
	{
		conn_lose(conn, PQerrorMessage(conn->pg));
		return false;
	}
	conn->in_flight++;
	conn->unsynced = true;
	conn->bytes_out += params_bytes(statement, params);
	return true;
}

void conn_sync(struct conn *conn)
{
	if (!conn->unsynced)
		return;
	/* PQpipelineSync of libpq before 17 flushes by itself; the explicit flush then costs nothing. */
	if (!PQpipelineSync(conn->pg))
	{
		conn_lose(conn, PQerrorMessage(conn->pg));
		return;
	}
	conn->unsynced = false;
	conn->syncs++;
	if (PQflush(conn->pg) != 0)
		event_add(&conn->writable, NULL);
}

void conn_init(struct conn *conn, struct db_site *site, const struct conn_user *user)
{
	struct db_shared *shared = site->shared;

	*conn = (struct conn){.shared = shared, .site = site, .user = user, .pause_ms = PAUSE_MIN_MS};
	event_assign(&conn->readable, shared->base, -1, EV_READ, conn_on_socket, conn);
	event_assign(&conn->writable, shared->base, -1, EV_WRITE, conn_on_socket, conn);
	event_assign(&conn->timer, shared->base, -1, 0, conn_on_timer, conn);
}

void conn_open(struct conn *conn)
{
	if (conn->state == CONN_UNUSED)
		conn_move(conn, CONN_CONNECTING);
}

void conn_close(struct conn *conn)
{
	conn_move(conn, CONN_UNUSED);
}
