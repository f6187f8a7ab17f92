/*
 * query.c: the requests of the pools, and the lists that they are on; see query.h.
 */
#include "db/query.h"

#include <stdlib.h>
#include <string.h>

#define QUERY_TEXT_MIN 512 /* requests of that size are kept for reuse */
#define MAX_FREE_QUERIES 256

/* ---- lists ---------------------------------------------------------------- */

void query_list_init(struct query_list *list)
{
	STAILQ_INIT(&list->queries);
	list->count = 0;
}

void query_push(struct query_list *list, struct query *query)
{
	STAILQ_INSERT_TAIL(&list->queries, query, link);
	list->count++;
}

void query_push_front(struct query_list *list, struct query *query)
{
	STAILQ_INSERT_HEAD(&list->queries, query, link);
	list->count++;
}

struct query *query_pop(struct query_list *list)
{
	struct query *query = STAILQ_FIRST(&list->queries);

	if (query == NULL)
		return NULL;
	STAILQ_REMOVE_HEAD(&list->queries, link);
	list->count--;
	return query;
}

/* Empties `front` into the beginning of `list`. */
void query_prepend(struct query_list *list, struct query_list *front)
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

void query_recycle(struct db_shared *shared, struct query *query)
{
	if (query->capacity != QUERY_TEXT_MIN || shared->nfree_queries == MAX_FREE_QUERIES)
	{
		free(query);
		return;
	}
	STAILQ_INSERT_HEAD(&shared->free_queries, query, link);
	shared->nfree_queries++;
}

struct query *query_new(struct db_shared *shared, const struct query_order *order)
{
	int nparams = order->statement->nparams - (order->frame != NULL);
	size_t size = params_size(nparams, order->params);
	struct query *query = query_alloc(shared, size);
	char *at;

	if (query == NULL)
		return NULL;
	query->statement = order->statement;
	query->done = order->done;
	query->arg = order->arg;
	query->reading = order->reading;
	query->reached = query->reach_until = 0;
	query->checking = false;
	query->attempts = 0;
	query->size = size;
	query->frame = order->frame;
	at = query->text;
	for (int i = 0; i < nparams; i++)
	{
		size_t len;

		query->params[i] = NULL;
		if (order->params[i] == NULL)
			continue;
		len = strlen(order->params[i]) + 1;
		query->params[i] = memcpy(at, order->params[i], len);
		at += len;
	}
	return query;
}

size_t query_bytes(const struct query *query)
{
	return sizeof(*query) + query->size;
}

void query_settle(struct db_shared *shared, struct query *query, struct db_reply *reply)
{
	shared->waiting_requests--;
	shared->waiting_bytes -= query_bytes(query);
	shared_note_queues(shared); /* before this one's answer, which may report how long they are */
	query->done(query->arg, reply);
	if (reply->answer != NULL)
		answer_clear(reply->answer);
	query_recycle(shared, query);
}

void query_settle_unavailable(struct db_shared *shared, struct query *query)
{
	struct db_reply reply = {
		.status = DB_UNAVAILABLE,
		.error = {.sqlstate = SQLSTATE_CONNECTION_FAILURE,
				  .message = shared_unavailable(shared),
				  .detail = "",
				  .hint = ""},
	};

	query_settle(shared, query, &reply);
}

void query_settle_gone(struct db_shared *shared, struct query *query)
{
	struct db_reply reply = {.status = DB_GONE, .error = {.message = "", .detail = "", .hint = ""}};

	query_settle(shared, query, &reply);
}

void query_fail(const struct conn *conn, struct query *query, struct answer *answer)
{
	struct db_reply reply = {.status = DB_ERROR};

	conn_describe_error(conn, answer, &reply.error);
	query_settle(conn->shared, query, &reply);
	answer_clear(answer); /* the reply pointed into it */
}

void query_free_spares(struct db_shared *shared)
{
	struct query *query;

	while ((query = STAILQ_FIRST(&shared->free_queries)) != NULL)
	{
		STAILQ_REMOVE_HEAD(&shared->free_queries, link);
		free(query);
	}
}
