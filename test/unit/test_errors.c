/*
 * test_errors.c: what a client is told of what Postgres said.
 */
#include "unit.h"

#include "base/errors.h"

static const char *details(const char *sqlstate, const char *hint)
{
	static struct error error;

	error_from_sqlstate(&error, sqlstate, "something", hint, 7);
	return error.details;
}

/* A hint such as "SET millrace.namespace" is of no use to a client of HTTP. */
static void test_a_hint_in_sql_is_not_for_a_client_that_has_none(void **state)
{
	(void)state;
	assert_string_equal(details("MR003", "Create it with millrace.create_namespace()."), "");
	assert_string_equal(details("MR009", "It is a number of messages, or -1 for all."), "");
	assert_string_equal(details("40001", "Repeat the transaction."), "");
}

static void test_it_is_for_the_operator_of_the_database(void **state)
{
	(void)state;
	assert_string_equal(details("MR010", "Restore the table."),
						"{\"sqlstate\":\"MR010\",\"pid\":7,\"hint\":\"Restore the table.\"}");
	assert_string_equal(details("XX000", ""), "{\"sqlstate\":\"XX000\",\"pid\":7}");
}

/* Names that the details have no room for are left out, and the numbers stay. */
static void test_a_match_tells_names_that_fit(void **state)
{
	struct error error = {0};
	char name[sizeof(error.details)];

	(void)state;
	error_set_match(&error, 7, 9, "order-\"1\"", "placed");
	assert_string_equal(error.details,
						"{\"after\":7,\"position\":9,\"stream\":\"order-\\\"1\\\"\",\"type\":\"placed\"}");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	error_set_match(&error, 7, INT64_MAX, name, "placed");
	assert_string_equal(error.details, "{\"after\":7,\"position\":9223372036854775807}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_match_tells_names_that_fit),
		cmocka_unit_test(test_a_hint_in_sql_is_not_for_a_client_that_has_none),
		cmocka_unit_test(test_it_is_for_the_operator_of_the_database),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
