/*
 * bootstrap_session: the session with which a start prepares its database.  Whatever it waits for ends when
 * the server is told to stop, and what takes long is told in the log.
 */
#ifndef MILLRACE_BOOTSTRAP_SESSION_H
#define MILLRACE_BOOTSTRAP_SESSION_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct session
{
	PGconn *pg;
	bool (*stopping)(void);
};

/*
 * Connects; waits for a server that is away or starts up, to `until` (clock_ms).  False: *error says why.
 * What was opened, session_close closes, and ends its transaction.
 */
bool session_open(struct session *session, const char *conninfo, uint64_t until, struct buf *error);
void session_close(struct session *session);

/*
 * Sends a statement with at most two parameters and returns what came of it; NULL: told to stop, or out of
 * memory.
 */
PGresult *session_ask(struct session *session, const char *doing, const char *sql, const char *first,
					  const char *second);
/* The same for a prepared statement without parameters. */
PGresult *session_prepare(struct session *session, const char *doing, const char *name, const char *sql);
PGresult *session_execute(struct session *session, const char *doing, const char *name);
/* As session_ask, but NULL for an error too; *error says what it is.  `doing` completes "could not ...". */
PGresult *session_run(struct session *session, const char *doing, const char *sql, const char *first,
					  const char *second, struct buf *error);
/* The same for a statement whose answer doesn't matter. */
bool session_run_only(struct session *session, const char *doing, const char *sql, const char *first,
					  const char *second, struct buf *error);
/* Appends what Postgres said, with its hint; a NULL result stands for a stop. */
void session_explain(struct buf *error, const char *doing, const PGresult *result);

/*
 * Begins a transaction in which nothing of the role's settings counts, and takes the start-up lock in it, for
 * which servers that start on one database take turns.  A pooler that lends a session for one transaction
 * takes back both with it.
 */
bool session_begin(struct session *session, struct buf *error);

#endif
