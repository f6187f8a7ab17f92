/*
 * session.h: the session with which a start prepares its database, before there are workers: it blocks.
 * Whatever it waits for ends when the server is told to stop, and what takes long is told in the log.
 */
#ifndef MILLRACE_DB_SESSION_H
#define MILLRACE_DB_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/errors.h"

struct pg_conn;
struct pg_result;

struct session
{
	struct pg_conn *pg; /* NULL: it is not open */
	bool (*stopping)(void);
	bool quiet;		 /* that it waits for the server is not logged */
	bool any_server; /* of several hosts: else it is the one that takes writes */
	bool again; /* another one may do better: the server takes no writes, or hung up on a second session */
	bool told;	/* what is waited for */
	unsigned refusals; /* attempts in a row that failed though the server answers */
};

/*
 * Connects; waits for a server that is away or starts up, to `until` (clock_ms).  False: *error says why.
 * What was opened, session_close closes, and ends its transaction.
 */
bool session_open(struct session *session, const char *conninfo, uint64_t until, struct buf *error);
void session_close(struct session *session);
/* Has none of the role's settings count that are in the way; session_begin does it for its transaction. */
bool session_set_up(struct session *session, struct buf *error);
/* Before another attempt at what failed; says once in the log why it waits. */
void session_pause(struct session *session, struct buf *why);

/*
 * Sends a statement with at most two parameters and returns what came of it; NULL: told to stop, or out of
 * memory.
 */
struct pg_result *session_ask(struct session *session, const char *doing, const char *sql, const char *first,
							  const char *second);
/* The same for a prepared statement without parameters. */
struct pg_result *session_prepare(struct session *session, const char *doing, const char *name,
								  const char *sql);
struct pg_result *session_execute(struct session *session, const char *doing, const char *name);
/* The same with any number of parameters, of which each may be NULL. */
struct pg_result *session_ask_with(struct session *session, const char *doing, const char *sql,
								   const char *const *params, int nparams);
/* As session_ask, but NULL for an error too; *error says what it is.  `doing` completes "could not ...". */
struct pg_result *session_run(struct session *session, const char *doing, const char *sql, const char *first,
							  const char *second, struct buf *error);
/* The same for a statement whose answer doesn't matter. */
bool session_run_only(struct session *session, const char *doing, const char *sql, const char *first,
					  const char *second, struct buf *error);
/* Appends what Postgres said, with its hint; a NULL result stands for a stop. */
void session_explain(struct buf *error, const char *doing, const struct pg_result *result);

/* ---- answers: the caller's to free; NULL is one without rows that did not succeed -------------------- */

bool session_succeeded(const struct pg_result *result);
unsigned session_rows(const struct pg_result *result);
/* A value of the first row; empty for SQL NULL. */
const char *session_value(const struct pg_result *result, int column);
/* The same of any row. */
const char *session_value_of(const struct pg_result *result, unsigned row, int column);
/* What a client is told of one that did not succeed. */
void session_error(const struct pg_result *result, struct error *error);
/* Whether it is SQL NULL there. */
bool session_is_null(const struct pg_result *result, int column);
/* Whether it is an error of this SQLSTATE. */
bool session_has_sqlstate(const struct pg_result *result, const char *sqlstate);
void session_free(struct pg_result *result);

/* ---- the server ------------------------------------------------------------------------------ */

/* What it reports of itself, "server_version", "server_encoding"; NULL: nothing of that name. */
const char *session_parameter(const struct session *session, const char *name);
int session_server_version(const struct session *session); /* 150020 */
/* The process that serves it, as the server or a pooler told at the start. */
int session_process(const struct session *session);
bool session_is_lost(const struct session *session);
/* Appends to which database of which server it leads, without what is secret. */
void session_describe(const struct session *session, struct buf *out);

/*
 * Begins a transaction in which nothing of the role's settings counts, and takes the start-up lock in it, for
 * which servers that start on one database take turns.  A pooler that lends a session for one transaction
 * takes back both with it.
 */
bool session_begin(struct session *session, struct buf *error);

#endif
