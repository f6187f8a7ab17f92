/*
 * exchange.c: statements and answers on one connection, by libpq or by our own reader and writer (wire.h);
 * see internal.h.
 *
 * A statement that writes has its own sync, and its answer counts only when that has arrived: the implicit
 * transaction commits there.  Reads that are sent together share one, which spares Postgres a transaction and
 * a write to the socket for each of them.  Their answers count at once.  When one fails, Postgres passes over
 * those behind it up to the sync (ANSWER_PASSED_OVER), and they are to be sent again.
 *
 * Appends and reads go by the wire where the connection is in clear, and appends call their function without
 * a statement.  Whether that works is tried on each connection once libpq has set it up: a sync, or a call,
 * must be answered.  Where it is not, the next attempt is libpq's.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "db/site.h"
#include "db/traffic.h"
#include "db/wire.h"

#define PG_BACKEND_PID 2026 /* the OID of the function, in every version */

static const char out_of_step[] = "the server answered something that was not asked";

/* Whether another reader than libpq may have the socket. */
static bool is_wire_usable(const struct conn *conn)
{
	enum db_role role = conn->user->role;

	return (role == DB_ROLE_APPEND || role == DB_ROLE_DEFERRED || role == DB_ROLE_READ) && !conn->no_wire &&
		   PQprotocolVersion(conn->pg) == 3 && !PQsslInUse(conn->pg) && !PQgssEncInUse(conn->pg);
}

/*
 * Goes on without libpq if that may be, and sends a sync to see whether it works, or a call where calls are
 * to follow.  False: it may not.
 */
static bool begin_wire(struct conn *conn)
{
	if (!is_wire_usable(conn) || (conn->wire = wire_new()) == NULL)
		return false;
	PQfreemem(PQnotifies(conn->pg)); /* libpq takes what it has received */
	conn->ngroups = 0;
	if (conn->append_function != 0)
		wire_call(conn->wire, PG_BACKEND_PID, NULL, 0);
	conn->unsynced = conn->probing = true;
	conn_sync(conn);
	return true;
}

/* ---- answers, whoever has read them --------------------------------------------------------- */

/* Takes what conn->answer has: the whole answer to the oldest in flight. */
static void take_answer(struct conn *conn)
{
	struct answer answer = conn->answer;
	const char *wrong;

	if (conn->state == CONN_SETUP || (conn_is_error(&answer) && conn_failure(conn, &answer) == FAILURE_LOST))
	{
		if (conn_is_error(&answer))
		{
			char why[512];

			/* The message dies with the answer. */
			snprintf(why, sizeof(why), "%s", answer_message(&answer));
			conn_lose_refused(conn, why, conn_is_refused(conn, &answer));
			return;
		}
		wrong = conn_take_look(conn, &answer);
		if (wrong != NULL)
		{
			conn_lose(conn, wrong);
			return;
		}
		conn->overdue = false;
		answer_clear(&conn->answer);
		conn->answered = false;
		conn->in_flight--;
		if (!begin_wire(conn))
			conn_set_up(conn);
		return;
	}
	conn->answered = false;
	conn->in_flight--;
	conn->pause_ms = DB_PAUSE_MIN_MS;
	outage_note_taken(conn);
	conn->bytes_in += answer_bytes(&answer);
	conn->user->on_answer(conn, &answer);
}

/* Keeps the first error of a statement or else its first answer. */
static void keep_answer(struct conn *conn, struct answer *answer)
{
	if (!conn->answered || (conn_is_error(answer) && !conn_is_error(&conn->answer)))
	{
		if (conn->answered)
			answer_clear(&conn->answer);
		conn->answer = *answer;
		conn->answered = true;
	}
	else
		answer_clear(answer);
}

/* The oldest in flight is answered. */
static void end_answer(struct conn *conn)
{
	if (conn->unreplicated)
		conn_lose(conn, "the wait for a synchronous standby was cancelled");
	else if (!conn->answered)
		conn_lose(conn, out_of_step);
	else
		take_answer(conn);
}

static bool is_grouped(const struct conn *conn)
{
	return conn->user->grouped && conn->state == CONN_READY;
}

/* ---- by libpq -------------------------------------------------------------------------------- */

