/*
 * test_stats.c: what is counted where, and sums over workers.
 */
#include "unit.h"

#include <stdlib.h>

#include "http/id.h"
#include "base/stats.h"

static uint64_t bucket(const struct stats *stats, unsigned i)
{
	return stats_get(&stats->batch_us.buckets[i]);
}

static void test_a_bound_belongs_to_its_own_bucket(void **state)
{
	struct stats *stats = stats_new();
	const struct stats_bounds *bounds = &stats_durations;

	(void)state;
	stats_observe(&stats->batch_us, bounds, 0);
	stats_observe(&stats->batch_us, bounds, bounds->le[0]);
	assert_int_equal(bucket(stats, 0), 2);
	stats_observe(&stats->batch_us, bounds, bounds->le[0] + 1);
	assert_int_equal(bucket(stats, 1), 1);
	stats_observe(&stats->batch_us, bounds, bounds->le[bounds->n - 1]);
	assert_int_equal(bucket(stats, bounds->n - 1), 1);
	stats_observe(&stats->batch_us, bounds, bounds->le[bounds->n - 1] + 1);
	stats_observe(&stats->batch_us, bounds, UINT64_MAX / 2);
	assert_int_equal(bucket(stats, bounds->n), 2);
	free(stats);
}

static void test_bounds_rise(void **state)
{
	const struct stats_bounds *all[] = {&stats_durations, &stats_sizes};

	(void)state;
	for (int i = 0; i < 2; i++)
	{
		assert_true(all[i]->n >= 1 && all[i]->n <= STATS_BUCKETS);
		for (unsigned j = 1; j < all[i]->n; j++)
			assert_true(all[i]->le[j] > all[i]->le[j - 1]);
	}
}

static void test_a_gauge_goes_down_too(void **state)
{
	struct stats *stats = stats_new();

	(void)state;
	stats_add(&stats->imports, 2);
	stats_add(&stats->imports, (uint64_t)-1);
	assert_int_equal(stats_get(&stats->imports), 1);
	stats_set(&stats->imports, 7);
	assert_int_equal(stats_get(&stats->imports), 7);
	free(stats);
}

/* The first value, the last one, and one inside of a histogram; so nothing is left out. */
static void test_a_sum_has_every_value(void **state)
{
	struct stats *sum = stats_new();

	(void)state;
	for (uint64_t worker = 1; worker <= 3; worker++)
	{
		struct stats *stats = stats_new();

		stats_set(&stats->calls[0][0], worker);
		stats_set(&stats->call_us[STATS_METHODS - 1].sum, 10 * worker);
		stats_set(&stats->batch_us.buckets[STATS_BUCKETS], 100 * worker);
		stats_set(&stats->imported, 1000 * worker);
		stats_sum(sum, stats);
		free(stats);
	}
	assert_int_equal(stats_get(&sum->calls[0][0]), 6);
	assert_int_equal(stats_get(&sum->call_us[STATS_METHODS - 1].sum), 60);
	assert_int_equal(stats_get(&sum->batch_us.buckets[STATS_BUCKETS]), 600);
	assert_int_equal(stats_get(&sum->imported), 6000);
	assert_int_equal(stats_get(&sum->connections), 0);
	free(sum);
}

static void test_ids_that_are_made_are_sane_and_differ(void **state)
{
	char ids[100][HTTP_ID_LEN + 1];

	(void)state;
	for (int i = 0; i < 100; i++)
	{
		http_id_make(ids[i]);
		assert_int_equal(strlen(ids[i]), HTTP_ID_LEN);
		assert_true(http_id_is_sane(slice_of(ids[i])));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ids[i], ids[j]);
	}
	assert_false(http_id_is_sane((struct slice){NULL, 0}));
	assert_false(http_id_is_sane((struct slice){"a\0b", 3}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_bound_belongs_to_its_own_bucket),
		cmocka_unit_test(test_bounds_rise),
		cmocka_unit_test(test_a_gauge_goes_down_too),
		cmocka_unit_test(test_a_sum_has_every_value),
		cmocka_unit_test(test_ids_that_are_made_are_sane_and_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
