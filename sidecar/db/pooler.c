/*
 * pooler.c: see pooler.h.
 *
 * Both connections prepare a statement of the same name that tells the process, and execute it in turns.  A
 * pooler gives the session that was used last to the next client, so two connections that share one show it
 * at once, unless other clients ask at the same time: then the processes change, sooner or later.  The
 * process that a pooler names at the start, for cancelling, is none of PostgreSQL's, and so tells where it
 * pays to look for longer.
 */
#include "db/pooler.h"

#include <stdlib.h>

#include "extension/protocol.h"

#define ROUNDS 3
#define ROUNDS_WITH_POOLER 100

static const char doing[] = "look for a pooler";

/* Takes the answer; false: it was an error. */
static bool succeeded(struct pg_result *result, struct buf *error)
{
	bool good = session_succeeded(result);

	/*
	 * The name is taken by a client that we share the session with, or what we prepared is in another
	 * session.
	 */
	if (session_has_sqlstate(result, SQLSTATE_DUPLICATE_PREPARED_STATEMENT) ||
		session_has_sqlstate(result, SQLSTATE_INVALID_STATEMENT_NAME))
		buf_add_str(
			error,
			"between the server and its database is a pooler that lends sessions for single transactions "
			"and does not keep prepared statements with them: use PgBouncer 1.24 or later (from 1.21 on "
			"with max_prepared_statements above 0), or pool_mode = session");
	else if (!good)
		session_explain(error, doing, result);
	session_free(result);
	return good;
}

/* Which process serves it now; 0: *error says why it isn't known. */
static int look_at_process(struct session *session, struct buf *error)
{
	struct pg_result *result = session_execute(session, doing, "millrace_probe");
	int pid = session_rows(result) > 0 ? atoi(session_value(result, 0)) : 0;

	return succeeded(result, error) ? pid : 0;
}

static bool compare(struct session *one, struct session *other, bool *pooled, struct buf *error)
{
	static const char sql[] = "SELECT pg_catalog.pg_backend_pid()";
	int first = 0, second = 0;
	bool pooler = false;

	if (!succeeded(session_prepare(one, doing, "millrace_probe", sql), error) ||
		!succeeded(session_prepare(other, doing, "millrace_probe", sql), error))
		return false;
	for (int round = 0; round < ROUNDS || (pooler && !*pooled && round < ROUNDS_WITH_POOLER); round++)
	{
		int first_before = first, second_before = second;

		first = look_at_process(one, error);
		second = first ? look_at_process(other, error) : 0;
		if (second == 0)
			return false;
		if (first == second || (round > 0 && (first != first_before || second != second_before)))
			*pooled = true;
		pooler = first != session_process(one);
	}
	return true;
}

bool pooler_look(struct session *session, const char *conninfo, bool *pooled, struct buf *error)
{
	struct session other = {.stopping = session->stopping, .any_server = session->any_server};
	bool good;

	*pooled = false;
	/* Where there is no second connection, the workers will tell. */
	if (!session_open(&other, conninfo, 0, error))
	{
		buf_clear(error);
		return true;
	}
	good = compare(session, &other, pooled, error);
	session->again = session_is_lost(&other);
	session_close(&other);
	return good;
}
