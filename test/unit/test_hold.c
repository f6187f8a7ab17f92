/*
 * test_hold.c: how many appends a batch waits for, and what else is sent behind it.
 */
#include "db/hold.h"

#include "unit.h"

#define LONGEST_US 200

uint64_t __wrap_clock_us(void);

static uint64_t now_us;
static int overs;

uint64_t __wrap_clock_us(void)
{
	return now_us;
}

static void on_over(void *arg)
{
	overs++;
	event_base_loopbreak(arg);
}

static int begin(void **state)
{
	static struct hold hold;
	struct event_base *base = event_base_new();

	now_us = 1000000;
	overs = 0;
	hold_init(&hold, base, on_over, base);
	*state = &hold;
	return base == NULL;
}

static int end(void **state)
{
	struct hold *hold = *state;

	hold_free(hold);
	event_base_free(hold->base);
	return 0;
}

static void test_who_is_alone_is_never_held_back(void **state)
{
	struct hold *hold = *state;

	assert_false(hold_lasts(hold, 1)); /* nothing was answered yet */
	hold_begin(hold, 1);
	assert_false(hold_lasts(hold, 1));
	assert_false(hold_comes_first(hold));
}

static void test_of_few_all_but_an_eighth_are_waited_for(void **state)
{
	static const unsigned enough[][2] = {{2, 2}, {4, 4}, {7, 7}, {8, 7}, {10, 9}, {16, 14}, {23, 21}};
	struct hold *hold = *state;

	for (size_t i = 0; i < sizeof(enough) / sizeof(enough[0]); i++)
	{
		hold_begin(hold, enough[i][0]);
		assert_true(hold_lasts(hold, enough[i][1] - 1));
		assert_false(hold_lasts(hold, enough[i][1]));
	}
}

static void test_who_comes_back_with_something_else_is_not_waited_for(void **state)
{
	struct hold *hold = *state;

	hold_note_other(hold); /* before the answer: one that was not there */
	hold_begin(hold, 8);
	assert_true(hold_lasts(hold, 6));
	hold_note_other(hold);
	assert_false(hold_lasts(hold, 6));
	assert_true(hold_lasts(hold, 5));
	for (int i = 0; i < 20; i++)
		hold_note_other(hold);
	assert_false(hold_lasts(hold, 1));
}

static void test_of_many_a_third_or_half_are_waited_for_whatever_else_comes(void **state)
{
	struct hold *hold = *state;

	hold_begin(hold, 24);
	assert_true(hold_lasts(hold, 7));
	assert_false(hold_lasts(hold, 8));
	hold_begin(hold, 95);
	assert_false(hold_lasts(hold, 31));
	hold_begin(hold, 96);
	assert_true(hold_lasts(hold, 47));
	hold_begin(hold, 64);
	for (int i = 0; i < 43; i++)
		hold_note_other(hold);
	assert_true(hold_lasts(hold, 20));
	assert_false(hold_lasts(hold, 21));
	hold_begin(hold, 200);
	assert_true(hold_lasts(hold, 99));
	assert_false(hold_lasts(hold, 100));
}

static void test_it_ends_when_its_time_is_over(void **state)
{
	struct hold *hold = *state;

	hold_begin(hold, 8);
	now_us += LONGEST_US - 1;
	assert_true(hold_lasts(hold, 1));
	assert_int_equal(event_base_dispatch(hold->base), 0); /* until the timer says so */
	assert_int_equal(overs, 1);
	assert_false(hold_comes_first(hold));
	now_us += 1;
	assert_false(hold_lasts(hold, 1));
}

static void test_behind_the_batch_of_few_goes_what_reads(void **state)
{
	struct hold *hold = *state;

	hold_begin(hold, 8);
	assert_false(hold_comes_first(hold)); /* nothing is held yet */
	assert_true(hold_lasts(hold, 1));
	assert_true(hold_comes_first(hold));
	hold_end(hold);
	assert_false(hold_comes_first(hold));
	assert_false(hold_lasts(hold, 1)); /* only an answer begins another */
	hold_begin(hold, 24);
	assert_true(hold_lasts(hold, 1));
	assert_false(hold_comes_first(hold));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_who_is_alone_is_never_held_back, begin, end),
		cmocka_unit_test_setup_teardown(test_of_few_all_but_an_eighth_are_waited_for, begin, end),
		cmocka_unit_test_setup_teardown(test_who_comes_back_with_something_else_is_not_waited_for, begin,
										end),
		cmocka_unit_test_setup_teardown(test_of_many_a_third_or_half_are_waited_for_whatever_else_comes,
										begin, end),
		cmocka_unit_test_setup_teardown(test_it_ends_when_its_time_is_over, begin, end),
		cmocka_unit_test_setup_teardown(test_behind_the_batch_of_few_goes_what_reads, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
