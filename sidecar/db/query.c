/*
 * query.c: reads, namespace calls, imports and exports; see internal.h.
 *
 * A pool is a few connections of one role and the list of requests that wait for one.  Reads are pipelined,
 * those of a loop turn with one sync; a request goes to the connection with the fewest in flight.  The other
 * pools are one connection each, opened when first needed, with one request in flight, so that a lost
 * connection leaves only that one in doubt.
 *
 * A request and copies of its parameters are one allocation, owned by the list it is on: waiting of
 * its pool, flying of a connection, or the free list of struct db_shared.  Only the frame of an import is
 * not copied: it stays the caller's.
 */
#include "base/clock.h"
#include "db/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MAX_PARAMS 15
#define IMPORT_FRAME 1	   /* which parameter of an import the frame is */
#define QUERY_TEXT_MIN 512 /* requests of that size are kept for reuse */
#define MAX_FREE_QUERIES 256
#define SLOW_SHARE 4 /* which part of the queue namespace calls may fill: others must not wait for them */

struct query
{
	STAILQ_ENTRY(query) link; /* of the list that it is on */
	const struct db_statement_info *statement;
	db_query_done done;
	void *arg;
	uint64_t deadline;	   /* ms */
	unsigned attempts;	   /* connections lost under it */
	size_t size, capacity; /* of text */
	const char *params[MAX_PARAMS];
	const struct buf *frame; /* of an import: goes as the parameter behind the last of `params` */
	char text[];
};

static void conn_pool_on_ready(struct conn *conn);
static void conn_pool_on_answer(struct conn *conn, PGresult *result);
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

const struct conn_user consume_pool_user = {
	.role = DB_ROLE_CONSUME,
	.what = "consumers",
	.on_ready = conn_pool_on_ready,
	.on_answer = conn_pool_on_answer,
	.on_lost = conn_pool_on_lost,
};

/* ---- lists ---------------------------------------------------------------- */

static void list_init(struct query_list *list)
{
	STAILQ_INIT(&list->queries);
	list->count = 0;
}

static void list_push(struct query_list *list, struct query *query)
{
	STAILQ_INSERT_TAIL(&list->queries, query, link);
	list->count++;
}

static struct query *list_pop(struct query_list *list)
{
	struct query *query = STAILQ_FIRST(&list->queries);

	if (query == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&list->queries, link);
	list->count--;
	return query;
}

/* Empties `front` into the beginning of `list`. */
static void list_prepend(struct query_list *list, struct query_list *front)
{
	STAILQ_CONCAT(&front->queries, &list->queries);
	STAILQ_CONCAT(&list->queries, &front->queries);
	list->count += front->count;
	front->count = 0;
}

/* ---- requests --------------------------------------------------------------- */

static size_t params_size(int nparams, const char *const *params)
{
	size_t size = 0;

	for (int i = 0; i < nparams; i++)
		size += params[i] ? strlen(params[i]) + 1 : 0;
	return size;
}

static struct query *query_alloc(struct db_shared *shared, size_t size)
{
	struct query *query = STAILQ_FIRST(&shared->free_queries);
	size_t capacity = size < QUERY_TEXT_MIN ? QUERY_TEXT_MIN : size;

	if (size <= QUERY_TEXT_MIN && query != NULL)
	{
		STAILQ_REMOVE_HEAD(&shared->free_queries, link);
		shared->nfree_queries--;
		return query;
	}
	query = malloc(sizeof(*query) + capacity);
	if (query != NULL)
		query->capacity = capacity;
	return query;
}

static void query_recycle(struct db_shared *shared, struct query *query)
{
	if (query->capacity != QUERY_TEXT_MIN || shared->nfree_queries == MAX_FREE_QUERIES)
	{
		free(query);
		return;
	}
	STAILQ_INSERT_HEAD(&shared->free_queries, query, link);
	shared->nfree_queries++;
}

