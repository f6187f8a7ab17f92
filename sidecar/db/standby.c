/*
 * standby.c: reads go to the server that takes the appends, or a client would not find what it has just
 * written (see internal.h).
 *
 * Where several hosts are named, libpq is asked for the one that takes writes.  But one address may also lead
 * now to one server and now to another: so what counts is what it has connected to.
 */
#include <string.h>

#include "db/internal.h"

bool conn_is_at_standby(const struct conn *conn)
{
	const char *standby = PQparameterStatus(conn->pg, "in_hot_standby");

	return standby != NULL && strcmp(standby, "on") == 0;
}

bool conn_wants_primary(const struct conn *conn)
{
	enum db_role role = conn->user->role;
	bool reads =
		role == DB_ROLE_READ || role == DB_ROLE_EXPORT || role == DB_ROLE_LIST || role == DB_ROLE_WATCH;

	return !reads || conn->shared->several_hosts || atomic_load(&conn->shared->ready);
}

bool conn_misses_primary(const struct conn *conn)
{
	return conn_wants_primary(conn) && conn_is_at_standby(conn);
}
