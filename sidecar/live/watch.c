/*
 * feed_watch: how a worker's feeds come to know of messages that did not come through this process, without
 * asking for them; see feed_internal.h.
 *
 * A feed that has seen a message lately asks on its timer.  When all is calm one wait for all feeds of the
 * worker at a place is with its Postgres, and their timers only look whether their namespaces are still
 * the same.  The wait ends with the next transaction that wrote anything anywhere on that server.  So then
 * all feeds ask, and go on with that for a second: if the transactions of other clients go on as well,
 * waiting for them would be no cheaper.
 *
 * Where reads are answered by a standby it is that one's commits that are waited for: a message that was
 * appended through this process wakes its feed, which may find nothing yet, and again when the standby has
 * it.  Those that wait and ask the primary then have a wait of their own there.
 *
 * Where it can't be waited (the role may not, the connection is lost or does not answer) the timers do it
 * alone.
 */
#include "base/clock.h"
#include "db/db.h"
#include "live/feed_internal.h"

#define CALM_MS 1000	  /* of asking before the next wait */
#define REFUSED_MS 600000 /* it may have been allowed meanwhile */

static void on_end(void *arg, enum db_watch_end end)
{
	struct feed_watch *watch = arg;
	struct feeds *feeds = watch->feeds;

	if (end == DB_WATCH_OVER && feeds_are_listening(feeds))
	{
		(void)db_watch(watch->db, DB_WATCH_READS, on_end, watch);
		return;
	}
	watch->watch_from_ms = clock_ms() + (end == DB_WATCH_REFUSED ? REFUSED_MS : CALM_MS);
	feeds->on_told(feeds);
}

bool feeds_watch(struct feeds *feeds, const struct place *place, uint64_t now)
{
	struct feed_watch *watch = &feeds->watches[place->cluster];

	if (now < watch->watch_from_ms)
		return false;
	(void)db_watch(watch->db, DB_WATCH_READS, on_end, watch);
	return db_is_watching(watch->db, DB_WATCH_READS);
}

static void on_primary_end(void *arg, enum db_watch_end end)
{
	struct feed_watch *watch = arg;
	struct feeds *feeds = watch->feeds;

	if (end == DB_WATCH_OVER && feeds->has_waits)
	{
		(void)db_watch(watch->db, DB_WATCH_PRIMARY, on_primary_end, watch);
		return;
	}
	watch->waits_from_ms = clock_ms() + (end == DB_WATCH_REFUSED ? REFUSED_MS : CALM_MS);
	if (feeds->has_waits)
		feeds->woken_waits(feeds->waits_arg, UINT64_MAX);
}

bool feeds_watch_primary(struct feeds *feeds, const struct place *place, uint64_t now)
{
	struct feed_watch *watch = &feeds->watches[place->cluster];

	if (now < watch->waits_from_ms)
		return false;
	(void)db_watch(watch->db, DB_WATCH_PRIMARY, on_primary_end, watch);
	return db_is_watching(watch->db, DB_WATCH_PRIMARY);
}
