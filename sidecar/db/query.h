/*
 * query.h: a request to Postgres that is no append; see internal.h.
 *
 * A request and copies of its parameters are one allocation, owned by the list it is on: waiting or behind of
 * its pool, flying of a connection, or the free list of struct db_shared.  Only the frame of an import is
 * not copied: it stays the caller's.
 */
#ifndef MILLRACE_DB_QUERY_H
#define MILLRACE_DB_QUERY_H

#include "db/site.h"

#define IMPORT_FRAME 1 /* which parameter of an import the frame is */

struct query
{
	STAILQ_ENTRY(query) link; /* of the list that it is on */
	const struct db_statement_info *statement;
	db_query_done done;
	void *arg;
	uint64_t deadline; /* ms */
	struct db_reading reading;
	uint64_t reached;	   /* the session that is known to have reading.min_position; 0: none is */
	uint64_t reach_until;  /* ms; how long one is waited for */
	bool checking;		   /* what is in flight is the question whether the session has it */
	unsigned attempts;	   /* connections lost under it */
	size_t size, capacity; /* of text */
	const char *params[DB_MAX_PARAMS];
	const struct buf *frame; /* of an import: goes as the parameter behind the last of `params` */
	char text[];
};

/* What conn_pool_ask is asked. */
struct query_order
{
	const struct db_statement_info *statement;
	const char *const *params;
	const struct buf *frame; /* of an import, the parameter behind the last */
	struct db_reading reading;
	db_query_done done;
	void *arg;
};

/* ---- query.c: requests and their lists ------------------------------------ */

void query_list_init(struct query_list *list);
void query_push(struct query_list *list, struct query *query);
void query_push_front(struct query_list *list, struct query *query);
struct query *query_pop(struct query_list *list); /* NULL: it is empty */
/* Empties `front` into the beginning of `list`. */
void query_prepend(struct query_list *list, struct query_list *front);

/* NULL: out of memory. */
struct query *query_new(struct db_shared *shared, const struct query_order *order);
void query_recycle(struct db_shared *shared, struct query *query);
size_t query_bytes(const struct query *query);

/*
 * These answer a request that is on no list any more.  query_settle clears the result unless it is taken,
 * query_fail has what Postgres answered.
 */
void query_settle(struct db_shared *shared, struct query *query, struct db_reply *reply);
void query_settle_unavailable(struct db_shared *shared, struct query *query);
void query_settle_gone(struct db_shared *shared, struct query *query);
void query_fail(const struct conn *conn, struct query *query, struct answer *answer);

/* ---- reach.c: reads that are not answered before a position is there -------- */

/* Whether the session of the connection is to be asked first. */
bool reach_is_asked(const struct query *query, const struct conn *conn);
/* Queues that question. */
void reach_queue(struct conn *conn, struct query *query);
/*
 * Takes the answer, which is no error: the request is sent, or waits, or goes to the other pool, if that is
 * there, or fails.
 */
void reach_take(struct conn_pool *pool, const struct conn *conn, struct query *query, struct answer *answer,
				bool other);
/* It goes to the other site, where it must not wait as long. */
void reach_move(const struct db_shared *shared, struct query *query);
/* Those that wait are asked again: all, or those whose time is over. */
void reach_retry(struct conn_pool *pool, uint64_t now, bool all);

#endif
