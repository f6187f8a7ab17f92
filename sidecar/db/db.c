/*
 * db: the life of a worker's connections to Postgres; see db.h and internal.h.
 *
 * `turn` is an event that the calls of db.h activate.  libevent runs it after everything that was
 * already active, so it is the end of the loop turn: what arrived together is sent together.
 */
#include "base/clock.h"
#include "db/internal.h"
#include "db/query.h"

#include <stdlib.h>
#include <string.h>

#define SLOW_DEPTH 1
#define CONSUME_CONNECTIONS 2
#define SWEEP_MS 100

static bool has_standby(const struct db *db)
{
	return db->standby.conninfo != NULL;
}

/* What waits where nobody is goes where somebody is. */
static void balance(struct db *db)
{
	if (!has_standby(db))
		return;
	site_balance(&db->primary);
	site_balance(&db->standby);
}

/* Fails what has waited too long, and comes back as long as something waits. */
static void sweep(struct db *db)
{
	static const struct timeval pause = {.tv_usec = SWEEP_MS * 1000L};
	uint64_t now = clock_ms();
	bool waiting = batcher_sweep(&db->batcher, now);

	balance(db);
	waiting = batcher_sweep(&db->deferred, now) || waiting;
	waiting = site_sweep(&db->primary, now) || waiting;
	waiting = conn_pool_sweep(&db->slow, now) || waiting;
	waiting = conn_pool_sweep(&db->imports, now) || waiting;
	waiting = conn_pool_sweep(&db->consumers, now) || waiting;
	if (has_standby(db))
		waiting = site_sweep(&db->standby, now) || waiting;
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
	site_leave_standbys(&db->primary);
	if (db->shared.timeline_changed && has_standby(db))
		site_leave_old_history(&db->standby);
	db->shared.timeline_changed = false;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	(void)fd;
	(void)what;
	db->shared.turn_scheduled = false;
	leave_standbys(db);
	balance(db);
	batcher_send(&db->batcher);
	batcher_send(&db->deferred);
	if (!hold_comes_first(&db->batcher.hold))
		site_send(&db->primary);
	conn_pool_send(&db->slow);
	conn_pool_send(&db->imports);
	conn_pool_send(&db->consumers);
	if (has_standby(db))
		site_send(&db->standby);
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
		buf_printf(error, "--%s%s%s is not a connection string or URI", setting, file != NULL ? "-file " : "",
				   file != NULL ? file : "");
	if (!right && (secret || reason == NULL)) /* libpq shows what it cannot read */
		buf_add_str(error, "; there may be a password in it, so it is not shown");
	else if (!right)
		buf_printf(error, ": %.*s", (int)strcspn(reason, "\n"), reason);
	PQfreemem(reason);
	PQconninfoFree(options);
	return right;
}

/* What goes to --database needs that site first.  False: out of memory. */
static bool init_sites(struct db *db, const char *conninfo, const char *standby)
{
	bool ok = site_init(&db->primary, &db->shared, conninfo, false);

	batcher_init(&db->batcher, &db->primary, &batcher_append_user, &db->deferred);
	batcher_init(&db->deferred, &db->primary, &batcher_deferred_user, &db->deferred);
	if (!ok || standby == NULL)
		return ok;
	if (!site_init(&db->standby, &db->shared, standby, true))
		return false;
	site_pair(&db->primary, &db->standby);
	site_pair(&db->standby, &db->primary);
	return true;
}

struct db *db_new(struct event_base *base, const struct config *config, const struct db_reached *reached,
				  struct stats *stats)
{
	struct db *db = calloc(1, sizeof(*db));
	struct db_site *primary;
	struct db_shared *shared;

