/*
 * db: the life of a worker's connections to Postgres; see db.h and internal.h.
 *
 * `turn` is an event that the calls of db.h activate.  libevent runs it after everything that was
 * already active, so it is the end of the loop turn: what arrived together is sent together.
 */
#include "base/clock.h"
#include "db/internal.h"

#include <stdlib.h>
#include <string.h>

#define READ_DEPTH 16 /* in flight on one connection; the rest waits for whichever is free first */
#define SLOW_DEPTH 1
#define CONSUME_CONNECTIONS 2
#define SWEEP_MS 100

/* Fails what has waited too long, and comes back as long as something waits. */
static void sweep(struct db *db)
{
	static const struct timeval pause = {.tv_usec = SWEEP_MS * 1000L};
	uint64_t now = clock_ms();
	bool waiting = batcher_sweep(&db->batcher, now);

	waiting = batcher_sweep(&db->deferred, now) || waiting;
	waiting = conn_pool_sweep(&db->reads, now) || waiting;
	waiting = conn_pool_sweep(&db->slow, now) || waiting;
	waiting = conn_pool_sweep(&db->imports, now) || waiting;
	waiting = conn_pool_sweep(&db->exports, now) || waiting;
	waiting = conn_pool_sweep(&db->lists, now) || waiting;
	waiting = conn_pool_sweep(&db->consumers, now) || waiting;
	shared_note_queues(&db->shared);
	if (waiting && !event_pending(&db->sweep, EV_TIMEOUT, NULL))
		event_add(&db->sweep, &pause);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sweep(arg);
}

/* Before anything is sent: a read must find what is appended from now on. */
static void leave_standbys(struct db *db)
{
	if (!db->shared.primary_found)
		return;
	db->shared.primary_found = false;
	conn_pool_leave_standbys(&db->reads);
	conn_pool_leave_standbys(&db->lists);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	(void)fd;
	(void)what;
	db->shared.turn_scheduled = false;
	leave_standbys(db);
	batcher_send(&db->batcher);
	batcher_send(&db->deferred);
	conn_pool_send(&db->reads);
	conn_pool_send(&db->slow);
	conn_pool_send(&db->imports);
	conn_pool_send(&db->exports);
	conn_pool_send(&db->lists);
	conn_pool_send(&db->consumers);
	watch_send(&db->watch);
	shared_note_queues(&db->shared);
	if (!event_pending(&db->sweep, EV_TIMEOUT, NULL))
		sweep(db);
}

bool db_check_conninfo(const char *setting, const char *conninfo, const char *file, struct buf *error)
{
	char *reason = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &reason);
	bool secret = file != NULL || strstr(conninfo, "password") != NULL || strchr(conninfo, '@') != NULL;
	bool right = options != NULL;

	if (!right)
		buf_printf(error, "%s%s%s is not a connection string or URI", setting, file != NULL ? "-file " : "",
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
 * libpq alone knows what a connection string, the environment and a service file come to together.  It tells
 * of a connection that it refuses to begin, too, as one with such an sslmode.
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
	struct db_shared *shared;

	if (db == NULL)
		return NULL;
	shared = &db->shared;
	shared->base = base;
	shared->config = config;
	shared->stats = stats;
	shared->pooled = pooled;
	shared->conninfo = strdup(conninfo);
	STAILQ_INIT(&shared->free_queries);
	shared->several_hosts = db_names_several_hosts(conninfo);
	shared->appends = &db->batcher.conn;
	event_assign(&shared->turn, base, -1, 0, on_turn, db);
	event_assign(&db->sweep, base, -1, 0, on_sweep, db);
	batcher_init(&db->batcher, shared, &batcher_append_user, &db->deferred);
	batcher_init(&db->deferred, shared, &batcher_deferred_user, &db->deferred);
	watch_init(&db->watch, shared);
	if (shared->conninfo == NULL ||
		!conn_pool_init(&db->reads, shared, &read_pool_user, (unsigned)config->read_connections,
						READ_DEPTH) ||
		!conn_pool_init(&db->slow, shared, &slow_pool_user, 1, SLOW_DEPTH) ||
		!conn_pool_init(&db->imports, shared, &import_pool_user, 1, SLOW_DEPTH) ||
		!conn_pool_init(&db->exports, shared, &export_pool_user, 1, SLOW_DEPTH) ||
		!conn_pool_init(&db->lists, shared, &list_pool_user, 1, SLOW_DEPTH) ||
		!conn_pool_init(&db->consumers, shared, &consume_pool_user, CONSUME_CONNECTIONS, SLOW_DEPTH))
	{
		db_free(db);
		return NULL;
	}
	conn_open(&db->batcher.conn);
	conn_pool_open(&db->reads);
	return db;
}

