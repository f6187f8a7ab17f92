/*
 * site.c: where reads are answered; see internal.h.
 *
 * With --read-database a worker has two sites.  What only reads messages goes to a standby of that one, as
 * long as one of its connections for reads is ready and not silent; else to the primary, and back.  What
 * must know the latest, as whether a token is right, goes to the primary, and to a standby while that is
 * away.  So a request is answered when either is there.
 */
#include <string.h>

#include "base/clock.h"
#include "db/internal.h"
#include "db/query.h"

#define READ_DEPTH 16 /* in flight on one connection; the rest waits for whichever is free first */
#define BULK_DEPTH 1

bool site_init(struct db_site *site, struct db_shared *shared, const char *conninfo, bool standby)
{
	unsigned nreads = (unsigned)shared->config->read_connections;

	site->shared = shared;
	site->standby = standby;
	site->conninfo = strdup(conninfo);
	site->several_hosts = db_names_several_hosts(conninfo);
	watch_init(&site->watch, site);
	return site->conninfo != NULL &&
		   conn_pool_init(&site->reads, site, standby ? &standby_read_user : &read_pool_user, nreads,
						  READ_DEPTH) &&
		   conn_pool_init(&site->exports, site, standby ? &standby_export_user : &export_pool_user, 1,
						  BULK_DEPTH) &&
		   conn_pool_init(&site->lists, site, standby ? &standby_list_user : &list_pool_user, 1, BULK_DEPTH);
}

void site_free(struct db_site *site)
{
	if (site->shared == NULL)
		return;
	conn_pool_free(&site->reads);
	conn_pool_free(&site->exports);
	conn_pool_free(&site->lists);
	watch_free(&site->watch);
}

/* The server has told of a commit. */
static void retry(struct db_site *site)
{
	uint64_t now = clock_ms();

	site->told = false;
	reach_retry(&site->reads, now, true);
	reach_retry(&site->exports, now, true);
	reach_retry(&site->lists, now, true);
}

void site_send(struct db_site *site)
{
	if (site->told)
		retry(site);
	conn_pool_send(&site->reads);
	conn_pool_send(&site->exports);
	conn_pool_send(&site->lists);
	watch_send(&site->watch);
}

bool site_sweep(struct db_site *site, uint64_t now)
{
	bool waiting = conn_pool_sweep(&site->reads, now);

	waiting = conn_pool_sweep(&site->exports, now) || waiting;
	return conn_pool_sweep(&site->lists, now) || waiting;
}

void site_leave_standbys(struct db_site *site)
{
	conn_pool_leave_standbys(&site->reads);
	conn_pool_leave_standbys(&site->lists);
}

void site_leave_old_history(struct db_site *site)
{
	conn_pool_leave_old_history(&site->reads);
	conn_pool_leave_old_history(&site->exports);
	conn_pool_leave_old_history(&site->lists);
	conn_leave_old_history(&site->watch.conn);
}

struct conn_pool *site_pool(struct db_site *site, enum db_role role)
{
	switch (role)
	{
		case DB_ROLE_READ:
			return &site->reads;
		case DB_ROLE_EXPORT:
			return &site->exports;
		case DB_ROLE_LIST:
			return &site->lists;
		default:
			return NULL;
	}
}

void site_pair(struct db_site *one, struct db_site *other)
{
	one->reads.other = &other->reads;
	one->exports.other = &other->exports;
	one->lists.other = &other->lists;
}

void site_balance(struct db_site *site)
{
	conn_pool_balance(&site->reads);
	conn_pool_balance(&site->exports);
	conn_pool_balance(&site->lists);
}
