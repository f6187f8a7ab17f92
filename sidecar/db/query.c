/*
 * query.c: reads, namespace calls, imports and exports; see internal.h.
 *
 * A lane is a few connections of one role and the list of requests that wait for one.  Reads are pipelined,
 * those of a loop turn with one sync; a request goes to the connection with the fewest in flight.  The other
 * lanes are one connection each, opened when first needed, with one request in flight, so that a lost
 * connection leaves only that one in doubt.
 *
 * A request and copies of its parameters are one allocation, owned by the list it is on: waiting of
 * its lane, flying of a connection, or the free list of struct db_shared.  Only the frame of an import is
 * not copied: it stays the caller's.
 */
#include "base/clock.h"
#include "db/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MAX_PARAMS 13
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

static void lane_on_ready(struct conn *conn);
static void lane_on_answer(struct conn *conn, PGresult *result);
static void lane_on_lost(struct conn *conn);

const struct conn_user lane_read_user = {
	.role = DB_ROLE_READ,
	.what = "reads",
	.grouped = true,
	.on_ready = lane_on_ready,
	.on_answer = lane_on_answer,
	.on_lost = lane_on_lost,
};

const struct conn_user lane_slow_user = {
	.role = DB_ROLE_SLOW,
	.what = "namespace calls",
	.on_ready = lane_on_ready,
	.on_answer = lane_on_answer,
	.on_lost = lane_on_lost,
};

const struct conn_user lane_import_user = {
	.role = DB_ROLE_IMPORT,
	.what = "imports",
	.on_ready = lane_on_ready,
	.on_answer = lane_on_answer,
	.on_lost = lane_on_lost,
};

const struct conn_user lane_export_user = {
	.role = DB_ROLE_EXPORT,
	.what = "exports",
	.on_ready = lane_on_ready,
	.on_answer = lane_on_answer,
	.on_lost = lane_on_lost,
};

const struct conn_user lane_list_user = {
	.role = DB_ROLE_LIST,
	.what = "lists",
	.on_ready = lane_on_ready,
	.on_answer = lane_on_answer,
	.on_lost = lane_on_lost,
};

