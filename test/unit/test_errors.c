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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_hint_in_sql_is_not_for_a_client_that_has_none),
		cmocka_unit_test(test_it_is_for_the_operator_of_the_database),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
