/*
 * sweeper: removes what the policies of namespaces no longer want; see ns.setRetention.
 *
 * One worker of a server has one.  Of several servers that share a database whichever comes first does it.
 */
#ifndef MILLRACE_SWEEPER_H
#define MILLRACE_SWEEPER_H

struct config;
struct places;
struct event_base;
struct stats;
struct sweeper;

/* Sweeps every --sweep-interval, in the loop of `base`.  NULL: out of memory. */
struct sweeper *sweeper_new(struct event_base *base, const struct config *config, struct places *places,
							struct stats *stats);
/* Begins no more steps. */
void sweeper_stop(struct sweeper *sweeper);
/* After the db was closed; NULL is allowed. */
void sweeper_free(struct sweeper *sweeper);

#endif
