/*
 * bootstrap: prepares a database for the workers; see bootstrap.h.
 *
 * Several servers may start on one database at once: a session's advisory lock makes them take turns.
 * Nothing is written when everything is there, so a server may start on a standby.
 */
#include "bootstrap.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "config.h"
#include "db.h"
#include "log.h"
#include "token_handover.h"
#include "version.h"

#define MIN_SERVER_VERSION 150000
#define DEFAULT_NAMESPACE "default"
#define RETRY_MS 100

/* The lock's number is "millrace" in ASCII. */
static const char lock_sql[] = "SELECT pg_advisory_lock(7883960610104632165)";

static void ignore_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

/* Appends what Postgres said, with its hint. */
static void explain(struct buf *error, const char *doing, const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	buf_printf(error, "could not %s: %s", doing, message ? message : PQresultErrorMessage(result));
	if (detail != NULL)
		buf_printf(error, " (%s)", detail);
	if (hint != NULL)
		buf_printf(error, "; %s", hint);
}

/* Runs a statement with at most two parameters; NULL: *error says why. */
static PGresult *run(PGconn *pg, const char *doing, const char *sql, const char *first, const char *second,
					 struct buf *error)
{
	const char *params[] = {first, second};
	int nparams = second ? 2 : first ? 1 : 0;
	PGresult *result = PQexecParams(pg, sql, nparams, NULL, params, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return result;
	explain(error, doing, result);
	PQclear(result);
	return NULL;
}

/* The same for a statement whose answer doesn't matter. */
static bool run_only(PGconn *pg, const char *doing, const char *sql, const char *first, const char *second,
					 struct buf *error)
{
	PGresult *result = run(pg, doing, sql, first, second, error);

	PQclear(result);
	return result != NULL;
}

/* Connects; waits for a server that is there but still starting up, within the retry window. */
static PGconn *connect_patiently(const struct config *config, const char *conninfo, bool (*stopping)(void),
								 struct buf *error)
{
	static const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
	const char *session = db_names_several_hosts(conninfo) ? "read-write" : "any";
	const char *keywords[] = {"fallback_application_name", "connect_timeout",
							  "target_session_attrs",	   "dbname",
							  "client_encoding",		   NULL};
	const char *values[] = {"millrace", "10", session, conninfo, "UTF8", NULL};
	uint64_t until = clock_ms() + (uint64_t)config->retry_window * 1000;

