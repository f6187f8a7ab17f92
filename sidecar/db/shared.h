/*
 * shared.h: what all connections of a worker and all that wait for them have in common; see internal.h.
 */
#ifndef MILLRACE_DB_SHARED_H
#define MILLRACE_DB_SHARED_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/config.h"
#include "base/stats.h"
#include "db/db.h"

/* A request whose connection was lost this many times under it is taken for the cause, and fails. */
#define DB_MAX_LOST 10

struct conn;
struct db_site;
struct query;

STAILQ_HEAD(query_queue, query);

/* What all connections of a worker and all that wait for them have in common.  Owned by struct db. */
struct db_shared
{
	struct event_base *base;
	const struct config *config;
	struct stats *stats; /* the worker's */
	bool pooled;		 /* sessions are lent for single transactions */
	bool closing;
	_Atomic bool ready;			/* the append connection is up and not silent */
	_Atomic bool was_ready;		/* it was, once */
	_Atomic unsigned readable;	/* connections for reads that are ready and not silent, at any site */
	unsigned long reconnects;	/* of those for reads */
	uint64_t sessions;			/* the number of the last one */
	unsigned long returns;		/* the same, and that for appends */
	const struct conn *appends; /* the append connection */
	bool primary_found;			/* by it, in this loop turn: reads are to leave standbys */
	int64_t timeline;			/* that it found last; 0: none yet */
	bool timeline_changed;		/* in this loop turn: reads are to leave standbys that are on an older one */
	struct event turn;			/* the end of this loop turn: everything that gathered is sent */
	bool turn_scheduled;
	size_t waiting_requests, waiting_bytes; /* not yet answered */
	size_t noted_requests, noted_bytes;		/* of those, in the stats */
	struct query_queue free_queries;
	unsigned nfree_queries;
	db_committed committed; /* NULL: none */
	void *committed_arg;
	void (*returned)(void *arg); /* NULL: none */
	void *returned_arg;
	bool held; /* appends, until db_go_on */
};

void shared_schedule(struct db_shared *shared);
void shared_note_queues(struct db_shared *shared); /* in the stats */
/* True when one more request of that size fits the queues. */
bool shared_has_room(const struct db_shared *shared, size_t bytes);
/* When a request that arrives now on a connection that is down since then gives up waiting. */
uint64_t shared_deadline(const struct db_shared *shared, uint64_t now);
/* Messages were committed to the namespace. */
void shared_tell_commit(const struct db_shared *shared, const char *namespace_name);
/* A connection is ready: counts it where it is back. */
void shared_note_return(const struct conn *conn);
/* Why a request is not answered, for its client. */
const char *shared_unavailable(const struct db_shared *shared);

#endif
