/*
 * outage.c: what the log tells of a connection that is lost, and back.
 *
 * A server that refuses to write, as its disk is full, can be connected to again at once: its connection is
 * back when it has taken something.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/conn.h"

#define REASON_MS 5000 /* then it is told why a connection can't be had back */

static void log_connected(struct conn *conn)
{
	const char *host = PQhost(conn->pg);

	if (conn->outage_logged)
		log_info("connection for %s is back (%s port %s dbname %s) after %.1f s", conn->user->what, host,
				 PQport(conn->pg), PQdb(conn->pg), (double)clock_span(conn->down_since, clock_ms()) / 1000);
	else
		log_debug("connection for %s: %s port %s dbname %s", conn->user->what, host, PQport(conn->pg),
				  PQdb(conn->pg));
	conn->outage_logged = conn->reason_logged = false;
}

void outage_note_ready(struct conn *conn)
{
	if (!conn->refused)
		log_connected(conn);
}

void outage_note_taken(struct conn *conn)
{
	if (!conn->refused)
		return;
	conn->refused = false;
	log_connected(conn);
}

/*
 * An outage is told once, not once for each attempt, and by the append connection alone, unless the others
 * have one of their own.  Only the first line: libpq likes to explain.  How a connection ended may say little
 * about why there is no other one, as when its database was dropped: so that is told, too, when it takes a
 * while.
 */
void outage_note_lost(struct conn *conn, const char *why)
{
	bool quiet = conn->user->role != DB_ROLE_APPEND &&
				 (conn->state == CONN_READY || !atomic_load(&conn->shared->ready));
	int len = (int)strcspn(why, "\n");

	if (conn->outage_logged && conn->state != CONN_READY && !quiet && !conn->reason_logged &&
		clock_passed(clock_ms(), conn->down_since, REASON_MS))
	{
		log_warning("connection for %s: still lost: %.*s", conn->user->what, len, why);
		conn->reason_logged = true;
	}
	else if (conn->outage_logged || quiet)
		log_debug("connection for %s: %.*s", conn->user->what, len, why);
	else
	{
		log_warning("connection for %s: %.*s", conn->user->what, len, why);
		conn->outage_logged = true;
	}
}
