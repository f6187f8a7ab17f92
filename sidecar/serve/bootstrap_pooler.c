/*
 * bootstrap_pooler: see bootstrap_pooler.h.
 *
 * Both connections prepare a statement of the same name that tells the process, and execute it in turns.  A pooler gives the session
 * that was used last to whoever asks next, so two that share one find out at once.
 */
#include "serve/bootstrap_pooler.h"

#include <stdlib.h>
#include <string.h>

#include "extension/protocol.h"

#define ROUNDS 3

static const char doing[] = "look for a pooler";

static bool has_sqlstate(const PGresult *result, const char *wanted)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return sqlstate != NULL && strcmp(sqlstate, wanted) == 0;
}

/* Takes the answer; false: it was an error. */
static bool succeeded(PGresult *result, struct buf *error)
{
	ExecStatusType status = PQresultStatus(result);
	bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;

	/* The name is taken by a client that we share the session with, or what we prepared is in another session. */
	if (has_sqlstate(result, SQLSTATE_DUPLICATE_PREPARED_STATEMENT) ||
		has_sqlstate(result, SQLSTATE_INVALID_STATEMENT_NAME))
		buf_add_str(
			error,
			"between the server and its database is a pooler that lends sessions for single transactions "
			"and does not keep prepared statements with them: use PgBouncer 1.24 or later (from 1.21 on "
			"with max_prepared_statements above 0), or pool_mode = session");
	else if (!good)
		session_explain(error, doing, result);
	PQclear(result);
	return good;
}

/* Which process serves it now; 0: *error says why it isn't known. */
static int look_at_process(struct session *session, struct buf *error)
{
	PGresult *result = session_execute(session, doing, "millrace_probe");
	int pid = PQntuples(result) > 0 ? atoi(PQgetvalue(result, 0, 0)) : 0;

	return succeeded(result, error) ? pid : 0;
}

static bool compare(struct session *one, struct session *other, bool *pooled, struct buf *error)
{
	static const char sql[] = "SELECT pg_catalog.pg_backend_pid()";

	if (!succeeded(session_prepare(one, doing, "millrace_probe", sql), error) ||
		!succeeded(session_prepare(other, doing, "millrace_probe", sql), error))
		return false;
	for (int round = 0; round < ROUNDS; round++)
	{
		int first = look_at_process(one, error);
		int second = first ? look_at_process(other, error) : 0;

		if (second == 0)
			return false;
		*pooled = *pooled || first == second;
	}
	return true;
}

bool pooler_look(struct session *session, const char *conninfo, bool *pooled, struct buf *error)
{
	struct session other = {.stopping = session->stopping};
	bool good;

	*pooled = false;
	/* Where there is no second connection, the workers will tell. */
	if (!session_open(&other, conninfo, 0, error))
	{
		buf_clear(error);
		return true;
	}
	good = compare(session, &other, pooled, error);
	session_close(&other);
	return good;
}
