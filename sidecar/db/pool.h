/*
 * pool.h: the pools of connections for all requests but appends; see internal.h.
 */
#ifndef MILLRACE_DB_POOL_H
#define MILLRACE_DB_POOL_H

#include "db/conn.h"

#define DB_MAX_PARAMS 15 /* of a statement */

struct query_list
{
	struct query_queue queries;
	size_t count;
};

struct pooled_conn
{
	struct conn conn; /* first: callbacks get it and cast */
	struct conn_pool *pool;
	struct query_list flying;
};

struct conn_pool
{
	struct db_site *site;
	struct conn_pool *other; /* of the same role at the other site; NULL: there is none */
	struct pooled_conn *conns;
	unsigned nconns;
	unsigned depth; /* most requests in flight on one connection */
	struct query_list waiting;
	struct query_list behind; /* ask for a position that is not there yet */
	size_t most_waiting;	  /* beyond it: overloaded */
};

struct query_order;

bool conn_pool_init(struct conn_pool *pool, struct db_site *site, const struct conn_user *user,
					unsigned nconns, unsigned depth);
void conn_pool_open(struct conn_pool *pool);
void conn_pool_free(struct conn_pool *pool); /* fails what waits */
void conn_pool_send(struct conn_pool *pool);
/* Puts a request on the pool.  False: there is no room for it. */
bool conn_pool_ask(struct conn_pool *pool, const struct query_order *order);
/* Whether what is asked of it now is answered soon. */
bool conn_pool_is_there(const struct conn_pool *pool);
/* Hands what waits to the other pool, where this one is not there and that one is. */
void conn_pool_balance(struct conn_pool *pool);
void conn_pool_leave_standbys(struct conn_pool *pool);
/* Loses one that is of an old history (standby.c), and each such one of a pool. */
void conn_leave_old_history(struct conn *conn);
void conn_pool_leave_old_history(struct conn_pool *pool);
bool conn_pool_sweep(struct conn_pool *pool, uint64_t now); /* true: something still waits for a connection */

void query_free_spares(struct db_shared *shared);

extern const struct conn_user read_pool_user;
extern const struct conn_user slow_pool_user;
extern const struct conn_user import_pool_user;
extern const struct conn_user export_pool_user;
extern const struct conn_user list_pool_user;
extern const struct conn_user consume_pool_user;
extern const struct conn_user standby_read_user, standby_export_user, standby_list_user;

#endif