void db_close(struct db *db)
{
	db->shared.closing = true;
	batcher_free(&db->batcher);
	batcher_free(&db->deferred);
	conn_pool_free(&db->reads);
	conn_pool_free(&db->slow);
	conn_pool_free(&db->imports);
	conn_pool_free(&db->exports);
	conn_pool_free(&db->lists);
	conn_pool_free(&db->consumers);
	watch_free(&db->watch);
	event_del(&db->shared.turn);
	event_del(&db->sweep);
}

void db_free(struct db *db)
{
	if (db == NULL)
		return;
	if (!db->shared.closing)
		db_close(db);
	query_free_spares(&db->shared);
	free(db->shared.conninfo);
	db_hosts_free(&db->shared.hosts);
	free(db);
}

void db_on_commit(struct db *db, db_committed committed, void *arg)
{
	db->shared.committed = committed;
	db->shared.committed_arg = arg;
}

struct stats *db_stats(const struct db *db)
{
	return db->shared.stats;
}

const char *db_role_name(unsigned role)
{
	static const char *const names[] = {
		[DB_ROLE_APPEND] = "append",  [DB_ROLE_DEFERRED] = "locked", [DB_ROLE_READ] = "read",
		[DB_ROLE_SLOW] = "namespace", [DB_ROLE_IMPORT] = "import",	 [DB_ROLE_EXPORT] = "export",
		[DB_ROLE_LIST] = "list",	  [DB_ROLE_WATCH] = "watch",	 [DB_ROLE_CONSUME] = "consume",
	};

	_Static_assert(DB_ROLES <= STATS_ROLES, "STATS_ROLES");
	_Static_assert(DB_ROLES - 2 + CONSUME_CONNECTIONS == DB_OTHER_CONNECTIONS, "DB_OTHER_CONNECTIONS");
	return role < DB_ROLES ? names[role] : NULL;
}

unsigned db_connections(const struct db *db)
{
	const struct conn_pool *pools[] = {&db->reads,	 &db->slow,	 &db->imports,
									   &db->exports, &db->lists, &db->consumers};
	unsigned open = (db->batcher.conn.state == CONN_READY) + (db->deferred.conn.state == CONN_READY) +
					(db->watch.conn.state == CONN_READY);

	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
	{
		for (unsigned j = 0; j < pools[i]->nconns; j++)
			open += pools[i]->conns[j].conn.state == CONN_READY;
	}
	return open;
}

bool db_ready(const struct db *db)
{
	return atomic_load(&db->shared.ready);
}

bool db_readable(const struct db *db)
{
	return atomic_load(&db->shared.readable) > 0;
}

const char *db_unavailable(const struct db *db)
{
	return shared_unavailable(&db->shared);
}

uint64_t db_outage_ms(const struct db *db)
{
	return db_readable(db) ? 0 : clock_span(db->reads.conns[0].conn.down_since, clock_ms());
}

void db_reach_by(struct db *db, const char *conninfo)
{
	struct db_shared *shared = &db->shared;
	char *copy = strdup(conninfo);

	if (copy == NULL)
		return;
	free(shared->conninfo);
	shared->conninfo = copy;
	shared->several_hosts = db_names_several_hosts(conninfo);
	db_hosts_free(&shared->hosts);
	shared->hosts = (struct db_hosts){0};
}

unsigned long db_returns(const struct db *db)
{
	return db->shared.returns;
}

unsigned long db_reconnects(const struct db *db)
{
	return db->shared.reconnects;
}

bool db_idle(const struct db *db)
{
	return db->shared.waiting_requests == 0;
}

/* ---- asking ---------------------------------------------------------------------- */

static struct conn_pool *conn_pool_of(struct db *db, const struct db_statement_info *statement)
{
	switch (statement->role)
	{
		case DB_ROLE_READ:
			return &db->reads;
		case DB_ROLE_IMPORT:
			return &db->imports;
		case DB_ROLE_EXPORT:
			return &db->exports;
		case DB_ROLE_LIST:
			return &db->lists;
		case DB_ROLE_CONSUME:
			return &db->consumers;
		default:
			return &db->slow;
	}
}

bool db_ask(struct db *db, const struct db_statement_info *statement, const char *const *params,
			db_query_done done, void *arg)
{
	return conn_pool_ask(conn_pool_of(db, statement), statement, params, NULL, done, arg);
}

bool db_import(struct db *db, const char *namespace_name, const struct buf *frame, bool trial,
			   db_query_done done, void *arg)
{
	const struct db_statement_info *info = trial ? &db_import_trial_statement : &db_import_statement;

	return frame->len <= INT32_MAX &&
		   conn_pool_ask(conn_pool_of(db, info), info, &namespace_name, frame, done, arg);
}