	if (db == NULL)
		return NULL;
	shared = &db->shared;
	primary = &db->primary;
	shared->base = base;
	shared->config = config;
	shared->stats = stats;
	shared->pooled = reached->pooled;
	shared->sessions = DB_AT_PRIMARY;
	STAILQ_INIT(&shared->free_queries);
	shared->appends = &db->batcher.conn;
	event_assign(&shared->turn, base, -1, 0, on_turn, db);
	event_assign(&db->sweep, base, -1, 0, on_sweep, db);
	if (!init_sites(db, reached->conninfo, reached->standbys) ||
		!conn_pool_init(&db->slow, primary, &slow_pool_user, 1, SLOW_DEPTH) ||
		!conn_pool_init(&db->imports, primary, &import_pool_user, 1, SLOW_DEPTH) ||
		!conn_pool_init(&db->consumers, primary, &consume_pool_user, CONSUME_CONNECTIONS, SLOW_DEPTH))
	{
		db_free(db);
		return NULL;
	}
	conn_open(&db->batcher.conn);
	conn_pool_open(&primary->reads);
	if (has_standby(db))
		conn_pool_open(&db->standby.reads);
	return db;
}

void db_close(struct db *db)
{
	db->shared.closing = true;
	batcher_free(&db->batcher);
	batcher_free(&db->deferred);
	conn_pool_free(&db->slow);
	conn_pool_free(&db->imports);
	conn_pool_free(&db->consumers);
	site_free(&db->primary);
	site_free(&db->standby);
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
	free(db->primary.conninfo);
	db_hosts_free(&db->primary.hosts);
	free(db->standby.conninfo);
	db_hosts_free(&db->standby.hosts);
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

bool db_ready(const struct db *db)
{
	return atomic_load(&db->shared.ready);
}

bool db_readable(const struct db *db)
{
	return atomic_load(&db->shared.readable) > 0;
}

bool db_reads_from_standby(const struct db *db)
{
	return site_readable(&db->standby) > 0;
}

bool db_has_standby(const struct db *db)
{
	return has_standby(db);
}

const char *db_unavailable(const struct db *db)
{
	return shared_unavailable(&db->shared);
}

uint64_t db_outage_ms(const struct db *db)
{
	return db_readable(db) ? 0 : clock_span(db->primary.reads.conns[0].conn.down_since, clock_ms());
}

void db_reach_by(struct db *db, const char *conninfo)
{
	struct db_site *primary = &db->primary;
	char *copy = strdup(conninfo);

	if (copy == NULL)
		return;
	free(primary->conninfo);
	primary->conninfo = copy;
	primary->several_hosts = db_names_several_hosts(conninfo);
	db_hosts_free(&primary->hosts);
	primary->hosts = (struct db_hosts){0};
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

/* The pool of a statement that goes to --database. */
static struct conn_pool *pool_at_primary(struct db *db, const struct db_statement_info *statement)
{
	struct conn_pool *pool = site_pool(&db->primary, statement->role);

	if (pool != NULL)
		return pool;
	switch (statement->role)
	{
		case DB_ROLE_IMPORT:
			return &db->imports;
		case DB_ROLE_CONSUME:
			return &db->consumers;
		default:
			return &db->slow;
	}
}

/* What is bound to a session of the other site goes there, whether it is there still or not. */
static struct conn_pool *pool_of(struct db *db, const struct db_statement_info *statement, uint64_t seat)
{
	struct conn_pool *standby = has_standby(db) ? site_pool(&db->standby, statement->role) : NULL;

	if (standby != NULL && !db_is_of_primary(statement) &&
		(seat > DB_AT_PRIMARY || (seat == DB_ANYWHERE && conn_pool_is_there(standby))))
		return standby;
	return pool_at_primary(db, statement);
}

bool db_ask(struct db *db, const struct db_statement_info *statement, const char *const *params,
			db_query_done done, void *arg)
{
	return db_read(db, statement, params, &(struct db_reading){.seat = DB_ANYWHERE}, done, arg);
}

bool db_read(struct db *db, const struct db_statement_info *statement, const char *const *params,
			 const struct db_reading *reading, db_query_done done, void *arg)
{
	const struct query_order order = {
		.statement = statement, .params = params, .reading = *reading, .done = done, .arg = arg};

	hold_note_other(&db->batcher.hold);
	return conn_pool_ask(pool_of(db, statement, reading->seat), &order);
}

bool db_import(struct db *db, const char *namespace_name, const struct buf *frame, bool trial,
			   db_query_done done, void *arg)
{
	const struct query_order order = {
		.statement = trial ? &db_import_trial_statement : &db_import_statement,
		.params = &namespace_name,
		.frame = frame,
		.done = done,
		.arg = arg,
	};

	return frame->len <= INT32_MAX && conn_pool_ask(&db->imports, &order);
}
