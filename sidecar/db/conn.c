/*
 * db_conn: one nonblocking connection to Postgres, in pipeline mode; see internal.h.
 *
 *     UNUSED -> CONNECTING -> SETUP -> READY
 *                   ^  \________\________\
 *                   |                     v
 *                   +------ timer ----- PAUSED
 *
 * conn_move is the only function that changes the state; it also sets up and tears down what belongs to a
 * state.  What is sent and received is in exchange.c.  The PGconn is owned by the connection and lives in the
 * states CONNECTING to READY.
 */
#include "base/clock.h"
#include "db/internal.h"
#include "db/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

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
	event_assign(&conn->readable, conn->shared->base, fd, EV_READ | EV_PERSIST, conn->on_socket, conn);
	event_assign(&conn->writable, conn->shared->base, fd, EV_WRITE | EV_PERSIST, conn->on_socket, conn);
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
	if (conn->answered)
		answer_clear(&conn->answer);
	conn->answered = false;
	wire_free(conn->wire);
	conn->wire = NULL;
	conn->group = conn->ngroups = 0;
	conn->append_function = 0;
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

static void note_appends(struct db_shared *shared, bool ready)
{
	atomic_store(&shared->ready, ready);
	if (ready)
		atomic_store(&shared->was_ready, true);
}

static void conn_move(struct conn *conn, enum conn_state state)
{
	if (conn->state == CONN_UNUSED)
		conn->down_since = clock_ms();
	note_ready(conn, (state == CONN_READY) - (conn->state == CONN_READY));
	conn->state = state;
	note_readable(conn);
	if (conn->user->role == DB_ROLE_APPEND)
		note_appends(conn->shared, state == CONN_READY);
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
			PQsetNoticeReceiver(conn->pg, conn_take_pq_notice, conn);
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
void conn_lose_refused(struct conn *conn, const char *why, bool refused)
{
	if (conn->state == CONN_READY && !(refused && conn->refused))
		conn->down_since = clock_ms();
	conn->refused = refused;
	outage_note_lost(conn, why);
	if (conn->pg != NULL && (conn->state != CONN_READY || conn->silence > SILENT_TURNS))
		db_hosts_next(&conn->site->hosts, conn->pg);
	conn->no_wire = conn->wire != NULL && conn->state == CONN_SETUP;
	if (conn->state == CONN_READY && clock_passed(clock_ms(), conn->ready_since, STABLE_MS))
		conn->pause_ms = DB_PAUSE_MIN_MS;
	conn_move(conn, CONN_PAUSED);
	conn->user->on_lost(conn);
}

void conn_lose(struct conn *conn, const char *why)
{
	conn_lose_refused(conn, why, conn->refused && conn->state != CONN_READY);
}

/* Everybody hears of it, at /ready. */
void conn_note_silence(struct conn *conn, unsigned turns)
{
	conn->silence = turns;
	note_readable(conn);
	if (conn->user->role == DB_ROLE_APPEND)
		note_appends(conn->shared, !conn_is_silent(conn));
}

/* A sync alone is answered without a transaction. */
static void probe(struct conn *conn)
{
	conn->probing = conn->unsynced = true;
	conn->sync(conn);
}

/* A turn of the timer is over. */
static void look_for_silence(struct conn *conn)
{
	bool awaited = conn->syncs > 0;

	conn_note_silence(conn, awaited && !conn->heard ? conn->silence + 1 : 0);
	conn->heard = false;
	if (conn->silence > SILENT_TURNS)
	{
		log_warning("connection for %s: %s port %s (process %d there) has not answered for %u s",
					conn->user->what, PQhost(conn->pg), PQport(conn->pg), PQbackendPID(conn->pg),
					answer_timeout(conn));
		conn->outage_logged = true;
		conn->overdue = conn->in_flight > 0 && !conn_reads(conn);
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

void conn_on_timer(evutil_socket_t fd, short what, void *arg)
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
void conn_poll(struct conn *conn)
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

void conn_set_up(struct conn *conn)
{
	conn->no_wire = false;
	conn_move(conn, CONN_READY);
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