static struct query *query_new(struct db_shared *shared, const struct db_statement_info *statement,
							   const char *const *params, const struct buf *frame)
{
	int nparams = statement->nparams - (frame != NULL);
	size_t size = params_size(nparams, params);
	struct query *query = query_alloc(shared, size);
	char *at;

	if (query == NULL)
		return NULL;
	query->statement = statement;
	query->attempts = 0;
	query->size = size;
	query->frame = frame;
	at = query->text;
	for (int i = 0; i < nparams; i++)
	{
		size_t len;

		query->params[i] = NULL;
		if (params[i] == NULL)
			continue;
		len = strlen(params[i]) + 1;
		query->params[i] = memcpy(at, params[i], len);
		at += len;
	}
	return query;
}

static size_t query_bytes(const struct query *query)
{
	return sizeof(*query) + query->size;
}

/* Answers a request that is on no list any more; clears the result unless it is taken. */
static void settle(struct db_shared *shared, struct query *query, struct db_reply *reply)
{
	shared->waiting_requests--;
	shared->waiting_bytes -= query_bytes(query);
	shared_note_queues(shared); /* before this one's answer, which may report how long they are */
	query->done(query->arg, reply);
	PQclear(reply->result);
	query_recycle(shared, query);
}

static void settle_unavailable(struct db_shared *shared, struct query *query)
{
	struct db_reply reply = {
		.status = DB_UNAVAILABLE,
		.error = {.sqlstate = SQLSTATE_CONNECTION_FAILURE,
				  .message = shared_unavailable(shared),
				  .detail = "",
				  .hint = ""},
	};

	settle(shared, query, &reply);
}

static void settle_error(const struct conn *conn, struct query *query, PGresult *result)
{
	struct db_reply reply = {.status = DB_ERROR};

	conn_describe_error(conn, result, &reply.error);
	settle(conn->shared, query, &reply);
	PQclear(result); /* the reply pointed into it */
}

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

static void queue_query(struct conn *conn, struct query *query)
{
	static const int formats[MAX_PARAMS] = {[IMPORT_FRAME] = 1};
	int lengths[MAX_PARAMS] = {0};
	struct conn_params params = {.values = query->params};

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
	struct pooled_conn *to;

	if (STAILQ_EMPTY(&pool->waiting.queries))
		return;
	conn_pool_open(pool);
	while (!STAILQ_EMPTY(&pool->waiting.queries) && (to = least_busy(pool)) != NULL)
	{
		struct query *query = list_pop(&pool->waiting);

		/* In flight before it is sent: when sending fails, conn_pool_on_lost finds it there. */
		list_push(&to->flying, query);
		queue_query(&to->conn, query);
	}
	for (unsigned i = 0; i < pool->nconns; i++)
		conn_sync(&pool->conns[i].conn);
}

static void conn_pool_on_ready(struct conn *conn)
{
	shared_schedule(conn->shared);
}

/* The request is sent again before all others. */
static void send_again(struct conn_pool *pool, struct query *query, PGresult *result)
{
	PQclear(result);
	STAILQ_INSERT_HEAD(&pool->waiting.queries, query, link);
	pool->waiting.count++;
}

static void conn_pool_on_answer(struct conn *conn, PGresult *result)
{
	struct pooled_conn *from = (struct pooled_conn *)conn;
	struct db_shared *shared = conn->shared;
	struct query *query = list_pop(&from->flying);
	struct db_reply reply = {.status = DB_OK, .error = {.message = "", .detail = "", .hint = ""}};

	shared_schedule(shared); /* there is room for another one */
	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
	{
		if (query->statement == &db_import_statement)
			shared_tell_commit(shared, query->params[0]);
		reply.result = result;
		settle(shared, query, &reply);
	}
	else if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED ||
			 (conn_failure(conn, result) == FAILURE_AGAIN && clock_ms() < query->deadline))
		send_again(from->pool, query, result);
	else
		settle_error(conn, query, result);
}

