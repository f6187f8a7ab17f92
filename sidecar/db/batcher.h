/*
 * batcher.h: the appends of a worker, a batch in flight and those that gather; see internal.h.
 */
#ifndef MILLRACE_DB_BATCHER_H
#define MILLRACE_DB_BATCHER_H

#include "db/conn.h"
#include "db/hold.h"

struct batch;

TAILQ_HEAD(batch_list, batch);

struct batcher
{
	struct conn conn;		  /* first: callbacks get it and cast */
	struct batcher *deferred; /* where requests go that met a locked stream; may be itself */
	struct batch *flight;	  /* sent, or to be sent (again) before all others */
	bool sent;				  /* flight is with Postgres */
	uint64_t sent_us;
	struct batch_list gathering; /* oldest first */
	struct batch_list spares;	 /* empty, memory kept */
	unsigned nspares;
	struct batch *writing; /* between db_append_begin and db_append_end: always the last that gathers */
	size_t mark;		   /* where the request being written begins */
	struct hold hold;
	struct db_part *parts; /* of the reply being delivered */
	size_t nparts;
};

void batcher_init(struct batcher *batcher, struct db_site *primary, const struct conn_user *user,
				  struct batcher *deferred);
void batcher_free(struct batcher *batcher); /* fails what waits */
void batcher_send(struct batcher *batcher);
/* Requests of both kinds. */
void batcher_count(const struct batcher *batcher, unsigned *in_flight, unsigned *waiting);
bool batcher_sweep(struct batcher *batcher, uint64_t now); /* true: something still waits for a connection */

extern const struct conn_user batcher_append_user;
extern const struct conn_user batcher_deferred_user;

/* ---- refuse.c --------------------------------------------------------- */

/* A connection is ready: if it is one for appends that is back, these are held. */
void batch_hold(const struct conn *conn);

#endif