/* Takes every answer that is whole.  A callback may lose the connection; then there is nothing more. */
static void take_results(struct conn *conn)
{
	const PGconn *pg = conn->pg;
	bool ended = false;

	while (conn->pg == pg && conn->wire == NULL && conn->syncs > 0 && !PQisBusy(conn->pg))
	{
		struct answer answer = {.result = PQgetResult(conn->pg)};
		bool synced = PQresultStatus(answer.result) == PGRES_PIPELINE_SYNC;

		/* libpq expects nothing more, we do: the connection broke */
		if (answer.result == NULL && ended)
		{
			conn_lose(conn, PQstatus(conn->pg) == CONNECTION_BAD ? PQerrorMessage(conn->pg) : out_of_step);
			return;
		}
		ended = answer.result == NULL;
		if (synced)
		{
			answer_clear(&answer);
			conn->syncs--;
			if (conn->probing)
			{
				conn->probing = false;
				continue;
			}
		}
		else if (answer.result != NULL)
			keep_answer(conn, &answer);
		if (is_grouped(conn) ? ended : synced)
			end_answer(conn);
	}
}

static void receive_results(struct conn *conn)
{
	const PGconn *pg = conn->pg;
	bool alive = PQconsumeInput(conn->pg);

	/* What was committed and answered before the connection broke still counts. */
	take_results(conn);
	if (!alive && conn->pg == pg && pg != NULL)
		conn_lose(conn, PQerrorMessage(conn->pg));
}

/* ---- by the wire ----------------------------------------------------------------------------- */

/* Statements behind one that failed were passed over up to the sync. */
static void pass_over_group(struct conn *conn)
{
	const struct wire *wire = conn->wire;

	while (conn->wire == wire && conn->ngroups > 0 && conn->groups[0] > 0)
	{
		conn->groups[0]--;
		keep_answer(conn, &(struct answer){.status = ANSWER_PASSED_OVER});
		end_answer(conn);
	}
}

static void take_wire_answer(struct conn *conn, struct answer *answer)
{
	const struct wire *wire = conn->wire;
	bool failed = answer_status(answer) == ANSWER_ERROR;

	if (conn->syncs == 0)
	{
		if (failed) /* the server's last words */
			conn_take_notice(conn, answer);
		else
			conn_lose(conn, out_of_step);
		answer_clear(answer);
		return;
	}
	keep_answer(conn, answer);
	if (!is_grouped(conn))
		return;
	if (conn->ngroups == 0 || conn->groups[0] == 0)
	{
		conn_lose(conn, failed ? answer_message(&conn->answer) : out_of_step);
		return;
	}
	conn->groups[0]--;
	end_answer(conn);
	if (failed && conn->wire == wire)
		pass_over_group(conn);
}

/* The wire works, or else the next attempt is libpq's. */
static void end_probe(struct conn *conn)
{
	bool failed = conn->answered && conn_is_error(&conn->answer);

	conn->probing = false;
	if (conn->answered && !failed)
	{
		answer_clear(&conn->answer);
		conn->answered = false;
	}
	if (failed)
		conn_lose(conn, "calls are not answered");
	else if (conn->state == CONN_SETUP)
		conn_set_up(conn);
}

/* What was sent with one sync has been answered. */
static void end_group(struct conn *conn)
{
	unsigned left = conn->ngroups > 0 ? conn->groups[0] : 0;

	if (conn->syncs == 0 || conn->ngroups == 0 || (is_grouped(conn) && left > 0))
	{
		conn_lose(conn, out_of_step);
		return;
	}
	memmove(conn->groups, conn->groups + 1, --conn->ngroups * sizeof(conn->groups[0]));
	conn->syncs--;
	if (!conn->probing)
	{
		if (!is_grouped(conn))
			end_answer(conn);
		return;
	}
	end_probe(conn);
}

/* As take_results. */
static void take_wire_answers(struct conn *conn)
{
	const struct wire *wire = conn->wire;
	struct answer answer;

	while (conn->wire == wire && wire != NULL)
	{
		switch (wire_next(conn->wire, &answer))
		{
			case WIRE_MORE:
				return;
			case WIRE_ANSWER:
				take_wire_answer(conn, &answer);
				break;
			case WIRE_NOTICE:
				conn_take_notice(conn, &answer);
				answer_clear(&answer);
				break;
			case WIRE_READY:
				end_group(conn);
				break;
			case WIRE_BROKEN:
				answer_clear(&answer);
				conn_lose(conn, out_of_step);
				break;
		}
	}
}

