/*
 * Categories and consumer groups: the vectors of WIRE.md, section 4.
 */
#include "names.h"

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

static void the_group_hash_is_that_of_the_cardinal_id(void **state)
{
	static const struct
	{
		const char *name;
		uint64_t hash;
	} cases[] = {
		{"a-", UINT64_C(3162216497309240828)},
		{"a-1", UINT64_C(4266524885998034046)},
		{"a-1+x", UINT64_C(4266524885998034046)},
		{"a-2", UINT64_C(4026655064267673757)},
		{"a-123", UINT64_C(2318431741638412123)},
		{"a-account", UINT64_C(2132379389342958165)},
		{"b+c-account+1+2-3", UINT64_C(2132379389342958165)},
	};
	uint64_t hash;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		assert_true(name_group_hash(slice_of(cases[i].name), &hash));
		assert_true(hash == cases[i].hash);
	}
}

static void a_name_without_a_dash_is_in_nobodys_share(void **state)
{
	uint64_t hash;

	(void)state;
	assert_false(name_group_hash(slice_of("account"), &hash));
	assert_false(name_group_hash(slice_of(""), &hash));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_category_ends_before_the_first_dash),
		cmocka_unit_test(the_group_hash_is_that_of_the_cardinal_id),
		cmocka_unit_test(a_name_without_a_dash_is_in_nobodys_share),
	};

	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
