/*
 * test_clock.c: points in time are compared with sums, where a difference would wrap around.
 */
#include "base/clock.h"

#include "unit.h"

static void test_a_length_that_is_longer_than_the_clock_has_run_has_not_passed(void **state)
{
	(void)state;
	assert_false(clock_passed(0, 0, 1));
	assert_false(clock_passed(5000, 0, 120000));
	assert_false(clock_passed(5000, 4999, 7200000));
}

static void test_a_length_has_not_passed_since_a_point_that_is_later(void **state)
{
	(void)state;
	assert_false(clock_passed(15000, 15001, 15000)); /* it ticked between two looks */
	assert_false(clock_passed(15000, 15001, 1));
	assert_int_equal(clock_span(15001, 15000), 0);
}

static void test_a_length_has_passed_at_its_end(void **state)
{
	(void)state;
	assert_false(clock_passed(1014, 15, 1000));
	assert_true(clock_passed(1015, 15, 1000));
	assert_true(clock_passed(UINT64_MAX, 15, 1000));
	assert_true(clock_passed(7, 7, 0));
	assert_int_equal(clock_span(15, 1015), 1000);
}

static void test_the_clocks_go_forward(void **state)
{
	uint64_t ms = clock_ms(), us = clock_us();

	(void)state;
	for (int i = 0; i < 1000; i++)
	{
		uint64_t next_ms = clock_ms(), next_us = clock_us();

		assert_true(next_ms >= ms && next_us >= us);
		ms = next_ms;
		us = next_us;
	}
}

static void test_the_machine_started_in_the_past(void **state)
{
	struct timespec boot = clock_boot(), now = clock_calendar();

	(void)state;
	assert_true(boot.tv_sec <= now.tv_sec);
	assert_true(boot.tv_nsec >= 0 && boot.tv_nsec < 1000000000L);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_length_that_is_longer_than_the_clock_has_run_has_not_passed),
		cmocka_unit_test(test_a_length_has_not_passed_since_a_point_that_is_later),
		cmocka_unit_test(test_a_length_has_passed_at_its_end),
		cmocka_unit_test(test_the_clocks_go_forward),
		cmocka_unit_test(test_the_machine_started_in_the_past),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
