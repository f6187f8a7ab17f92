/*
 * standby.c: which server of its site a connection must lead to (see internal.h).
 *
 * At --database reads go to the server that takes the appends, or a client would not find what it has just
 * written.  Where several hosts are named, libpq is asked for the one that takes writes.  At --read-database
 * it is asked for a standby, and one that is promoted is left.  So is one that is on an older timeline than
 * the primary: it may have what was lost when that was promoted, and give other messages at its positions;
 * one that follows the new primary is on its timeline soon.  But one address may also lead now to one server
 * and now to another: so what counts is what libpq has connected to.  Once a primary was there, a standby
 * behind that address is no place to read: it may be the old primary, cut off, with what nobody else has, or
 * not yet have what was acknowledged.  The private PostgreSQL is always the one that it was: on a full disk
 * it comes back for reads alone.
 */
#include <string.h>

#include "base/log.h"
#include "db/site.h"
#include "db/wire.h"

static bool says(const struct conn *conn, const char *word)
{
	const char *standby = PQparameterStatus(conn->pg, "in_hot_standby");

	if (conn->wire != NULL && conn->wire->standby_told)
		standby = conn->wire->standby ? "on" : "off";
	return standby != NULL && strcmp(standby, word) == 0;
}

bool conn_is_at_standby(const struct conn *conn)
{
	return says(conn, "on");
}

bool conn_is_promoted(const struct conn *conn)
{
	return conn->site->standby && says(conn, "off");
}

bool conn_is_of_old_history(const struct conn *conn)
{
	return conn->site->standby && conn->timeline < conn->shared->timeline;
}

bool conn_reads(const struct conn *conn)
{
	enum db_role role = conn->user->role;

	return role == DB_ROLE_READ || role == DB_ROLE_EXPORT || role == DB_ROLE_LIST || role == DB_ROLE_WATCH;
}

bool conn_wants_primary(const struct conn *conn)
{
	const struct db_shared *shared = conn->shared;
	bool was_there = shared->config->database != NULL && atomic_load(&shared->was_ready);

	return !conn->site->standby &&
		   (!conn_reads(conn) || conn->site->several_hosts || was_there || atomic_load(&shared->ready));
}

bool conn_misses_server(const struct conn *conn)
{
	return (conn_wants_primary(conn) && conn_is_at_standby(conn)) || conn_is_promoted(conn);
}

void conn_note_readable(const struct conn *conn)
{
	const struct db_site *site = conn->site;
	unsigned readable = site_readable(site);

	if (!site->standby || site->shared->closing)
		return;
	stats_set(&site->shared->stats->standby, readable > 0);
	if (readable == 0)
		log_warning("reads go to the primary: there is no connection for them to a standby any more");
	else if (readable == 1 && conn->counted)
		log_info("reads go to the standby %s port %s", PQhost(conn->pg), PQport(conn->pg));
}
