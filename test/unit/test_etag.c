/*
 * test_etag.c: entity tags, and lists of them: RFC 9110, 8.8.3 and 13.1.2.
 */
#include "http/etag.h"

#include "unit.h"

#define TAG "W/\"85944171f73967e8\"" /* of "foobar" */

static void a_tag_is_the_hash_of_the_bytes(void **state)
{
	char etag[HTTP_ETAG_LEN + 1];

	(void)state;
	http_etag_make(slice_of("foobar"), etag);
	assert_string_equal(etag, TAG);
	assert_int_equal(strlen(etag), HTTP_ETAG_LEN);
	http_etag_make(slice_of(""), etag);
	assert_string_equal(etag, "W/\"cbf29ce484222325\"");
}

static void a_list_names_a_tag_weak_or_strong_and_a_star_every_one(void **state)
{
	static const char *const lists[] = {
		TAG,
		"\"85944171f73967e8\"",
		"\"a\", " TAG,
		"\"a\"," TAG ",\"b\"",
		"\t, ,W/\"a, b\" ," TAG " ",
		"\"\", \"85944171f73967e8\"",
		"*",
		TAG ", and what is none",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		assert_true(http_etag_matches(slice_of(lists[i]), TAG));
}

static void other_lists_and_what_is_none_do_not(void **state)
{
	static const char *const lists[] = {
		"",
		"\"a\"",
		"W/\"\"",
		"85944171f73967e8",
		"w/\"85944171f73967e8\"",
		"\"85944171f73967e8",
		"W/",
		"\"",
		"W/\"",
		"**",
		"\"a\", *",
		"none, " TAG,
		"\"x85944171f73967e8\"",
		"\"85944171f73967e\"",
		"\"a,\"85944171f73967e8\"\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		assert_false(http_etag_matches(slice_of(lists[i]), TAG));
	assert_false(http_etag_matches((struct slice){NULL, 0}, TAG));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tag_is_the_hash_of_the_bytes),
		cmocka_unit_test(a_list_names_a_tag_weak_or_strong_and_a_star_every_one),
		cmocka_unit_test(other_lists_and_what_is_none_do_not),
	};

	return cmocka_run_group_tests_name("etag", tests, NULL, NULL);
}
