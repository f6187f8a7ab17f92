/*
 * test_spelling.c: names that are nearly others.
 */
#include "base/spelling.h"

#include "unit.h"

static bool is_near(const char *given, const char *known)
{
	return spelling_is_near(slice_of(given), known);
}

static void case_and_dashes_do_not_count(void **state)
{
	(void)state;
	assert_true(is_near("batchsize", "batchSize"));
	assert_true(is_near("BATCH_SIZE", "batchSize"));
	assert_true(is_near("--batch-size__", "batchSize"));
	assert_true(is_near("_i_d_", "id"));
}

static void one_edit_or_transposition_is_near(void **state)
{
	(void)state;
	assert_true(is_near("batchSiz", "batchSize"));
	assert_true(is_near("atchSize", "batchSize"));
	assert_true(is_near("batchhSize", "batchSize"));
	assert_true(is_near("batchSizes", "batchSize"));
	assert_true(is_near("botchSize", "batchSize"));
	assert_true(is_near("bacthSize", "batchSize"));
	assert_true(is_near("abtchSize", "batchSize"));
	assert_true(is_near("di", "id"));
	assert_true(is_near("i", "id"));
}

static void two_are_not(void **state)
{
	(void)state;
	assert_false(is_near("batchSi", "batchSize"));
	assert_false(is_near("bacthSizes", "batchSize"));
	assert_false(is_near("bhctaSize", "batchSize"));
	assert_false(is_near("size", "batchSize"));
	assert_false(is_near("", "id"));
	assert_false(is_near("limit", "id"));
	assert_false(is_near("batchSize"
						 "0123456789012345678901234567890123456789",
						 "batchSize"));
	assert_false(spelling_is_near((struct slice){"\0\0", 2}, "id"));
}

static void the_first_near_one_is_the_nearest(void **state)
{
	static const char *const known[] = {"until", "limit", "limits", NULL};
	static const char *const none[] = {NULL};

	(void)state;
	assert_string_equal(spelling_nearest(slice_of("limot"), known), "limit");
	assert_string_equal(spelling_nearest(slice_of("limitt"), known), "limit");
	assert_string_equal(spelling_nearest(slice_of("UNTIL"), known), "until");
	assert_null(spelling_nearest(slice_of("limits"), known));
	assert_null(spelling_nearest(slice_of("since"), known));
	assert_null(spelling_nearest(slice_of("limit"), none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_and_dashes_do_not_count),
		cmocka_unit_test(one_edit_or_transposition_is_near),
		cmocka_unit_test(two_are_not),
		cmocka_unit_test(the_first_near_one_is_the_nearest),
	};

	return cmocka_run_group_tests_name("spelling", tests, NULL, NULL);
}
