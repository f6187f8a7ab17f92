/*
 * admin_consumers: what /metrics says of consumers, as Postgres told it.
 */
#ifndef MILLRACE_ADMIN_CONSUMERS_H
#define MILLRACE_ADMIN_CONSUMERS_H

#include <stdbool.h>

#include "base/buf.h"
#include "db/calls.h"

#define CONSUMER_STATES 3
#define CONSUMER_FAMILIES (1 + CONSUMER_FIGURES)

/* What one worker's database told; zeros before, and buffers to be freed. */
struct consumer_metrics
{
	bool known;							 /* it told */
	bool more;							 /* there are more than may be named */
	unsigned shown;						 /* so many consumers */
	struct buf lines[CONSUMER_FAMILIES]; /* of each metric, finished */
};

/* As db_consumer_metrics() does, with the bounds of a scrape. */
bool consumer_metrics_ask(struct db *db, db_query_done done, void *arg);
void consumer_metrics_take(struct consumer_metrics *metrics, const struct db_reply *reply);
/* Writes them; NULL: nobody told. */
void consumer_metrics_write(struct buf *out, const struct consumer_metrics *metrics);
void consumer_metrics_free(struct consumer_metrics *metrics);

/* As the inside of a label's value. */
void admin_add_label(struct buf *out, const char *text);

#endif
