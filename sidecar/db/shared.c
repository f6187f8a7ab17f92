/*
 * shared.c: what all connections and requests of a worker have in common; see internal.h.
 */
#include "base/clock.h"
#include "db/site.h"

void shared_schedule(struct db_shared *shared)
{
	if (shared->turn_scheduled || shared->closing)
		return;
	shared->turn_scheduled = true;
	event_active(&shared->turn, EV_TIMEOUT, 1);
}

bool shared_has_room(const struct db_shared *shared, size_t bytes)
{
	size_t limit = (size_t)shared->config->queue_bytes;

	return shared->waiting_requests < (size_t)shared->config->queue_requests &&
		   shared->waiting_bytes < limit && bytes <= limit - shared->waiting_bytes;
}

uint64_t shared_deadline(const struct db_shared *shared, uint64_t now)
{
	return now + (uint64_t)shared->config->retry_window * 1000;
}

/* The stats are those of all databases of the worker. */
void shared_note_queues(struct db_shared *shared)
{
	stats_add(&shared->stats->queue_requests, shared->waiting_requests - shared->noted_requests);
	stats_add(&shared->stats->queue_bytes, shared->waiting_bytes - shared->noted_bytes);
	shared->noted_requests = shared->waiting_requests;
	shared->noted_bytes = shared->waiting_bytes;
}

void shared_tell_commit(const struct db_shared *shared, const char *namespace_name)
{
	if (shared->committed != NULL)
		shared->committed(shared->committed_arg, namespace_name);
}

const char *shared_unavailable(const struct db_shared *shared)
{
	if (shared->closing)
		return "the server is stopping";
	if (shared->appends->state == CONN_READY)
		return "the connection to Postgres was lost before the answer came";
	return atomic_load(&shared->readable) > 0 ? "Postgres answers reads, but takes no writes"
											  : "Postgres cannot be reached";
}

void shared_note_return(const struct conn *conn)
{
	enum db_role role = conn->user->role;

	/* One to a standby may tell another state of things, whether it is the first or not. */
	conn->shared->reconnects += role == DB_ROLE_READ && (conn->is_back || conn->site->standby);
	conn->shared->returns += (role == DB_ROLE_READ || role == DB_ROLE_APPEND) && conn->is_back;
}

bool conn_outage_is_long(const struct conn *conn, uint64_t now)
{
	return conn->state != CONN_READY && conn->state != CONN_UNUSED &&
		   clock_passed(now, conn->down_since, (uint64_t)conn->shared->config->retry_window * 1000);
}
