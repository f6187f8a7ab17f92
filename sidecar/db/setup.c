/*
 * setup.c: what a connection to Postgres begins with: its parameters, the settings of its session, and the
 * statements that it prepares.
 */
#include "db/site.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lazily planned statements of this schema-qualified kind never gain from a custom plan. */
const char db_setup_sql[] = "SELECT set_config('search_path', 'pg_catalog, pg_temp', $2::boolean),"
							" set_config('plan_cache_mode', 'force_generic_plan', $2),"
							" set_config('statement_timeout', '0', $2),"
							" set_config('lock_timeout', $1, $2),"
							" set_config('idle_in_transaction_session_timeout', '0', $2),"
							" set_config('idle_session_timeout', '0', $2),"
							" CASE WHEN current_setting('server_version_num')::int >= 170000"
							" THEN set_config('transaction_timeout', '0', $2) END,"
							" set_config('standard_conforming_strings', 'on', $2)";

/*
 * Whether this server will do.  Of this role, so many wait for a synchronous standby for $1 seconds by now:
 * until they are through others would wait likewise, and be left there, too, one more with each attempt.  And
 * the timeline, by which a standby that has what its primary lost is told from a good one; and what appends
 * call.  It is asked before the search path is set.
 */
static const char look_sql[] =
	"SELECT pg_catalog.count(*), millrace.timeline(),"
	" pg_catalog.to_regprocedure('millrace.append_batch_packed(pg_catalog.bytea)')::pg_catalog.oid"
	" FROM pg_catalog.pg_stat_activity"
	" WHERE usename OPERATOR(pg_catalog.=) current_user AND wait_event OPERATOR(pg_catalog.=) 'SyncRep'"
	" AND state_change OPERATOR(pg_catalog.<=)"
	" (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $1::int))";

enum look_column
{
	LOOK_WAITS,
	LOOK_TIMELINE,
	LOOK_APPEND,
};

static bool looks(const struct conn *conn)
{
	return conn->overdue || conn->site->standby || conn->user->role == DB_ROLE_APPEND;
}

const char *conn_take_look(struct conn *conn, const struct answer *answer)
{
	if (!looks(conn))
		return NULL;
	if (conn->overdue && strcmp(answer_value(answer, 0, LOOK_WAITS).bytes, "0") != 0)
		return "what was written waits for a synchronous standby, and there is none";
	conn->timeline = strtoll(answer_value(answer, 0, LOOK_TIMELINE).bytes, NULL, 10);
	/* In a session that is only lent there is more to an append than the call: db_append_pooled. */
	if (!conn->shared->pooled && conn->user->role == DB_ROLE_APPEND)
		conn->append_function = (uint32_t)strtoul(answer_value(answer, 0, LOOK_APPEND).bytes, NULL, 10);
	if (conn_is_of_old_history(conn))
		return "it is a standby that has not followed the last failover";
	return NULL;
}

static bool send_look(const struct conn *conn)
{
	char seconds[24];
	const char *value = conn->overdue ? seconds : NULL;

	snprintf(seconds, sizeof(seconds), "%" PRId64, conn->shared->config->answer_timeout);
	return PQsendQueryParams(conn->pg, look_sql, 1, NULL, &value, NULL, NULL, 0) != 0;
}

/*
 * What stands before `dbname` is a default that the connection string overrides; what stands behind overrides
 * it.
 */
PGconn *conn_start(const struct conn *conn)
{
	const struct db_site *site = conn->site;
	bool primary = conn_wants_primary(conn);
	const char *keywords[] = {"fallback_application_name",
							  "target_session_attrs",
							  "tcp_user_timeout",
							  "keepalives_idle",
							  "keepalives_interval",
							  "keepalives_count",
							  "dbname",
							  "client_encoding",
							  "host",
							  "hostaddr",
							  "port",
							  NULL};
	const char *values[] = {"millrace",
							site->standby ? "standby"
							: primary	  ? "read-write"
										  : "any",
							"10000",
							"10",
							"5",
							"3",
							site->conninfo,
							"UTF8",
							site->hosts.host,
							site->hosts.hostaddr,
							site->hosts.port,
							NULL};

	return PQconnectStartParams(keywords, values, 1);
}

/* Any read may ask for a position. */
static bool is_reach(const struct db_statement_info *statement, const struct conn *conn)
{
	enum db_role role = conn->user->role;

	return statement == &db_reach_statement && (role == DB_ROLE_EXPORT || role == DB_ROLE_LIST);
}

/* Sends the settings and all statements of the role with one sync; false when that fails at once. */
bool conn_send_setup(struct conn *conn)
{
	bool appends = conn->user->role == DB_ROLE_APPEND || conn->user->role == DB_ROLE_DEFERRED;
	bool pooled = conn->shared->pooled;
	const struct db_statement_info *append = pooled ? &db_append_pooled : &db_append_statement;
	/* A claim that is being settled in a long transaction must not hold up the others of its consumer. */
	bool hurried = appends || conn->user->role == DB_ROLE_CONSUME;
	const char *setup[] = {hurried ? DB_LOCK_TIMEOUT : "0", "false"};

	if (PQsetnonblocking(conn->pg, 1) != 0 || !PQenterPipelineMode(conn->pg))
		return false;
	if (looks(conn) && !send_look(conn)) /* first, as the first result is kept */
		return false;
	/* What is set for a session that is only lent would stay there for others. */
	if (!pooled && !PQsendQueryParams(conn->pg, db_setup_sql, 2, NULL, setup, NULL, NULL, 0))
		return false;
	if (appends && !PQsendPrepare(conn->pg, append->name, append->sql, 0, NULL))
		return false;
	for (int i = 0; db_statements[i] != NULL; i++)
	{
		const struct db_statement_info *statement = db_statements[i];

		if ((statement->role == conn->user->role || is_reach(statement, conn)) &&
			!PQsendPrepare(conn->pg, statement->name, statement->sql, 0, NULL))
			return false;
	}
	if (!PQpipelineSync(conn->pg))
		return false;
	conn->in_flight = conn->syncs = 1;
	return true;
}