/* libpq has words for how a connection ended; those of the server come before. */
static void lose_wire(struct conn *conn)
{
	bool said = conn->answered && conn_is_error(&conn->answer);
	const char *libpqs;
	char why[512];

	(void)PQconsumeInput(conn->pg);
	libpqs = PQerrorMessage(conn->pg);
	snprintf(why, sizeof(why), "%s%s%s", said ? answer_message(&conn->answer) : "", said ? "\n" : "",
			 *libpqs != '\0' ? libpqs : "out of memory");
	conn_lose(conn, why);
}

static void receive_wire(struct conn *conn)
{
	const struct wire *wire = conn->wire;
	bool alive = wire_receive(conn->wire, PQsocket(conn->pg));

	take_wire_answers(conn);
	if (!alive && conn->wire == wire)
		lose_wire(conn);
}

static void queue_on_wire(struct conn *conn, const struct db_statement_info *statement,
						  const struct conn_params *params)
{
	struct wire_value values[DB_MAX_PARAMS];

	for (int i = 0; i < statement->nparams; i++)
	{
		bool binary = params->formats != NULL && params->formats[i] == 1;
		const char *value = params->values[i];
		size_t len = binary ? (size_t)params->lengths[i] : value != NULL ? strlen(value) : 0;

		values[i] = (struct wire_value){value, len, binary};
	}
	if (statement == &db_append_statement && conn->append_function != 0)
		wire_call(conn->wire, conn->append_function, values, (unsigned)statement->nparams);
	else
		wire_execute(conn->wire, statement->name, values, (unsigned)statement->nparams,
					 params->result_format == 1);
	conn->group++;
}

static bool sync_on_wire(struct conn *conn)
{
	wire_sync(conn->wire);
	if (conn->wire->out.failed || conn->ngroups == DB_MAX_GROUPS)
		return false;
	conn->groups[conn->ngroups++] = conn->group;
	conn->group = 0;
	return true;
}

/* ---- by either ------------------------------------------------------------------------------- */

static void receive(struct conn *conn)
{
	if (conn->wire != NULL)
		receive_wire(conn);
	else
		receive_results(conn);
}

static void flush(struct conn *conn)
{
	int rc = conn->wire != NULL ? !wire_flush(conn->wire, PQsocket(conn->pg)) : PQflush(conn->pg);

	if (rc > 0)
		event_add(&conn->writable, NULL);
	else
		event_del(&conn->writable);
	if (rc < 0)
		conn_lose(conn, PQerrorMessage(conn->pg));
}

bool conn_queue(struct conn *conn, const struct db_statement_info *statement,
				const struct conn_params *params)
{
	if (conn->wire != NULL)
		queue_on_wire(conn, statement, params);
	else if (!conn_send(conn->pg, statement, params))
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
	bool waits;

	if (!conn->unsynced)
		return;
	/* PQpipelineSync of libpq before 17 flushes by itself; the explicit flush then costs nothing. */
	if (conn->wire != NULL ? !sync_on_wire(conn) : !PQpipelineSync(conn->pg))
	{
		conn_lose(conn, conn->wire != NULL ? "out of memory" : PQerrorMessage(conn->pg));
		return;
	}
	conn->unsynced = false;
	conn->syncs++;
	waits = conn->wire != NULL ? !wire_flush(conn->wire, PQsocket(conn->pg)) : PQflush(conn->pg) != 0;
	if (waits)
		event_add(&conn->writable, NULL);
}

static void conn_on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	const PGconn *pg = conn->pg;

	(void)fd;
	if (conn->state == CONN_CONNECTING)
	{
		conn_poll(conn);
		return;
	}
	conn->heard = true;
	if (conn->silence > 0)
		conn_note_silence(conn, 0);
	if (what & EV_READ)
		receive(conn);
	if ((what & EV_WRITE) && conn->pg == pg && pg != NULL)
		flush(conn);
	if (conn->pg == pg && pg != NULL && conn->state == CONN_READY && conn_is_promoted(conn))
		conn_lose(conn, "the standby was promoted");
}

void conn_init(struct conn *conn, struct db_site *site, const struct conn_user *user)
{
	struct db_shared *shared = site->shared;

	*conn = (struct conn){.shared = shared,
						  .site = site,
						  .user = user,
						  .on_socket = conn_on_socket,
						  .sync = conn_sync,
						  .pause_ms = DB_PAUSE_MIN_MS};
	event_assign(&conn->readable, shared->base, -1, EV_READ, conn_on_socket, conn);
	event_assign(&conn->writable, shared->base, -1, EV_WRITE, conn_on_socket, conn);
	event_assign(&conn->timer, shared->base, -1, 0, conn_on_timer, conn);
}