/* What is in flight goes back to the front of those that wait, in order. */
static void conn_pool_on_lost(struct conn *conn)
{
	struct pooled_conn *lost = (struct pooled_conn *)conn;
	struct query_list flying, again;
	struct query *query;
	uint64_t now = clock_ms();

	list_init(&flying);
	list_init(&again);
	list_prepend(&flying, &lost->flying);
	while ((query = list_pop(&flying)) != NULL)
	{
		query->attempts += !conn->refused;
		if (query->statement->once || query->deadline <= now || query->attempts >= DB_MAX_LOST)
			settle_unavailable(conn->shared, query);
		else
			list_push(&again, query);
	}
	list_prepend(&lost->pool->waiting, &again);
	shared_schedule(conn->shared);
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

bool conn_pool_sweep(struct conn_pool *pool, uint64_t now)
{
	struct query_list waiting;
	struct query *query;

	if (conn_pool_is_ready(pool) || STAILQ_EMPTY(&pool->waiting.queries))
		return false;
	list_init(&waiting);
	list_prepend(&waiting, &pool->waiting);
	while ((query = list_pop(&waiting)) != NULL)
	{
		if (query->deadline <= now)
			settle_unavailable(pool->shared, query);
		else
			list_push(&pool->waiting, query);
	}
	return !STAILQ_EMPTY(&pool->waiting.queries);
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
	return query->frame != NULL ||
		   (pool->waiting.count < pool->most_waiting && shared_has_room(pool->shared, query_bytes(query)));
}

/* After a long outage a new request isn't worth the wait that the others had. */
static bool is_hopeless(const struct conn_pool *pool, uint64_t now)
{
	return !conn_pool_is_ready(pool) &&
		   (conn_outage_is_long(&pool->conns[0].conn, now) ||
			(conn_pool_writes(pool) && conn_outage_is_long(pool->shared->appends, now)));
}

bool conn_pool_ask(struct conn_pool *pool, const struct db_statement_info *statement,
				   const char *const *params, const struct buf *frame, db_query_done done, void *arg)
{
	struct db_shared *shared = pool->shared;
	struct query *query = query_new(shared, statement, params, frame);
	uint64_t now = clock_ms();

	if (query == NULL)
		return false;
	if (shared->closing || !has_room(pool, query))
	{
		query_recycle(shared, query);
		return false;
	}
	query->done = done;
	query->arg = arg;
	query->deadline = is_hopeless(pool, now) ? now : shared_deadline(shared, now);
	list_push(&pool->waiting, query);
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

/* ---- life --------------------------------------------------------------------------- */

void query_free_spares(struct db_shared *shared)
{
	struct query *query;

	while ((query = STAILQ_FIRST(&shared->free_queries)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&shared->free_queries, link);
		free(query);
	}
}

bool conn_pool_init(struct conn_pool *pool, struct db_shared *shared, const struct conn_user *user,
					unsigned nconns, unsigned depth)
{
	size_t queue = (size_t)shared->config->queue_requests;

	*pool = (struct conn_pool){.shared = shared, .depth = depth, .most_waiting = queue};
	list_init(&pool->waiting);
	if (user->role == DB_ROLE_SLOW || user->role == DB_ROLE_LIST)
		pool->most_waiting = (queue + SLOW_SHARE - 1) / SLOW_SHARE;
	pool->conns = calloc(nconns, sizeof(*pool->conns));
	if (pool->conns == NULL)
		return false;
	pool->nconns = nconns;
	for (unsigned i = 0; i < nconns; i++)
	{
		conn_init(&pool->conns[i].conn, shared, user);
		pool->conns[i].pool = pool;
		list_init(&pool->conns[i].flying);
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
		list_prepend(&pool->waiting, &pool->conns[i].flying);
	}
	while ((query = list_pop(&pool->waiting)) != NULL)
		settle_unavailable(pool->shared, query);
	free(pool->conns);
	pool->conns = NULL;
	pool->nconns = 0;
}
