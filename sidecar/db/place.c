/*
 * place.c: where reads are answered; see internal.h.
 *
 * With --read-database a worker has two places.  What only reads messages goes to a standby of that one, as
 * long as one of its connections for reads is ready and not silent; else to the primary, and back.  What
 * must know the latest, as whether a token is right, goes to the primary, and to a standby while that is
 * away.  So a request is answered when either is there.
 */
#include <string.h>

#include "base/clock.h"
#include "db/query.h"

#define READ_DEPTH 16 /* in flight on one connection; the rest waits for whichever is free first */
#define BULK_DEPTH 1

bool place_init(struct db_place *place, struct db_shared *shared, const char *conninfo, bool standby)
{
	unsigned nreads = (unsigned)shared->config->read_connections;

	place->shared = shared;
	place->standby = standby;
	place->conninfo = strdup(conninfo);
	place->several_hosts = db_names_several_hosts(conninfo);
	watch_init(&place->watch, place);
	return place->conninfo != NULL &&
		   conn_pool_init(&place->reads, place, standby ? &standby_read_user : &read_pool_user, nreads,
						  READ_DEPTH) &&
		   conn_pool_init(&place->exports, place, standby ? &standby_export_user : &export_pool_user, 1,
						  BULK_DEPTH) &&
		   conn_pool_init(&place->lists, place, standby ? &standby_list_user : &list_pool_user, 1,
						  BULK_DEPTH);
}

void place_free(struct db_place *place)
{
	if (place->shared == NULL)
		return;
	conn_pool_free(&place->reads);
	conn_pool_free(&place->exports);
	conn_pool_free(&place->lists);
	watch_free(&place->watch);
}

/* The server has told of a commit. */
static void retry(struct db_place *place)
{
	uint64_t now = clock_ms();

	place->told = false;
	reach_retry(&place->reads, now, true);
	reach_retry(&place->exports, now, true);
	reach_retry(&place->lists, now, true);
}

void place_send(struct db_place *place)
{
	if (place->told)
		retry(place);
	conn_pool_send(&place->reads);
	conn_pool_send(&place->exports);
	conn_pool_send(&place->lists);
	watch_send(&place->watch);
}

bool place_sweep(struct db_place *place, uint64_t now)
{
	bool waiting = conn_pool_sweep(&place->reads, now);

	waiting = conn_pool_sweep(&place->exports, now) || waiting;
	return conn_pool_sweep(&place->lists, now) || waiting;
}

void place_leave_standbys(struct db_place *place)
{
	conn_pool_leave_standbys(&place->reads);
	conn_pool_leave_standbys(&place->lists);
}

struct conn_pool *place_pool(struct db_place *place, enum db_role role)
{
	switch (role)
	{
		case DB_ROLE_READ:
			return &place->reads;
		case DB_ROLE_EXPORT:
			return &place->exports;
		case DB_ROLE_LIST:
			return &place->lists;
		default:
			return NULL;
	}
}

void place_pair(struct db_place *one, struct db_place *other)
{
	one->reads.other = &other->reads;
	one->exports.other = &other->exports;
	one->lists.other = &other->lists;
}

void place_balance(struct db_place *place)
{
	conn_pool_balance(&place->reads);
	conn_pool_balance(&place->exports);
	conn_pool_balance(&place->lists);
}
