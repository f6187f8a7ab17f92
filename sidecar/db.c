/*
 * db: the life of a worker's connections to Postgres; see db.h and db_internal.h.
 *
 * `turn` is an event that the calls of db.h activate.  libevent runs it after everything that was
 * already active, so it is the end of the loop turn: what arrived together is sent together.
 */
#include "clock.h"
#include "db_internal.h"

#include <stdlib.h>
#include <string.h>

#define READ_DEPTH 16 /* in flight on one connection; the rest waits for whichever is free first */
#define SLOW_DEPTH 1
#define SWEEP_MS 100

void db_schedule(struct db *db)
{
	if (db->turn_scheduled || db->closing)
		return;
	db->turn_scheduled = true;
	event_active(&db->turn, EV_TIMEOUT, 1);
}

bool db_has_room(const struct db *db, size_t bytes)
{
	size_t limit = (size_t)db->config->queue_bytes;

	return db->waiting_requests < (size_t)db->config->queue_requests && db->waiting_bytes < limit &&
		   bytes <= limit - db->waiting_bytes;
}

uint64_t db_deadline(const struct db *db, uint64_t now)
{
	return now + (uint64_t)db->config->retry_window * 1000;
}

bool db_outage_is_long(const struct db *db, const struct conn *conn, uint64_t now)
{
	return conn->state != CONN_READY && conn->state != CONN_UNUSED &&
		   clock_passed(now, conn->down_since, (uint64_t)db->config->retry_window * 1000);
}

void db_note_queues(const struct db *db)
{
	stats_set(&db->stats->queue_requests, db->waiting_requests);
	stats_set(&db->stats->queue_bytes, db->waiting_bytes);
}

/* Fails what has waited too long, and comes back as long as something waits. */
static void sweep(struct db *db)
{
	static const struct timeval pause = {.tv_usec = SWEEP_MS * 1000L};
	uint64_t now = clock_ms();
	bool waiting = batcher_sweep(&db->batcher, now);

	waiting = batcher_sweep(&db->patient, now) || waiting;
	waiting = lane_sweep(&db->reads, now) || waiting;
	waiting = lane_sweep(&db->slow, now) || waiting;
	waiting = lane_sweep(&db->imports, now) || waiting;
	waiting = lane_sweep(&db->exports, now) || waiting;
	waiting = lane_sweep(&db->lists, now) || waiting;
	db_note_queues(db);
	if (waiting && !event_pending(&db->sweep, EV_TIMEOUT, NULL))
		event_add(&db->sweep, &pause);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sweep(arg);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	(void)fd;
	(void)what;
	db->turn_scheduled = false;
	batcher_send(&db->batcher);
	batcher_send(&db->patient);
	lane_send(&db->reads);
	lane_send(&db->slow);
	lane_send(&db->imports);
	lane_send(&db->exports);
	lane_send(&db->lists);
	watch_send(&db->watch);
	db_note_queues(db);
	if (!event_pending(&db->sweep, EV_TIMEOUT, NULL))
		sweep(db);
}

bool db_check_conninfo(const char *conninfo, const char *file, struct buf *error)
{
	char *reason = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &reason);
	bool secret = file != NULL || strstr(conninfo, "password") != NULL || strchr(conninfo, '@') != NULL;
	bool right = options != NULL;

	if (!right)
		buf_printf(error, "--database%s%s is not a connection string or URI", file != NULL ? "-file " : "",
				   file != NULL ? file : "");
	if (!right && (secret || reason == NULL)) /* libpq shows what it cannot read */
		buf_add_str(error, "; there may be a password in it, so it is not shown");
	else if (!right)
		buf_printf(error, ": %.*s", (int)strcspn(reason, "\n"), reason);
	PQfreemem(reason);
	PQconninfoFree(options);
	return right;
}

/*
 * libpq alone knows what a connection string, the environment and a service file come to together.  It tells of a connection that it
 * refuses to begin, too, as one with such an sslmode.
 */
bool db_names_several_hosts(const char *conninfo)
{
	static const char *const keywords[] = {"dbname", "sslmode", NULL};
	const char *const values[] = {conninfo, "none", NULL};
	PGconn *refused = PQconnectStartParams(keywords, values, 1);
	PQconninfoOption *options = PQconninfo(refused);
	bool several = false;

	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
	{
		if (strncmp(option->keyword, "host", 4) == 0 && option->val != NULL &&
			strchr(option->val, ',') != NULL)
			several = true;
	}
	PQconninfoFree(options);
	PQfinish(refused);
	return several;
}

