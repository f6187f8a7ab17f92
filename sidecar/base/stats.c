/*
 * stats.c: the bounds of the histograms, and sums over workers (see stats.h).
 */
#include "base/stats.h"

#include <stdlib.h>
#include <string.h>

const struct stats_bounds stats_durations = {
	.n = 17,
	.le = {100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000,
		   5000000, 10000000, 30000000},
};

const struct stats_bounds stats_sizes = {
	.n = 10,
	.le = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000},
};

struct stats *stats_new(void)
{
	struct stats *stats = aligned_alloc(_Alignof(struct stats), sizeof(*stats));

	if (stats != NULL)
		memset(stats, 0, sizeof(*stats));
	return stats;
}

/* A struct stats is nothing but values. */
void stats_sum(struct stats *to, const struct stats *from)
{
	stats_value *sum = (stats_value *)to;
	const stats_value *value = (const stats_value *)from;

	for (size_t i = 0; i < sizeof(*to) / sizeof(*sum); i++)
		stats_add(&sum[i], stats_get(&value[i]));
}