const struct conn_user lane_consume_user = {
	.role = DB_ROLE_CONSUME,
	.what = "consumers",
	.on_ready = lane_on_ready,
	.on_answer = lane_on_answer,
	.on_lost = lane_on_lost,
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
	shared_note_queues(shared); /* who asks how long they are must not find himself there */
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

/* ---- a lane ------------------------------------------------------------------- */

static struct lane_conn *least_busy(struct lane *lane)
{
	struct lane_conn *best = NULL;

	for (unsigned i = 0; i < lane->nconns; i++)
	{
		struct lane_conn *at = &lane->conns[i];

		if (at->conn.state == CONN_READY && at->conn.in_flight < lane->depth &&
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

void lane_send(struct lane *lane)
{
	struct lane_conn *to;

	if (STAILQ_EMPTY(&lane->waiting.queries))
		return;
	lane_open(lane);
	while (!STAILQ_EMPTY(&lane->waiting.queries) && (to = least_busy(lane)) != NULL)
	{
		struct query *query = list_pop(&lane->waiting);

		/* In flight before it is sent: when sending fails, lane_on_lost finds it there. */
		list_push(&to->flying, query);
		queue_query(&to->conn, query);
	}
	for (unsigned i = 0; i < lane->nconns; i++)
		conn_sync(&lane->conns[i].conn);
}

static void lane_on_ready(struct conn *conn)
{
	shared_schedule(conn->shared);
}

/* The request is sent again before all others. */
static void send_again(struct lane *lane, struct query *query, PGresult *result)
{
	PQclear(result);
	STAILQ_INSERT_HEAD(&lane->waiting.queries, query, link);
	lane->waiting.count++;
}

static void lane_on_answer(struct conn *conn, PGresult *result)
{
	struct lane_conn *from = (struct lane_conn *)conn;
	struct db_shared *shared = conn->shared;
	struct query *query = list_pop(&from->flying);
	struct db_reply reply = {.status = DB_OK, .error = {.message = "", .detail = "", .hint = ""}};

	shared_schedule(shared); /* there is room for another one */
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
	{
		if (query->statement == &db_import_statement)
			shared_tell_commit(shared, query->params[0]);
		reply.result = result;
		settle(shared, query, &reply);
	}
	else if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED ||
			 (conn_failure(conn, result) == FAILURE_AGAIN && clock_ms() < query->deadline))
		send_again(from->lane, query, result);
	else
		settle_error(conn, query, result);
}

/* What is in flight goes back to the front of those that wait, in order. */
static void lane_on_lost(struct conn *conn)
{
	struct lane_conn *lost = (struct lane_conn *)conn;
	struct query_list flying, again;
	struct query *query;
	uint64_t now = clock_ms();

	list_init(&flying);
	list_init(&again);
	list_prepend(&flying, &lost->flying);
	while ((query = list_pop(&flying)) != NULL)
	{
		if (query->statement->once || query->deadline <= now || ++query->attempts >= DB_MAX_ATTEMPTS)
			settle_unavailable(conn->shared, query);
		else
			list_push(&again, query);
	}
	list_prepend(&lost->lane->waiting, &again);
	shared_schedule(conn->shared);
}

static bool lane_is_ready(const struct lane *lane)
{
	for (unsigned i = 0; i < lane->nconns; i++)
	{
		if (lane->conns[i].conn.state == CONN_READY)
			return true;
	}
	return false;
}

bool lane_sweep(struct lane *lane, uint64_t now)
{
	struct query_list waiting;
	struct query *query;

	if (lane_is_ready(lane) || STAILQ_EMPTY(&lane->waiting.queries))
		return false;
	list_init(&waiting);
	list_prepend(&waiting, &lane->waiting);
	while ((query = list_pop(&waiting)) != NULL)
	{
		if (query->deadline <= now)
			settle_unavailable(lane->shared, query);
		else
			list_push(&lane->waiting, query);
	}
	return !STAILQ_EMPTY(&lane->waiting.queries);
}

/* ---- asking ---------------------------------------------------------------------- */

/* Where appends find nobody who takes writes, neither does it. */
static bool lane_writes(const struct lane *lane)
{
	enum db_role role = lane->conns[0].conn.user->role;

	return role == DB_ROLE_SLOW || role == DB_ROLE_IMPORT;
}

/*
 * An import was let in when it began, and its frame is its own memory: it must not fail half way because
 * others wait.
 */
static bool has_room(const struct lane *lane, const struct query *query)
{
	return query->frame != NULL ||
		   (lane->waiting.count < lane->most_waiting && shared_has_room(lane->shared, query_bytes(query)));
}

/* After a long outage a new request isn't worth the wait that the others had. */
static bool is_hopeless(const struct lane *lane, uint64_t now)
{
	return !lane_is_ready(lane) && (conn_outage_is_long(&lane->conns[0].conn, now) ||
									(lane_writes(lane) && conn_outage_is_long(lane->shared->appends, now)));
}

bool lane_ask(struct lane *lane, const struct db_statement_info *statement, const char *const *params,
			  const struct buf *frame, db_query_done done, void *arg)
{
	struct db_shared *shared = lane->shared;
	struct query *query = query_new(shared, statement, params, frame);
	uint64_t now = clock_ms();

	if (query == NULL)
		return false;
	if (shared->closing || !has_room(lane, query))
	{
		query_recycle(shared, query);
		return false;
	}
	query->done = done;
	query->arg = arg;
	query->deadline = is_hopeless(lane, now) ? now : shared_deadline(shared, now);
	list_push(&lane->waiting, query);
	shared->waiting_requests++;
	shared->waiting_bytes += query_bytes(query);
	shared_schedule(shared);
	return true;
}

void lane_leave_standbys(struct lane *lane)
{
	for (unsigned i = 0; i < lane->nconns; i++)
	{
		struct conn *conn = &lane->conns[i].conn;

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

bool lane_init(struct lane *lane, struct db_shared *shared, const struct conn_user *user, unsigned nconns,
			   unsigned depth)
{
	size_t queue = (size_t)shared->config->queue_requests;

	*lane = (struct lane){.shared = shared, .depth = depth, .most_waiting = queue};
	list_init(&lane->waiting);
	if (user->role == DB_ROLE_SLOW || user->role == DB_ROLE_LIST)
		lane->most_waiting = (queue + SLOW_SHARE - 1) / SLOW_SHARE;
	lane->conns = calloc(nconns, sizeof(*lane->conns));
	if (lane->conns == NULL)
		return false;
	lane->nconns = nconns;
	for (unsigned i = 0; i < nconns; i++)
	{
		conn_init(&lane->conns[i].conn, shared, user);
		lane->conns[i].lane = lane;
		list_init(&lane->conns[i].flying);
	}
	return true;
}

void lane_open(struct lane *lane)
{
	for (unsigned i = 0; i < lane->nconns; i++)
		conn_open(&lane->conns[i].conn);
}

void lane_free(struct lane *lane)
{
	struct query *query;

	for (unsigned i = 0; i < lane->nconns; i++)
	{
		conn_close(&lane->conns[i].conn);
		list_prepend(&lane->waiting, &lane->conns[i].flying);
	}
	while ((query = list_pop(&lane->waiting)) != NULL)
		settle_unavailable(lane->shared, query);
	free(lane->conns);
	lane->conns = NULL;
	lane->nconns = 0;
}