struct db *db_new(struct event_base *base, const struct config *config, const char *conninfo, bool pooled,
				  struct stats *stats)
{
	struct db *db = calloc(1, sizeof(*db));

	if (db == NULL)
		return NULL;
	db->base = base;
	db->config = config;
	db->stats = stats;
	db->pooled = pooled;
	db->conninfo = strdup(conninfo);
	db->several_hosts = db_names_several_hosts(conninfo);
	event_assign(&db->turn, base, -1, 0, on_turn, db);
	event_assign(&db->sweep, base, -1, 0, on_sweep, db);
	batcher_init(&db->batcher, db, &batcher_append_user);
	batcher_init(&db->patient, db, &batcher_patient_user);
	watch_init(&db->watch, db);
	if (db->conninfo == NULL ||
		!lane_init(&db->reads, db, &lane_read_user, (unsigned)config->read_connections, READ_DEPTH) ||
		!lane_init(&db->slow, db, &lane_slow_user, 1, SLOW_DEPTH) ||
		!lane_init(&db->imports, db, &lane_import_user, 1, SLOW_DEPTH) ||
		!lane_init(&db->exports, db, &lane_export_user, 1, SLOW_DEPTH) ||
		!lane_init(&db->lists, db, &lane_list_user, 1, SLOW_DEPTH))
	{
		db_free(db);
		return NULL;
	}
	conn_open(&db->batcher.conn);
	lane_open(&db->reads);
	return db;
}

void db_close(struct db *db)
{
	db->closing = true;
	batcher_free(&db->batcher);
	batcher_free(&db->patient);
	lane_free(&db->reads);
	lane_free(&db->slow);
	lane_free(&db->imports);
	lane_free(&db->exports);
	lane_free(&db->lists);
	watch_free(&db->watch);
	event_del(&db->turn);
	event_del(&db->sweep);
}

void db_free(struct db *db)
{
	if (db == NULL)
		return;
	if (!db->closing)
		db_close(db);
	query_free_spares(db);
	free(db->conninfo);
	db_hosts_free(&db->hosts);
	free(db);
}

struct stats *db_stats(const struct db *db)
{
	return db->stats;
}

const char *db_role_name(unsigned role)
{
	static const char *const names[] = {
		[DB_ROLE_APPEND] = "append",  [DB_ROLE_PATIENT] = "locked", [DB_ROLE_READ] = "read",
		[DB_ROLE_SLOW] = "namespace", [DB_ROLE_IMPORT] = "import",	[DB_ROLE_EXPORT] = "export",
		[DB_ROLE_LIST] = "list",	  [DB_ROLE_WATCH] = "watch",
	};

	_Static_assert(DB_ROLES <= STATS_ROLES, "STATS_ROLES");
	return role < DB_ROLES ? names[role] : NULL;
}

unsigned db_connections(const struct db *db)
{
	const struct lane *lanes[] = {&db->reads, &db->slow, &db->imports, &db->exports, &db->lists};
	unsigned open = (db->batcher.conn.state == CONN_READY) + (db->patient.conn.state == CONN_READY) +
					(db->watch.conn.state == CONN_READY);

	for (size_t i = 0; i < sizeof(lanes) / sizeof(lanes[0]); i++)
	{
		for (unsigned j = 0; j < lanes[i]->nconns; j++)
			open += lanes[i]->conns[j].conn.state == CONN_READY;
	}
	return open;
}

bool db_ready(const struct db *db)
{
	return atomic_load(&db->ready);
}

bool db_readable(const struct db *db)
{
	return atomic_load(&db->readable) > 0;
}

const char *db_unavailable(const struct db *db)
{
	bool writes = db->batcher.conn.state == CONN_READY;

	if (db->closing)
		return "the server is stopping";
	if (writes)
		return "the connection to Postgres was lost before the answer came";
	return db_readable(db) ? "Postgres answers reads, but takes no writes" : "Postgres cannot be reached";
}

unsigned long db_reconnects(const struct db *db)
{
	return db->reconnects;
}

bool db_idle(const struct db *db)
{
	return db->waiting_requests == 0;
}
