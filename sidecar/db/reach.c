/*
 * reach.c: reads that ask for a position; see query.h.
 *
 * Before such a read its session is asked whether all up to the position is decided and visible there.  What
 * one session has seen it does not lose, so the read then goes to that one.  Where it is not so yet the read
 * waits, and is asked about again when the server tells of another commit (watch.c).  When its time is over
 * it goes to the primary; what is not there either within a second, no one has.
 */
#include "db/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define SECOND_WAIT_MS 1000 /* at the primary: for transactions that were open below the position */

enum reach_column
{
	REACH_REACHED,
	REACH_POSITION, /* up to which all is there */
	REACH_BEYOND,	/* no one has given the position out */
};

static uint64_t wait_ms(const struct db_shared *shared)
{
	return (uint64_t)shared->config->min_position_wait * 1000;
}

bool reach_is_asked(const struct query *query, const struct conn *conn)
{
	return query->reading.min_position > 0 && query->reached != conn->session;
}

/* The first parameter of all that read is the namespace. */
void reach_queue(struct conn *conn, struct query *query)
{
	const char *const values[] = {query->params[0], DB_NUMBER(query->reading.min_position)};
	const struct conn_params params = {.values = values};

	query->checking = true;
	(void)conn_queue(conn, &db_reach_statement, &params);
}

static void settle_not_yet(struct db_shared *shared, struct query *query, int64_t position, bool beyond)
{
	char message[160], details[80];
	struct db_reply reply = {.status = DB_NOT_YET, .error = {.hint = ""}};

	snprintf(message, sizeof(message), "minPosition %" PRId64 " %s %" PRId64, query->reading.min_position,
			 beyond ? "was not given to any message; all is known up to"
					: "is not reached; all is known up to",
			 position);
	snprintf(details, sizeof(details), "{\"minPosition\":%" PRId64 ",\"position\":%" PRId64 "}",
			 query->reading.min_position, position);
	reply.error.message = message;
	reply.error.detail = details;
	query_settle(shared, query, &reply);
}

void reach_move(const struct db_shared *shared, struct query *query)
{
	uint64_t wait = wait_ms(shared);

	query->reached = 0;
	query->reach_until = clock_ms() + (wait < SECOND_WAIT_MS ? wait : SECOND_WAIT_MS);
}

/* It waits until the server has heard of more. */
static void wait_behind(struct conn_pool *pool, struct query *query)
{
	query_push(&pool->behind, query);
	watch_open(&pool->site->watch);
}

void reach_take(struct conn_pool *pool, const struct conn *conn, struct query *query, struct answer *answer,
				bool other)
{
	bool reached = answer_value(answer, 0, REACH_REACHED).bytes[0] == 't';
	bool beyond = answer_value(answer, 0, REACH_BEYOND).bytes[0] == 't';
	int64_t position = strtoll(answer_value(answer, 0, REACH_POSITION).bytes, NULL, 10);
	bool elsewhere = other && pool->site->standby && query->reading.seat == DB_ANYWHERE;

	answer_clear(answer);
	query->checking = false;
	if (reached)
	{
		query->reached = conn->session;
		query_push_front(&pool->waiting, query);
	}
	else if (!beyond && clock_ms() < query->reach_until)
		wait_behind(pool, query);
	else if (elsewhere)
	{
		reach_move(conn->shared, query);
		query_push(&pool->other->waiting, query);
	}
	else
		settle_not_yet(conn->shared, query, position, beyond);
}

void reach_retry(struct conn_pool *pool, uint64_t now, bool all)
{
	struct query_list behind;
	struct query *query;

	if (pool->behind.count == 0)
		return;
	query_list_init(&behind);
	query_prepend(&behind, &pool->behind);
	while ((query = query_pop(&behind)) != NULL)
		query_push(all || query->reach_until <= now ? &pool->waiting : &pool->behind, query);
	shared_schedule(pool->site->shared);
}
