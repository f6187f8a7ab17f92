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
		.age_ms = clock_span(conn->state == CONN_READY ? conn->ready_since : conn->down_since, clock_ms()),
		.bytes_in = conn->bytes_in,
		.bytes_out = conn->bytes_out,
		.host = connected ? PQhost(conn->pg) : "",
		.port = connected ? PQport(conn->pg) : "",
		.pid = connected ? PQbackendPID(conn->pg) : 0,
	};
}

void db_walk(const struct db *db, void (*visit)(void *arg, const struct db_connection *connection), void *arg)
{
	const struct batcher *batchers[] = {&db->batcher, &db->deferred};
	const struct conn_pool *pools[] = {&db->reads,	 &db->slow,	 &db->imports,
									   &db->exports, &db->lists, &db->consumers};

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
		{
			const struct conn *conn = &pools[i]->conns[j].conn;
			struct db_connection connection = describe(conn);

			connection.in_flight = conn->in_flight;
			connection.waiting = (unsigned)pools[i]->waiting.count;
			if (conn->state != CONN_UNUSED)
				visit(arg, &connection);
		}
	}
	if (db->watch.conn.state != CONN_UNUSED)
	{
		struct db_connection connection = describe(&db->watch.conn);

		connection.in_flight = db->watch.conn.in_flight;
		visit(arg, &connection);
	}
}