	for (;;)
	{
		PGconn *pg = PQconnectdbParams(keywords, values, 1);

		if (PQstatus(pg) == CONNECTION_OK)
		{
			PQsetNoticeReceiver(pg, ignore_notice, NULL);
			return pg;
		}
		if (PQpingParams(keywords, values, 1) != PQPING_REJECT || clock_ms() >= until || stopping())
		{
			buf_printf(error, "could not connect to the database: %s", PQerrorMessage(pg));
			PQfinish(pg);
			return NULL;
		}
		PQfinish(pg);
		nanosleep(&pause, NULL);
	}
}

static bool check_server(PGconn *pg, struct bootstrap *bootstrap, struct buf *error)
{
	const char *version = PQparameterStatus(pg, "server_version");
	const char *encoding = PQparameterStatus(pg, "server_encoding");

	snprintf(bootstrap->server_version, sizeof(bootstrap->server_version), "%.*s",
			 version ? (int)strcspn(version, " ") : 0, version ? version : "");
	if (PQserverVersion(pg) < MIN_SERVER_VERSION)
	{
		buf_printf(error, "the server is PostgreSQL %s; Millrace needs 15 or later",
				   bootstrap->server_version);
		return false;
	}
	if (encoding == NULL || strcmp(encoding, "UTF8") != 0)
	{
		buf_printf(error, "the database has encoding %s; Millrace needs one with UTF8",
				   encoding ? encoding : "?");
		return false;
	}
	return true;
}

/* The versions of the extension: in the database, and of the files that its server has.  Empty: none. */
struct extension
{
	char installed[32], available[32];
};

/* The same major.minor: a patch release changes no function that the program calls. */
static bool version_fits(const char *version)
{
	const char *ours = MILLRACE_VERSION;
	const char *dot = strrchr(ours, '.');
	size_t len = dot ? (size_t)(dot - ours) + 1 : strlen(ours);

	return strncmp(version, ours, len) == 0;
}

static bool read_extension(PGconn *pg, struct extension *extension, struct buf *error)
{
	PGresult *result = run(
		pg, "look for the extension",
		"SELECT (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'millrace'),"
		" (SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'millrace' LIMIT 1)",
		NULL, NULL, error);

	if (result == NULL)
		return false;
	snprintf(extension->installed, sizeof(extension->installed), "%s", PQgetvalue(result, 0, 0));
	snprintf(extension->available, sizeof(extension->available), "%s", PQgetvalue(result, 0, 1));
	PQclear(result);
	return true;
}

static bool create_extension(PGconn *pg, const struct extension *extension, struct buf *error)
{
	PGresult *result;
	const char *sqlstate;
	bool created;

	if (extension->available[0] != '\0' && !version_fits(extension->available))
	{
		buf_printf(error,
				   "the files of extension millrace %s on the machine of the database server do not fit"
				   " millrace " MILLRACE_VERSION "; install those of this version",
				   extension->available);
		return false;
	}
	result = PQexec(pg, "CREATE EXTENSION IF NOT EXISTS millrace");
	sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	created = PQresultStatus(result) == PGRES_COMMAND_OK;
	if (!created)
	{
		explain(error, "create extension millrace", result);
		/* No control file: feature_not_supported. */
		if (sqlstate && strcmp(sqlstate, "0A000") == 0)
			buf_add_str(error, "; run `make -C extension install` on the machine of the database server");
		else if (sqlstate && strcmp(sqlstate, "42501") == 0)
			buf_add_str(
				error,
				"; let the owner of the database or a superuser run CREATE EXTENSION millrace in it once");
	}
	PQclear(result);
	return created;
}

/* A database of our own gets what its server's files bring; in somebody else's, somebody else decides. */
static bool update_extension(PGconn *pg, struct extension *extension, bool own, struct buf *error)
{
	char before[sizeof(extension->installed)];

	if (!version_fits(extension->available) || strverscmp(extension->installed, extension->available) >= 0)
		return true;
	if (!own)
	{
		if (version_fits(extension->installed))
			log_info("extension millrace %s is older than its files, %s: a superuser or its owner can run"
					 " ALTER EXTENSION millrace UPDATE",
					 extension->installed, extension->available);
		return true;
	}
	memcpy(before, extension->installed, sizeof(before));
	if (!run_only(pg, "update the extension", "ALTER EXTENSION millrace UPDATE", NULL, NULL, error) ||
		!read_extension(pg, extension, error))
		return false;
	log_info("extension millrace updated from %s to %s", before, extension->installed);
	return true;
}

static void explain_misfit(const struct extension *extension, bool own, struct buf *error)
{
	buf_printf(error, "extension millrace %s in the database does not fit millrace " MILLRACE_VERSION "; ",
			   extension->installed);
	if (strverscmp(extension->installed, MILLRACE_VERSION) > 0)
	{
		buf_add_str(error, "it is newer: start the program of its version");
		return;
	}
	if (!version_fits(extension->available))
		buf_printf(error, "install the extension of this version on the machine of the database server%s",
				   own ? "" : ", then ");
	if (!own)
		buf_add_str(error,
					"let a superuser or the extension's owner run ALTER EXTENSION millrace UPDATE in this"
					" database");
}

static bool ensure_extension(PGconn *pg, bool own, struct buf *error)
{
	struct extension extension;

	if (!read_extension(pg, &extension, error))
		return false;
	if (extension.installed[0] == '\0')
		return create_extension(pg, &extension, error);
	if (!update_extension(pg, &extension, own, error))
		return false;
	if (version_fits(extension.installed))
		return true;
	explain_misfit(&extension, own, error);
	return false;
}

/* What is known of namespace default.  It has no hash if it comes from SQL, or from a start that was cut short. */
struct default_namespace
{
	bool exists;
	char hash[TOKEN_HASH_LEN + 1];
};

static bool read_namespace(PGconn *pg, struct default_namespace *known, struct buf *error)
{
	PGresult *result = run(pg, "look for namespace " DEFAULT_NAMESPACE,
						   "SELECT millrace.namespace_token_hash($1::text)", DEFAULT_NAMESPACE, NULL, error);

	if (result == NULL)
		return false;
	known->exists = PQntuples(result) > 0;
	snprintf(known->hash, sizeof(known->hash), "%s", known->exists ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return true;
}

/* Writes only what is not so already: the server may be a standby. */
static bool set_token(PGconn *pg, const struct default_namespace *known, const char *token, struct buf *error)
{
	char hash[TOKEN_HASH_LEN + 1];

	token_hash(slice_of(token), hash);
	return strcmp(hash, known->hash) == 0 ||
		   run_only(pg, "set the token of namespace " DEFAULT_NAMESPACE,
					"SELECT millrace.set_namespace_token($1::text, $2::text)", DEFAULT_NAMESPACE, hash,
					error);
}

static bool ensure_namespace(PGconn *pg, struct bootstrap *bootstrap, const struct config *config,
							 struct buf *error)
{
	struct default_namespace known;

	if (!read_namespace(pg, &known, error))
		return false;
	if (!known.exists &&
		!run_only(pg, "create namespace " DEFAULT_NAMESPACE, "SELECT millrace.ensure_namespace($1::text)",
				  DEFAULT_NAMESPACE, NULL, error))
		return false;
	if (config->token != NULL)
		return set_token(pg, &known, config->token, error);
	if (known.hash[0] != '\0' || config->test_mode)
		return true;
	token_new(slice_of(DEFAULT_NAMESPACE), bootstrap->token);
	if (!token_hand_over(config, bootstrap->token, error))
		return false;
	if (set_token(pg, &known, bootstrap->token, error))
		return true;
	buf_add_str(error, "; the token that was made is not valid, the next start makes another");
	return false;
}

bool bootstrap_run(struct bootstrap *bootstrap, const struct config *config, const char *conninfo, bool own,
				   bool (*stopping)(void), struct buf *error)
{
	PGconn *pg = connect_patiently(config, conninfo, stopping, error);
	bool done;

	*bootstrap = (struct bootstrap){0};
	if (pg == NULL)
		return false;
	done = check_server(pg, bootstrap, error) &&
		   run_only(pg, "set up the session", db_setup_sql, "0", NULL, error) &&
		   run_only(pg, "take the start-up lock", lock_sql, NULL, NULL, error) &&
		   ensure_extension(pg, own, error) && ensure_namespace(pg, bootstrap, config, error);
	PQfinish(pg);
	return done;
}
