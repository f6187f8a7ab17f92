/*
 * test_allocations.c: profiles of allocations: what gperftools wrote, and what becomes of it.
 */
#include "unit.h"

#include "admin/allocations.h"

static const char written[] = "heap profile:     12:     4096 [   700:   238000] @ heapprofile\n"
							  "    10:     4000 [   600:   200000] @ 0x55d0c8a1b2c3 0x55d0c8a1c0de\n"
							  "     0:        0 [   100:    38000] @ 0x55d0c8a1b2c4\n"
							  "\n"
							  "MAPPED_LIBRARIES:\n"
							  "55d0c8a00000-55d0c8a10000 r--p 00000000 fe:00 12 /usr/bin/[odd] name\n";

static void check_profile(const char *profile, enum allocations which, const char *expected)
{
	struct buf out = {0};

	allocations_write(&out, profile, which);
	buf_add(&out, "", 1);
	assert_false(out.failed);
	assert_string_equal(out.data, expected);
	buf_free(&out);
}

static void what_is_in_use_stays_as_it_was_written(void **state)
{
	(void)state;
	check_profile(written, ALLOCATIONS_IN_USE, written);
}

static void all_allocations_take_the_place_of_those_in_use(void **state)
{
	(void)state;
	check_profile(written, ALLOCATIONS_ALL,
				  "heap profile:    700:   238000 [   700:   238000] @ heapprofile\n"
				  "   600:   200000 [   600:   200000] @ 0x55d0c8a1b2c3 0x55d0c8a1c0de\n"
				  "   100:    38000 [   100:    38000] @ 0x55d0c8a1b2c4\n"
				  "\n"
				  "MAPPED_LIBRARIES:\n"
				  "55d0c8a00000-55d0c8a10000 r--p 00000000 fe:00 12 /usr/bin/[odd] name\n");
}

static void what_is_no_profile_passes_through(void **state)
{
	static const char *const texts[] = {"",
										"heap profile:",
										"[",
										"]\n[\nMAPPED_LIBRARIES:",
										"MAPPED_LIBRARIES:\n",
										"heap profile: 1: 2 [3: 4"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		check_profile(texts[i], ALLOCATIONS_IN_USE, texts[i]);
		check_profile(texts[i], ALLOCATIONS_ALL, texts[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_use_stays_as_it_was_written),
		cmocka_unit_test(all_allocations_take_the_place_of_those_in_use),
		cmocka_unit_test(what_is_no_profile_passes_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
