/*
 * stats: what a worker counts.
 *
 * A struct stats has one writer, its worker; any thread may read it, value by value, at any time.  So a value
 * is written by a plain load and store (relaxed: no lock, no fence), and what was read is right for each
 * value, if not for all at one instant.  A leaf: what is counted under which name is said in admin/metrics.c.
 */
#ifndef MILLRACE_STATS_H
#define MILLRACE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t stats_value;

/* Bounds of the tables; the files that fill them assert that they are enough. */
#define STATS_METHODS 64  /* the last one: what no method has for a name */
#define STATS_CODES 32	  /* of errors; 0: none */
#define STATS_ROUTES 10	  /* the last one: no path of ours */
#define STATS_STATUSES 24 /* of HTTP; the last one: any other */
#define STATS_ROLES 10	  /* of connections to Postgres */
#define STATS_STATES 8	  /* of subscriptions */

/* What removed messages. */
enum stats_removed
{
	REMOVED_BY_TRUNCATE,
	REMOVED_BY_REMOVE,
	REMOVED_BY_SWEEP,
	REMOVED_BY_ARCHIVE,
	STATS_REMOVED
};

#define STATS_BUCKETS 17

/* Upper bounds of the buckets, inclusive; behind them is one more without a bound. */
struct stats_bounds
{
	unsigned n;
	uint64_t le[STATS_BUCKETS];
};

struct stats_histogram
{
	stats_value buckets[STATS_BUCKETS + 1]; /* each counts only what is in no smaller one */
	stats_value sum;
};

extern const struct stats_bounds stats_durations; /* us, 100 us to 30 s */
extern const struct stats_bounds stats_sizes;	  /* 1 to 1000 */

struct stats
{
	_Alignas(64) stats_value calls[STATS_METHODS][STATS_CODES];
	struct stats_histogram call_us[STATS_METHODS];
	stats_value messages_appended;
	stats_value messages_redacted;

	stats_value requests[STATS_ROUTES][STATS_STATUSES];
	stats_value connections, accepted, turned_away;
	stats_value bytes_in, bytes_out;

	struct stats_histogram batch_requests;
	struct stats_histogram batch_us; /* from the statement to the answer that its commit is done */
	stats_value queue_requests, queue_bytes;
	stats_value parked; /* requests that met a locked stream */

	stats_value postgres[STATS_ROLES];	 /* connections that are ready */
	stats_value reconnects[STATS_ROLES]; /* became ready again */
	stats_value standby;				 /* 1: reads go to a standby */

	stats_value claims_given, claims_settled, claims_expired, claims_fenced; /* of consumers */
	stats_value messages_failed;
	stats_value removed[STATS_REMOVED];

	stats_value imports, exports; /* running; their limits are of these */
	stats_value imported;
};

/* ---- by the worker ---------------------------------------------------------- */

static inline uint64_t stats_get(const stats_value *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static inline void stats_set(stats_value *value, uint64_t to)
{
	atomic_store_explicit(value, to, memory_order_relaxed);
}

/* To take away, add the negative number. */
static inline void stats_add(stats_value *value, uint64_t more)
{
	stats_set(value, stats_get(value) + more);
}

static inline void stats_observe(struct stats_histogram *histogram, const struct stats_bounds *bounds,
								 uint64_t observed)
{
	unsigned i = 0;

	while (i < bounds->n && observed > bounds->le[i])
		i++;
	stats_add(&histogram->buckets[i], 1);
	stats_add(&histogram->sum, observed);
}

/* ---- by readers -------------------------------------------------------------- */

/* NULL: out of memory. */
struct stats *stats_new(void);
/* Adds every value of `from`, histograms and gauges alike. */
void stats_sum(struct stats *to, const struct stats *from);

#endif
