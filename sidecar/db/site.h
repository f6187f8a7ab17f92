/*
 * site.h: where reads are answered, and the wait for what others commit there; see internal.h.
 */
#ifndef MILLRACE_DB_SITE_H
#define MILLRACE_DB_SITE_H

#include "db/hosts.h"
#include "db/pool.h"

/* ---- watch.c ----------------------------------------------------------- */

struct watch
{
	struct conn conn;	/* first: callbacks get it and cast */
	db_watch_done done; /* NULL: no wait is under way */
	void *arg;
	bool heard; /* what the last answer told */
	bool refused;
	bool sent;
	uint64_t sent_ms;
	char asker[24]; /* a number of its own */
};

void watch_init(struct watch *watch, struct db_site *site);
void watch_open(struct watch *watch);
void watch_send(struct watch *watch);
void watch_free(struct watch *watch); /* a wait that is under way ends without a callback */

/* ---- site.c ------------------------------------------------------------- */

/*
 * Of one cluster, where reads are answered: at --database, its primary, to which all else goes, too, or at
 * --read-database, its standbys.  Which cluster it is nobody asks here: that is a place (places.h).  Owned by
 * struct db.
 */
struct db_site
{
	struct db_shared *shared;
	char *conninfo;		   /* NULL: there is no such site */
	bool standby;		   /* it is --read-database: only standbys will do */
	struct db_hosts hosts; /* which one the next attempt begins with */
	bool several_hosts;	   /* reads too must then ask for the primary, or they may miss the newest appends */
	_Atomic unsigned readable; /* connections for reads that are ready and not silent */
	struct conn_pool reads, exports, lists;
	struct watch watch;
	bool told; /* by the watch, in this loop turn: reads that ask for a position may find it */
};

/* False: out of memory. */
bool site_init(struct db_site *site, struct db_shared *shared, const char *conninfo, bool standby);
void site_free(struct db_site *site); /* fails what waits */
void site_send(struct db_site *site);
bool site_sweep(struct db_site *site, uint64_t now); /* true: something still waits */
/* Now that the appends have found the primary. */
void site_leave_standbys(struct db_site *site);
/* Now that they have found another one than before. */
void site_leave_old_history(struct db_site *site);
/* The pool of a role; NULL: such statements go nowhere else than to --database. */
struct conn_pool *site_pool(struct db_site *site, enum db_role role);
/* From any thread. */
static inline unsigned site_readable(const struct db_site *site)
{
	return atomic_load(&site->readable);
}

/* Whether reads wait there for a position. */
static inline bool site_has_behind(const struct db_site *site)
{
	return site->reads.behind.count + site->exports.behind.count + site->lists.behind.count > 0;
}

/* What waits at the one may go to the other. */
void site_pair(struct db_site *one, struct db_site *other);
void site_balance(struct db_site *site);

/* Where a request was answered, as a site that one that belongs to it can be bound to. */
static inline uint64_t conn_seat(const struct conn *conn)
{
	return conn->site->standby ? conn->session : DB_AT_PRIMARY;
}

#endif
