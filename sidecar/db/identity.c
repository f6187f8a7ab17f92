/*
 * identity.c: see identity.h.
 */
#include "db/identity.h"

#include <string.h>

#include "db/session.h"

/* A lock on a number that nobody else has, up to the end of the transaction. */
static const char mark_sql[] =
	"SELECT c.system_identifier || '/' || d.oid, r.mark, pg_is_in_recovery(), pg_advisory_xact_lock(r.mark)"
	" FROM pg_control_system() c, pg_database d, (SELECT (random() * 9e18)::bigint OFFSET 0) r (mark)"
	" WHERE d.datname = current_database()";
static const char look_sql[] =
	"SELECT CASE WHEN c.system_identifier || '/' || d.oid <> $1 THEN 'other'"
	" WHEN pg_is_in_recovery() OR NOT pg_try_advisory_xact_lock($2::bigint) THEN 'same' ELSE 'copy' END"
	" FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()";

static const char doing[] = "look which database this is";

static bool look(struct session *other, const struct pg_result *marked, enum identity *how, struct buf *error)
{
	struct pg_result *result =
		session_run(other, doing, look_sql, session_value(marked, 0), session_value(marked, 1), error);
	bool standby = session_value(marked, 2)[0] == 't';
	const char *said;

	if (result == NULL)
		return false;
	said = session_value(result, 0);
	*how = strcmp(said, "other") == 0			   ? IDENTITY_OTHER
		   : strcmp(said, "copy") == 0 && !standby ? IDENTITY_COPY
												   : IDENTITY_SAME;
	session_free(result);
	return true;
}

bool identity_compare(struct session *first, struct session *other, enum identity *how, struct buf *error)
{
	struct pg_result *marked;
	bool looked = false;

	if (!session_run_only(first, doing, "BEGIN", NULL, NULL, error))
		return false;
	marked = session_run(first, doing, mark_sql, NULL, NULL, error);
	if (marked != NULL)
		looked = look(other, marked, how, error);
	session_free(marked);
	return session_run_only(first, doing, "ROLLBACK", NULL, NULL, error) && looked;
}
