/*
 * test_names.c: categories: sidecar/README.md, "Names and consumer groups".
 */
#include "base/names.h"

#include "unit.h"

static void a_category_ends_before_the_first_dash(void **state)
{
	static const char *const cases[][2] = {
		{"a-1", "a"}, {"a", "a"}, {"a-", "a"}, {"a-b-c", "a"}, {"-a", ""}, {"a+b-1", "a+b"}, {"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_true(slice_is(name_category(slice_of(cases[i][0])), cases[i][1]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_category_ends_before_the_first_dash),
	};

	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
