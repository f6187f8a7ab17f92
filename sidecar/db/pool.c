/*
 * pool.c: reads, namespace calls, imports and exports; see internal.h.
 *
 * A pool is a few connections of one role to one site and the list of requests that wait for one.  Reads are
 * pipelined, those of a loop turn with one sync; a request goes to the connection with the fewest in flight,
 * or to that of its session.  The other pools are one connection each, opened when first needed, with one
 * request in flight, so that a lost connection leaves only that one in doubt.
 */
#include "base/clock.h"
#include "db/query.h"

#include <stdlib.h>

#define SLOW_SHARE 4   /* which part of the queue namespace calls may fill: others must not wait for them */
#define ABSENT_MS 1000 /* so long after it was lost a connection may be back before others are asked */

static void conn_pool_on_ready(struct conn *conn);
static void conn_pool_on_answer(struct conn *conn, struct answer *answer);
static void conn_pool_on_lost(struct conn *conn);

const struct conn_user read_pool_user = {
	.role = DB_ROLE_READ,
	.what = "reads",
	.grouped = true,
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user slow_pool_user = {
	.role = DB_ROLE_SLOW,
	.what = "namespace calls",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user import_pool_user = {
	.role = DB_ROLE_IMPORT,
	.what = "imports",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user export_pool_user = {
	.role = DB_ROLE_EXPORT,
	.what = "exports",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user list_pool_user = {
	.role = DB_ROLE_LIST,
	.what = "lists",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user standby_read_user = {
	.role = DB_ROLE_READ,
	.what = "reads from standbys",
	.grouped = true,
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user standby_export_user = {
	.role = DB_ROLE_EXPORT,
	.what = "exports from standbys",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user standby_list_user = {
	.role = DB_ROLE_LIST,
	.what = "lists from standbys",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

const struct conn_user consume_pool_user = {
	.role = DB_ROLE_CONSUME,
	.what = "consumers",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

/* ---- a pool ------------------------------------------------------------------- */

static struct pooled_conn *least_busy(struct conn_pool *pool)
{
	struct pooled_conn *best = NULL;

	for (unsigned i = 0; i < pool->nconns; i++)
	{
		struct pooled_conn *at = &pool->conns[i];

		if (at->conn.state == CONN_READY && at->conn.in_flight < pool->depth &&
			(best == NULL || at->conn.in_flight < best->conn.in_flight))
			best = at;
	}
	return best;
}

static bool conn_pool_is_ready(const struct conn_pool *pool)
{
	for (unsigned i = 0; i < pool->nconns; i++)
	{
		if (pool->conns[i].conn.state == CONN_READY)
			return true;
	}
	return false;
}

/* The connection of a session; NULL: it is gone. */
static struct pooled_conn *of_session(struct conn_pool *pool, uint64_t session)
{
	for (unsigned i = 0; i < pool->nconns; i++)
	{
		if (pool->conns[i].conn.state == CONN_READY && pool->conns[i].conn.session == session)
			return &pool->conns[i];
	}
	return NULL;
}

/* Whether only the session will do in which what belongs to this was read before. */
static bool is_bound(const struct query *query)
{
	return query->reading.seat > DB_AT_PRIMARY;
}

/* Which connection is to have a request; NULL: none can now, or (*gone) ever. */
static struct pooled_conn *seat_of(struct conn_pool *pool, struct query *query, bool *gone)
{
	uint64_t session = is_bound(query) ? query->reading.seat : query->reached;
	struct pooled_conn *at = session > 0 ? of_session(pool, session) : NULL;

	*gone = at == NULL && is_bound(query);
	if (at == NULL)
		query->reached = 0;
	if (at == NULL && !*gone)
		at = least_busy(pool);
	return at != NULL && at->conn.in_flight < pool->depth ? at : NULL;
}

static void queue_query(struct conn *conn, struct query *query)
{
	static const int formats[DB_MAX_PARAMS] = {[IMPORT_FRAME] = 1};
	int lengths[DB_MAX_PARAMS] = {0};
	struct conn_params params = {.values = query->params};

	if (reach_is_asked(query, conn))
	{
		reach_queue(conn, query);
		return;
	}
	if (query->frame != NULL)
	{
		query->params[IMPORT_FRAME] = query->frame->data;
		lengths[IMPORT_FRAME] = (int)query->frame->len;
		params.lengths = lengths;
		params.formats = formats;
	}
	(void)conn_queue(conn, query->statement, &params);
}

void conn_pool_send(struct conn_pool *pool)
{
	struct query_list rest;
	struct query *query;

	if (STAILQ_EMPTY(&pool->waiting.queries))
		return;
	conn_pool_open(pool);
	query_list_init(&rest);
	/* Without any connection those that are bound to one are told at once. */
	while ((least_busy(pool) != NULL || !conn_pool_is_ready(pool)) &&
		   (query = query_pop(&pool->waiting)) != NULL)
	{
		bool gone;
		struct pooled_conn *to = seat_of(pool, query, &gone);

		if (gone)
			query_settle_gone(pool->site->shared, query);
		else if (to == NULL)
			query_push(&rest, query);
		else
		{
			/* In flight before it is sent: when sending fails, conn_pool_on_lost finds it there. */
			query_push(&to->flying, query);
			queue_query(&to->conn, query);
		}
	}
	query_prepend(&pool->waiting, &rest);
	for (unsigned i = 0; i < pool->nconns; i++)
		conn_sync(&pool->conns[i].conn);
}

static void conn_pool_on_ready(struct conn *conn)
{
	shared_schedule(conn->shared);
}

/* The request is sent again before all others. */
static void send_again(struct conn_pool *pool, struct query *query, struct answer *answer)
{
	answer_clear(answer);
	query->checking = false;
	query_push_front(&pool->waiting, query);
}

static bool is_success(const struct answer *answer)
{
	return answer_status(answer) == ANSWER_ROWS || answer_status(answer) == ANSWER_DONE;
}

static void settle(const struct conn *conn, struct query *query, struct answer *answer)
{
	struct db_reply reply = {
		.status = DB_OK, .seat = conn_seat(conn), .error = {.message = "", .detail = "", .hint = ""}};

	if (query->statement == &db_import_statement)
		shared_tell_commit(conn->shared, query->params[0]);
	reply.answer = answer;
	query_settle(conn->shared, query, &reply);
}

static bool is_other_there(const struct conn_pool *pool)
{
	return pool->other != NULL && conn_pool_is_there(pool->other);
}

/* A namespace that a standby does not have may be one that it does not have yet. */
static bool is_too_new(const struct conn_pool *pool, const struct query *query, const struct answer *answer)
{
	return pool->site->standby && !is_bound(query) &&
		   answer_has_sqlstate(answer, SQLSTATE_NAMESPACE_NOT_FOUND) && is_other_there(pool);
}

static void conn_pool_on_answer(struct conn *conn, struct answer *answer)
{
	struct pooled_conn *from = (struct pooled_conn *)conn;
	struct query *query = query_pop(&from->flying);

	shared_schedule(conn->shared); /* there is room for another one */
	if (is_success(answer) && query->checking)
		reach_take(from->pool, conn, query, answer, is_other_there(from->pool));
	else if (is_success(answer))
		settle(conn, query, answer);
	else if (answer_status(answer) == ANSWER_PASSED_OVER ||
			 (conn_failure(conn, answer) == FAILURE_AGAIN && clock_ms() < query->deadline))
		send_again(from->pool, query, answer);
	else if (is_too_new(from->pool, query, answer))
	{
		reach_move(conn->shared, query);
		send_again(from->pool->other, query, answer);
	}
	else
		query_fail(conn, query, answer);
}

/* What came of the connection that a request was on is not known. */
static void lose_query(struct conn *conn, struct query *query, uint64_t now, struct query_list *again)
{
	query->checking = false;
	query->reached = 0;
	query->attempts += !conn->refused;
	if (is_bound(query))
		query_settle_gone(conn->shared, query);
	else if (query->statement->once || query->deadline <= now || query->attempts >= DB_MAX_LOST)
		query_settle_unavailable(conn->shared, query);
	else
		query_push(again, query);
}

/* What is in flight goes back to the front of those that wait, in order. */
static void conn_pool_on_lost(struct conn *conn)
{
	struct pooled_conn *lost = (struct pooled_conn *)conn;
	struct query_list flying, again;
	struct query *query;
	uint64_t now = clock_ms();

	query_list_init(&flying);
	query_list_init(&again);
	query_prepend(&flying, &lost->flying);
	while ((query = query_pop(&flying)) != NULL)
		lose_query(conn, query, now, &again);
	query_prepend(&lost->pool->waiting, &again);
	shared_schedule(conn->shared);
}

bool conn_pool_is_there(const struct conn_pool *pool)
{
	uint64_t now = clock_ms();

	if (site_readable(pool->site) == 0)
		return false;
	for (unsigned i = 0; i < pool->nconns; i++)
	{
		const struct conn *conn = &pool->conns[i].conn;

		/* Where others of its site are, one that was not needed yet will be. */
		if (conn->state == CONN_READY
				? !conn_is_silent(conn)
				: conn->state == CONN_UNUSED || !clock_passed(now, conn->down_since, ABSENT_MS))
			return true;
	}
	return false;
}

bool conn_pool_sweep(struct conn_pool *pool, uint64_t now)
{
	struct query_list waiting;
	struct query *query;

	reach_retry(pool, now, !pool->site->watch.sent);
	if (conn_pool_is_ready(pool) || STAILQ_EMPTY(&pool->waiting.queries))
		return pool->behind.count > 0;
	query_list_init(&waiting);
	query_prepend(&waiting, &pool->waiting);
	while ((query = query_pop(&waiting)) != NULL)
	{
		if (query->deadline <= now)
			query_settle_unavailable(pool->site->shared, query);
		else
			query_push(&pool->waiting, query);
	}
	return !STAILQ_EMPTY(&pool->waiting.queries) || pool->behind.count > 0;
}

/* Those that may be answered at either site go to the other pool. */
static void hand_over(struct conn_pool *from, struct conn_pool *to)
{
	struct query_list all;
	struct query *query;

	query_list_init(&all);
	query_prepend(&all, &from->waiting);
	query_prepend(&all, &from->behind);
	while ((query = query_pop(&all)) != NULL)
	{
		bool free = query->reading.seat == DB_ANYWHERE;

		if (free)
			reach_move(from->site->shared, query);
		query_push(free ? &to->waiting : &from->waiting, query);
	}
}

void conn_pool_balance(struct conn_pool *pool)
{
	if (pool->other != NULL && pool->waiting.count + pool->behind.count > 0 && !conn_pool_is_there(pool) &&
		conn_pool_is_there(pool->other))
		hand_over(pool, pool->other);
}

/* ---- asking ---------------------------------------------------------------------- */

/* Whether its statements write: then it can't be had while the append connection finds no primary. */
static bool conn_pool_writes(const struct conn_pool *pool)
{
	enum db_role role = pool->conns[0].conn.user->role;

	return role == DB_ROLE_SLOW || role == DB_ROLE_IMPORT;
}

/*
 * An import was let in when it began, and its frame is its own memory: it must not fail half way because
 * others wait.
 */
static bool has_room(const struct conn_pool *pool, const struct query *query)
{
	return query->frame != NULL || (pool->waiting.count + pool->behind.count < pool->most_waiting &&
									shared_has_room(pool->site->shared, query_bytes(query)));
}

/* After a long outage a new request isn't worth the wait that the others had. */
static bool is_hopeless(const struct conn_pool *pool, uint64_t now)
{
	return !conn_pool_is_ready(pool) &&
		   (conn_outage_is_long(&pool->conns[0].conn, now) ||
			(conn_pool_writes(pool) && conn_outage_is_long(pool->site->shared->appends, now)));
}

bool conn_pool_ask(struct conn_pool *pool, const struct query_order *order)
{
	struct db_shared *shared = pool->site->shared;
	struct query *query = query_new(shared, order);
	uint64_t now = clock_ms();

	if (query == NULL)
		return false;
	if (shared->closing || !has_room(pool, query))
	{
		query_recycle(shared, query);
		return false;
	}
	query->deadline = is_hopeless(pool, now) ? now : shared_deadline(shared, now);
	query->reach_until = now + (uint64_t)shared->config->min_position_wait * 1000;
	query_push(&pool->waiting, query);
	shared->waiting_requests++;
	shared->waiting_bytes += query_bytes(query);
	shared_schedule(shared);
	return true;
}

void conn_pool_leave_standbys(struct conn_pool *pool)
{
	for (unsigned i = 0; i < pool->nconns; i++)
	{
		struct conn *conn = &pool->conns[i].conn;

		if (conn->pg != NULL && conn_is_at_standby(conn))
			conn_lose(conn, "it leads to a standby, and the primary is there");
	}
}

void conn_leave_old_history(struct conn *conn)
{
	if (conn->state == CONN_READY && conn_is_of_old_history(conn))
		conn_lose(conn, "the primary is on a later timeline");
}

void conn_pool_leave_old_history(struct conn_pool *pool)
{
	for (unsigned i = 0; i < pool->nconns; i++)
		conn_leave_old_history(&pool->conns[i].conn);
}

/* ---- life --------------------------------------------------------------------------- */

bool conn_pool_init(struct conn_pool *pool, struct db_site *site, const struct conn_user *user,
					unsigned nconns, unsigned depth)
{
	size_t queue = (size_t)site->shared->config->queue_requests;

	*pool = (struct conn_pool){.site = site, .depth = depth, .most_waiting = queue};
	query_list_init(&pool->waiting);
	query_list_init(&pool->behind);
	if (user->role == DB_ROLE_SLOW || user->role == DB_ROLE_LIST)
		pool->most_waiting = (queue + SLOW_SHARE - 1) / SLOW_SHARE;
	pool->conns = calloc(nconns, sizeof(*pool->conns));
	if (pool->conns == NULL)
		return false;
	pool->nconns = nconns;
	for (unsigned i = 0; i < nconns; i++)
	{
		conn_init(&pool->conns[i].conn, site, user);
		pool->conns[i].pool = pool;
		query_list_init(&pool->conns[i].flying);
	}
	return true;
}

void conn_pool_open(struct conn_pool *pool)
{
	for (unsigned i = 0; i < pool->nconns; i++)
		conn_open(&pool->conns[i].conn);
}

void conn_pool_free(struct conn_pool *pool)
{
	struct query *query;

	for (unsigned i = 0; i < pool->nconns; i++)
	{
		conn_close(&pool->conns[i].conn);
		query_prepend(&pool->waiting, &pool->conns[i].flying);
	}
	query_prepend(&pool->waiting, &pool->behind);
	while ((query = query_pop(&pool->waiting)) != NULL)
		query_settle_unavailable(pool->site->shared, query);
	free(pool->conns);
	pool->conns = NULL;
	pool->nconns = 0;
}
