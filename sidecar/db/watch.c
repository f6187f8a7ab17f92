/*
 * db_watch: waits for what others commit; see db.h and internal.h.
 *
 * A connection of its own asks millrace.wait_for_commits, which holds no snapshot and no lock while it waits.
 * Its answer has no content, as a statement that returns a row keeps a snapshot: one that comes well before
 * the time is over tells that a transaction has ended.  Of one that comes later that is not known, so the
 * next wait says that nothing was heard and is told again.
 *
 * The statement is not prepared: where the role may not call the procedure the connection would never be set
 * up.
 */
#include "base/clock.h"
#include "db/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/log.h"

#define MARGIN_MS 50 /* by what the end of a wait may seem too early */
#define GRACE_MS 250 /* an answer that is later than that by so much is not relied on any more */

static void watch_on_ready(struct conn *conn);
static void watch_on_answer(struct conn *conn, struct answer *answer);
static void watch_on_lost(struct conn *conn);

static const struct conn_user watch_user = {
	.role = DB_ROLE_WATCH,
	.what = "subscriptions",
	.on_ready = watch_on_ready,
	.on_answer = watch_on_answer,
	.on_lost = watch_on_lost,
};

static const struct conn_user standby_watch_user = {
	.role = DB_ROLE_WATCH,
	.what = "subscriptions from standbys",
	.on_ready = watch_on_ready,
	.on_answer = watch_on_answer,
	.on_lost = watch_on_lost,
};

static struct watch *watch_of(struct conn *conn)
{
	return (struct watch *)conn;
}

static void finish(struct watch *watch, enum db_watch_end end)
{
	db_watch_done done = watch->done;

	watch->sent = false;
	watch->done = NULL;
	watch->heard = end == DB_WATCH_TOLD;
	watch->conn.site->told = true;
	shared_schedule(watch->conn.shared);
	if (done != NULL)
		done(watch->arg, end);
}

void watch_send(struct watch *watch)
{
	struct conn *conn = &watch->conn;
	char timeout[16];
	const char *const params[] = {watch->asker, watch->heard ? "true" : "false", timeout};

	if (watch->sent || conn->state != CONN_READY ||
		(watch->done == NULL && (watch->refused || !site_has_behind(conn->site))))
		return;
	snprintf(timeout, sizeof(timeout), "%d", DB_WATCH_MS);
	if (!PQsendQueryParams(conn->pg, "CALL millrace.wait_for_commits($1::bigint, $2::boolean, $3::int)", 3,
						   NULL, params, NULL, NULL, 0))
	{
		conn_lose(conn, PQerrorMessage(conn->pg));
		return;
	}
	watch->sent = true;
	watch->sent_ms = clock_ms();
	conn->in_flight++;
	conn->unsynced = true;
	conn_sync(conn);
}

static void watch_on_ready(struct conn *conn)
{
	shared_schedule(conn->shared);
}

static void watch_on_answer(struct conn *conn, struct answer *answer)
{
	struct watch *watch = watch_of(conn);
	bool told = !clock_passed(clock_ms(), watch->sent_ms, DB_WATCH_MS - MARGIN_MS);
	enum db_watch_end end = told ? DB_WATCH_TOLD : DB_WATCH_OVER;

	if (answer_status(answer) != ANSWER_DONE)
	{
		log_debug("connection for %s: %s", watch_user.what, answer_message(answer));
		end = DB_WATCH_REFUSED;
	}
	answer_clear(answer);
	watch->refused = end == DB_WATCH_REFUSED;
	finish(watch, end);
}

/* A new session ends its first wait at once, so nothing is lost with this one. */
static void watch_on_lost(struct conn *conn)
{
	finish(watch_of(conn), DB_WATCH_UNAVAILABLE);
}

void watch_open(struct watch *watch)
{
	conn_open(&watch->conn);
	shared_schedule(watch->conn.shared);
}

/* Of the server that answers reads now, or of the primary. */
static struct watch *watch_at(struct db *db, enum db_watched which)
{
	return which == DB_WATCH_READS && site_readable(&db->standby) > 0 ? &db->standby.watch
																	  : &db->primary.watch;
}

bool db_watch(struct db *db, enum db_watched which, db_watch_done done, void *arg)
{
	struct watch *watch = watch_at(db, which);

	if (db->shared.closing || watch->done != NULL)
		return false;
	watch->done = done;
	watch->arg = arg;
	watch_open(watch);
	return true;
}

bool db_is_watching(struct db *db, enum db_watched which)
{
	const struct watch *watch = watch_at(db, which);

	return watch->done != NULL && watch->sent &&
		   !clock_passed(clock_ms(), watch->sent_ms, DB_WATCH_MS + GRACE_MS);
}

void watch_init(struct watch *watch, struct db_site *site)
{
	int64_t asker = 0;

	conn_init(&watch->conn, site, site->standby ? &standby_watch_user : &watch_user);
	/*
	 * Behind a pooler other clients may have the session in between: then each wait is a new asker's, and
	 * ends at once.
	 */
	if (getrandom(&asker, sizeof(asker), 0) != (ssize_t)sizeof(asker))
		asker = (int64_t)clock_us();
	snprintf(watch->asker, sizeof(watch->asker), "%" PRId64, asker);
}

void watch_free(struct watch *watch)
{
	watch->done = NULL;
	conn_close(&watch->conn);
}
