/*
 * bootstrap: prepares a database for the workers; see bootstrap.h.
 *
 * Several servers may start on one database at once: an advisory lock makes them take turns, see
 * db/session.h.  Nothing is written when everything is there, so a server may start on a standby.
 */
#include "serve/bootstrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "db/pooler.h"
#include "db/session.h"
#include "base/log.h"
#include "serve/token_handover.h"
#include "base/version.h"

#define MIN_SERVER_VERSION 150000
#define DIRECTORY_WAIT_MS 5000 /* where there are other clusters to be served */

static bool check_server(const struct session *session, struct bootstrap *bootstrap, struct buf *error)
{
	const char *version = session_parameter(session, "server_version");
	const char *encoding = session_parameter(session, "server_encoding");

	snprintf(bootstrap->server_version, sizeof(bootstrap->server_version), "%.*s",
			 version ? (int)strcspn(version, " ") : 0, version ? version : "");
	if (session_server_version(session) < MIN_SERVER_VERSION)
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

static bool read_extension(struct session *session, struct extension *extension, struct buf *error)
{
	struct pg_result *result = session_run(
		session, "look for the extension",
		"SELECT (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'millrace'),"
		" (SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'millrace' LIMIT 1)",
		NULL, NULL, error);

	if (result == NULL)
		return false;
	snprintf(extension->installed, sizeof(extension->installed), "%s", session_value(result, 0));
	snprintf(extension->available, sizeof(extension->available), "%s", session_value(result, 1));
	session_free(result);
	return true;
}

static bool create_extension(struct session *session, const struct extension *extension, struct buf *error)
{
	struct pg_result *result;
	bool created;

	if (extension->available[0] != '\0' && !version_fits(extension->available))
	{
		buf_printf(error,
				   "the files of extension millrace %s on the machine of the database server do not fit"
				   " millrace " MILLRACE_VERSION "; install those of this version",
				   extension->available);
		return false;
	}
	result = session_ask(session, "create extension millrace", "CREATE EXTENSION IF NOT EXISTS millrace",
						 NULL, NULL);
	created = session_succeeded(result);
	if (!created)
	{
		session_explain(error, "create extension millrace", result);
		/* No control file. */
		if (session_has_sqlstate(result, SQLSTATE_FEATURE_NOT_SUPPORTED))
			buf_add_str(error, "; run `make -C extension install` on the machine of the database server");
		else if (session_has_sqlstate(result, SQLSTATE_INSUFFICIENT_PRIVILEGE))
			buf_add_str(
				error,
				"; let the owner of the database or a superuser run CREATE EXTENSION millrace in it once");
	}
	session_free(result);
	return created;
}

/* The private database gets what its server's files bring; in any other its owner decides. */
static bool update_extension(struct session *session, struct extension *extension, bool own,
							 struct buf *error)
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
	if (!session_run_only(session, "update the extension", "ALTER EXTENSION millrace UPDATE", NULL, NULL,
						  error) ||
		!read_extension(session, extension, error))
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

static bool ensure_extension(struct session *session, bool own, struct buf *error)
{
	struct extension extension;

	if (!read_extension(session, &extension, error))
		return false;
	if (extension.installed[0] == '\0')
		return create_extension(session, &extension, error);
	if (!update_extension(session, &extension, own, error))
		return false;
	if (version_fits(extension.installed))
		return true;
	explain_misfit(&extension, own, error);
	return false;
}

/*
 * What is known of namespace default.  It has no token if it comes from SQL, or from a start that was cut
 * short.
 */
struct default_namespace
{
	bool exists;
	bool administered; /* a token opens it that may administer, the first one or another */
	char hash[TOKEN_HASH_LEN + 1];
};

static bool read_namespace(struct session *session, struct default_namespace *known, struct buf *error)
{
	struct pg_result *result = session_run(
		session, "look for namespace " DEFAULT_NAMESPACE,
		"SELECT hash, hash IS NOT NULL OR EXISTS (SELECT FROM millrace.list_tokens($1::text) t"
		" WHERE 'administer' = ANY (t.rights) AND coalesce(t.expires_at > clock_timestamp(), true))"
		" FROM millrace.namespace_token_hash($1::text) AS hash",
		DEFAULT_NAMESPACE, NULL, error);

	if (result == NULL)
		return false;
	known->exists = session_rows(result) > 0;
	known->administered = known->exists && session_value(result, 1)[0] == 't';
	snprintf(known->hash, sizeof(known->hash), "%s", known->exists ? session_value(result, 0) : "");
	session_free(result);
	return true;
}

/* Writes only what is not so already: the server may be a standby. */
static bool set_token(struct session *session, const struct default_namespace *known, const char *token,
					  struct buf *error)
{
	char hash[TOKEN_HASH_LEN + 1];

	token_hash(slice_of(token), hash);
	return strcmp(hash, known->hash) == 0 ||
		   session_run_only(session, "set the token of namespace " DEFAULT_NAMESPACE,
							"SELECT millrace.set_namespace_token($1::text, $2::text)", DEFAULT_NAMESPACE,
							hash, error);
}

static bool ensure_namespace(struct session *session, struct bootstrap *bootstrap,
							 const struct config *config, struct buf *error)
{
	struct default_namespace known;

	if (!read_namespace(session, &known, error))
		return false;
	if (!known.exists &&
		!session_run_only(session, "create namespace " DEFAULT_NAMESPACE,
						  "SELECT millrace.ensure_namespace($1::text)", DEFAULT_NAMESPACE, NULL, error))
		return false;
	if (config->token != NULL)
		return set_token(session, &known, config->token, error);
	if (known.administered || config->test_mode)
		return true;
	token_new(slice_of(DEFAULT_NAMESPACE), bootstrap->token);
	if (!token_hand_over(config, bootstrap->token, error))
		return false;
	if (set_token(session, &known, bootstrap->token, error))
		return true;
	buf_add_str(error, "; the token that was made is not valid, the next start makes another");
	return false;
}

/* Our own database has no pooler before it. */
static bool look_for_pooler(struct session *session, struct bootstrap *bootstrap, const char *conninfo,
							bool own, struct buf *error)
{
	if (own)
		return true;
	if (!pooler_look(session, conninfo, &bootstrap->pooled, error))
		return false;
	if (bootstrap->pooled)
		log_info("the database is behind a pooler that lends sessions for single transactions");
	return true;
}

/*
 * Before standbys none will do that lends sessions: what one session has seen another server may not have
 * yet.  Standbys that are away now are not looked at.
 */
static bool check_standbys(const struct config *config, bool (*stopping)(void), struct buf *error)
{
	struct session session = {.stopping = stopping, .quiet = true, .any_server = true};
	bool pooled = false, good;

	if (config->read_database == NULL)
		return true;
	good = session_open(&session, config->read_database, 0, error) &&
		   pooler_look(&session, config->read_database, &pooled, error);
	if (!good && session_is_lost(&session))
	{
		buf_clear(error);
		good = true;
	}
	else if (good && pooled)
	{
		buf_add_str(error,
					"it leads to a pooler that lends sessions for single transactions, which may belong to "
					"different standbys: use pool_mode = session");
		good = false;
	}
	session_close(&session);
	if (!good)
		buf_add_str(error, " (--read-database)");
	return good;
}

/* All in one transaction: a start that is cut short leaves nothing. */
static bool prepare(struct session *session, struct bootstrap *bootstrap, const struct config *config,
					bool own, struct buf *error)
{
	return session_begin(session, error) && ensure_extension(session, own, error) &&
		   ensure_namespace(session, bootstrap, config, error) &&
		   session_run_only(session, "commit what was prepared", "COMMIT", NULL, NULL, error);
}

bool bootstrap_run(struct bootstrap *bootstrap, const struct config *config, const char *conninfo, bool own,
				   bool (*stopping)(void), struct buf *error)
{
	struct session session = {.stopping = stopping};
	uint64_t until =
		clock_ms() + (config->directory != NULL ? DIRECTORY_WAIT_MS : (uint64_t)config->retry_window * 1000);
	bool done = false, lost = true;

	*bootstrap = (struct bootstrap){0};
	while (!done && lost && session_open(&session, conninfo, until, error))
	{
		*bootstrap = (struct bootstrap){0};
		done = check_server(&session, bootstrap, error) &&
			   look_for_pooler(&session, bootstrap, conninfo, own, error) &&
			   check_standbys(config, stopping, error) && prepare(&session, bootstrap, config, own, error);
		/* A token that was made may have been stored: then another attempt would not know it. */
		lost = (session_is_lost(&session) || session.again) && bootstrap->token[0] == '\0' &&
			   clock_ms() < until && !stopping();
		if (lost && session.again)
			session_pause(&session, error);
		session_close(&session);
	}
	bootstrap->away = !done && lost && clock_ms() >= until;
	return done;
}
