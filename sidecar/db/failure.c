/*
 * failure.c: how an error of Postgres's is to be taken.
 */
#include <string.h>

#include "base/log.h"
#include "db/conn.h"

bool conn_is_error(const struct answer *answer)
{
	return answer_status(answer) == ANSWER_ERROR;
}

/*
 * A server that turned read-only under us: the primary is elsewhere now.  Or one whose disk is full, until
 * there is room, or another one leads.
 */
bool conn_is_refused(const struct conn *conn, const struct answer *answer)
{
	enum db_role role = conn->user->role;
	bool writes = role == DB_ROLE_APPEND || role == DB_ROLE_DEFERRED || role == DB_ROLE_CONSUME;

	return (role != DB_ROLE_READ && answer_has_sqlstate(answer, SQLSTATE_READ_ONLY_TRANSACTION)) ||
		   (writes && answer_has_sqlstate(answer, SQLSTATE_DISK_FULL));
}

/* Whether there is no function of the OID that was called: another one has its name now. */
static bool is_function_gone(const struct answer *answer)
{
	const char *function = answer_field(answer, PG_DIAG_SOURCE_FUNCTION);

	return function != NULL && strcmp(function, "fetch_fp_info") == 0 &&
		   answer_has_sqlstate(answer, SQLSTATE_UNDEFINED_FUNCTION);
}

enum db_failure conn_failure(const struct conn *conn, const struct answer *answer)
{
	static const char *const lost[] = {SQLSTATE_ADMIN_SHUTDOWN,		  SQLSTATE_CRASH_SHUTDOWN,
									   SQLSTATE_CANNOT_CONNECT_NOW,	  SQLSTATE_IDLE_SESSION_TIMEOUT,
									   SQLSTATE_TOO_MANY_CONNECTIONS, SQLSTATE_INVALID_STATEMENT_NAME};
	static const char *const again[] = {SQLSTATE_SERIALIZATION_FAILURE, SQLSTATE_DEADLOCK,
										SQLSTATE_LOCK_NOT_AVAILABLE};
	const char *sqlstate = answer_field(answer, PG_DIAG_SQLSTATE);

	if (sqlstate == NULL) /* libpq's own */
		return PQstatus(conn->pg) == CONNECTION_BAD ? FAILURE_LOST : FAILURE_FINAL;
	if (strncmp(sqlstate, SQLSTATE_CLASS_CONNECTION, strlen(SQLSTATE_CLASS_CONNECTION)) == 0)
		return FAILURE_LOST;
	if (conn_is_refused(conn, answer) || is_function_gone(answer))
		return FAILURE_LOST;
	for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++)
	{
		if (strcmp(sqlstate, lost[i]) == 0)
			return FAILURE_LOST;
	}
	for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++)
	{
		if (strcmp(sqlstate, again[i]) == 0)
			return FAILURE_AGAIN;
	}
	return FAILURE_FINAL;
}

void conn_describe_error(const struct conn *conn, const struct answer *answer, struct db_error *error)
{
	const char *sqlstate = answer_field(answer, PG_DIAG_SQLSTATE);
	const char *message = answer_field(answer, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = answer_field(answer, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = answer_field(answer, PG_DIAG_MESSAGE_HINT);

	snprintf(error->sqlstate, sizeof(error->sqlstate), "%.5s", sqlstate ? sqlstate : SQLSTATE_INTERNAL_ERROR);
	error->message = message ? message : answer_message(answer);
	error->detail = detail ? detail : "";
	error->hint = hint ? hint : "";
	error->pid = sqlstate ? PQbackendPID(conn->pg) : 0;
}

bool answer_has_sqlstate(const struct answer *answer, const char *wanted)
{
	const char *sqlstate = answer_field(answer, PG_DIAG_SQLSTATE);

	return sqlstate != NULL && strcmp(sqlstate, wanted) == 0;
}

/*
 * A wait for the synchronous standby that is cancelled ends with a warning, and then like one that is over.
 * What was committed may be on one machine alone: it is asked for again, and that waits anew.  PostgreSQL has
 * no SQLSTATE for this warning, and texts are translated; the name of its function is neither.
 */
void conn_take_notice(struct conn *conn, const struct answer *answer)
{
	const char *function = answer_field(answer, PG_DIAG_SOURCE_FUNCTION);

	log_debug("PostgreSQL: %s", answer_message(answer));
	if (function != NULL && strcmp(function, "SyncRepWaitForLSN") == 0)
		conn->unreplicated = true;
}

void conn_take_pq_notice(void *conn, const PGresult *result)
{
	conn_take_notice(conn, &(struct answer){.result = (PGresult *)result});
}
