/*
 * db_walk: what there is to tell of each connection to Postgres; see db.h.
 */
#include "base/clock.h"
#include "db/internal.h"

static const char *state_name(const struct conn *conn)
{
	switch (conn->state)
	{
		case CONN_PAUSED:
			return "lost";
		case CONN_CONNECTING:
			return "connecting";
		case CONN_SETUP:
			return "setting up";
		case CONN_READY:
			return conn->in_flight > 0 ? "busy" : "idle";
		default:
			return "unused";
	}
}

static struct db_connection describe(const struct conn *conn)
{
	bool connected = conn->state == CONN_SETUP || conn->state == CONN_READY;

	return (struct db_connection){
		.what = conn->user->what,
		.state = state_name(conn),
		.is_ready = conn->state == CONN_READY,
		.age_ms = clock_span(conn->state == CONN_READY ? conn->ready_since : conn->down_since, clock_ms()),
		.bytes_in = conn->bytes_in,
		.bytes_out = conn->bytes_out,
		.host = connected ? PQhost(conn->pg) : "",
		.port = connected ? PQport(conn->pg) : "",
		.pid = connected ? PQbackendPID(conn->pg) : 0,
	};
}

static void visit_used(const struct conn *conn, size_t waiting,
					   void (*visit)(void *arg, const struct db_connection *connection), void *arg)
{
	struct db_connection connection;

	if (conn->state == CONN_UNUSED)
		return;
	connection = describe(conn);
	connection.in_flight = conn->in_flight;
	connection.waiting = (unsigned)waiting;
	visit(arg, &connection);
}

void db_walk(const struct db *db, void (*visit)(void *arg, const struct db_connection *connection), void *arg)
{
	const struct batcher *batchers[] = {&db->batcher, &db->deferred};
	const struct conn_pool *pools[] = {
		&db->primary.reads, &db->slow,		&db->imports,		&db->primary.exports,
		&db->primary.lists, &db->consumers, &db->standby.reads, &db->standby.exports,
		&db->standby.lists};
	const struct watch *watches[] = {&db->primary.watch, &db->standby.watch};

	for (size_t i = 0; i < sizeof(batchers) / sizeof(batchers[0]); i++)
	{
		struct db_connection connection = describe(&batchers[i]->conn);

		batcher_count(batchers[i], &connection.in_flight, &connection.waiting);
		if (batchers[i]->conn.state != CONN_UNUSED)
			visit(arg, &connection);
	}
	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
	{
		for (unsigned j = 0; j < pools[i]->nconns; j++)
			visit_used(&pools[i]->conns[j].conn, pools[i]->waiting.count + pools[i]->behind.count, visit,
					   arg);
	}
	for (size_t i = 0; i < sizeof(watches) / sizeof(watches[0]); i++)
		visit_used(&watches[i]->conn, 0, visit, arg);
}

static void count_ready(void *arg, const struct db_connection *connection)
{
	*(unsigned *)arg += connection->is_ready;
}

unsigned db_connections(const struct db *db)
{
	unsigned open = 0;

	db_walk(db, count_ready, &open);
	return open;
}
