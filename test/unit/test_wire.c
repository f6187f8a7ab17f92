/*
 * test_wire.c: the messages that a statement is sent with, whole although the socket takes them in pieces;
 * what is received is test/fuzz/fuzz_wire.c's.
 */
#include "db/wire.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

#define LARGE 3000000

static const char bound[] = "B\0\0\0\x20\0name\0\0\x2\0\0\0\x1\0\x2\0\0\0\2hi\xFF\xFF\xFF\xFF\0\1\0\1"
							"E\0\0\0\x9\0\0\0\0\0"
							"S\0\0\0\x4";

static void make_pair(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
}

static void values_are_executed(struct wire *wire)
{
	const struct wire_value values[] = {{"hi", 2, false}, {NULL, 0, true}};

	wire_execute(wire, "name", values, 2, true);
	wire_sync(wire);
}

static void a_statement_is_bound_and_executed(void **state)
{
	struct wire *wire = wire_new();
	char got[100];
	int ends[2];

	(void)state;
	make_pair(ends);
	values_are_executed(wire);
	assert_true(wire_flush(wire, ends[0]));
	assert_int_equal(read(ends[1], got, sizeof(got)), sizeof(bound) - 1);
	assert_memory_equal(got, bound, sizeof(bound) - 1);
	wire_free(wire);
	close(ends[0]);
	close(ends[1]);
}

/* It ends by itself: only what is executed next has a sync behind it. */
static void a_function_is_called(void **state)
{
	static const char called[] = "F\0\0\0\x1A\0\0\1\2\0\1\0\1\0\2\0\0\0\2hi\xFF\xFF\xFF\xFF\0\1"
								 "F\0\0\0\x10\0\0\0\7\0\1\0\1\0\0\0\1";
	const struct wire_value values[] = {{"hi", 2, true}, {NULL, 0, true}};
	struct wire *wire = wire_new();
	char got[200];
	int ends[2];

	(void)state;
	make_pair(ends);
	wire_call(wire, 258, values, 2);
	wire_sync(wire);
	wire_call(wire, 7, NULL, 0);
	wire_sync(wire);
	values_are_executed(wire);
	assert_true(wire_flush(wire, ends[0]));
	assert_int_equal(read(ends[1], got, sizeof(got)), sizeof(called) - 1 + sizeof(bound) - 1);
	assert_memory_equal(got, called, sizeof(called) - 1);
	assert_memory_equal(got + sizeof(called) - 1, bound, sizeof(bound) - 1);
	wire_free(wire);
	close(ends[0]);
	close(ends[1]);
}

static void check_result(const char *bytes, size_t len, bool is_null, const char *value)
{
	struct wire *wire = wire_new();
	struct answer answer;

	assert_true(wire_take(wire, bytes, len));
	assert_int_equal(wire_next(wire, &answer), value != NULL ? WIRE_ANSWER : WIRE_BROKEN);
	if (value != NULL)
	{
		assert_int_equal(answer_status(&answer), ANSWER_ROWS);
		assert_int_equal(answer_rows(&answer), 1);
		assert_int_equal(answer_columns(&answer), 1);
		assert_int_equal(answer_is_null(&answer, 0, 0), is_null);
		assert_string_equal(answer_value(&answer, 0, 0).bytes, value);
		assert_int_equal(answer_value(&answer, 0, 0).len, strlen(value));
		answer_clear(&answer);
		assert_int_equal(wire_next(wire, &answer), WIRE_READY);
	}
	answer_clear(&answer);
	wire_free(wire);
}

#define CHECK_RESULT(bytes, is_null, value) check_result(bytes, sizeof(bytes) - 1, is_null, value)
#define READY "Z\0\0\0\5I"

static void what_a_function_returns_is_one_value(void **state)
{
	(void)state;
	CHECK_RESULT("V\0\0\0\xA\0\0\0\2hi" READY, false, "hi");
	CHECK_RESULT("V\0\0\0\x8\0\0\0\0" READY, false, "");
	CHECK_RESULT("V\0\0\0\x8\xFF\xFF\xFF\xFF" READY, true, "");
	CHECK_RESULT("V\0\0\0\xA\0\0\0\3hi" READY, false, NULL);
	CHECK_RESULT("V\0\0\0\xA\0\0\0\1hi" READY, false, NULL);
	CHECK_RESULT("V\0\0\0\xA\xFF\xFF\xFF\xFFhi" READY, false, NULL);
	CHECK_RESULT("V\0\0\0\x8\xFF\xFF\xFF\xFE" READY, false, NULL);
	CHECK_RESULT("V\0\0\0\7\0\0\0" READY, false, NULL);
	CHECK_RESULT("D\0\0\0\x6\0\0V\0\0\0\x8\0\0\0\0" READY, false, NULL);
}

/* What two large values are sent as, of which the caller keeps neither. */
static void large_values_arrive_whole(void **state)
{
	char *value = malloc(LARGE), *got = malloc((size_t)3 * LARGE);
	const struct wire_value values[] = {{value, LARGE, true}, {value, LARGE, true}};
	struct wire *wire = wire_new();
	size_t len = 0, at = 0;
	bool all, first = true;
	int ends[2];

	(void)state;
	make_pair(ends);
	for (size_t i = 0; i < LARGE; i++)
		value[i] = (char)(i * 7 / 5);
	wire_execute(wire, "name", values, 2, true);
	wire_sync(wire);
	do
	{
		ssize_t n;

		all = wire_flush(wire, ends[0]);
		assert_true(!all || !first);
		if (first)
			memset(value, 0, LARGE); /* it was copied */
		first = false;
		while ((n = read(ends[1], got + len, 3 * (size_t)LARGE - len)) > 0)
			len += (size_t)n;
	} while (!all);
	at = 1 + 4 + 1 + 5 + 2 + 4 + 2 + 4;
	assert_int_equal(len, at + LARGE + 4 + LARGE + 4 + 10 + 5);
	for (size_t i = 0; i < LARGE; i++)
		assert_true(got[at + i] == (char)(i * 7 / 5) && got[at + LARGE + 4 + i] == (char)(i * 7 / 5));
	wire_free(wire);
	free(value);
	free(got);
	close(ends[0]);
	close(ends[1]);
}

/* A page that is passed on outlives the answer, the reader, and what is received after it. */
static void what_is_taken_stays(void **state)
{
	static const char row[] = "D\0\0\0\xC\0\1\0\0\0\2ab";
	static const char end[] = "C\0\0\0\xDSELECT 1\0Z\0\0\0\5I";
	struct wire *wire = wire_new();
	struct answer answer;
	struct piece pieces[2000];

	(void)state;
	for (unsigned i = 0; i < 2000; i++)
	{
		assert_true(wire_take(wire, row, sizeof(row) - 1));
		assert_true(wire_take(wire, end, sizeof(end) - 1));
		assert_int_equal(wire_next(wire, &answer), WIRE_ANSWER);
		pieces[i] = answer_take(&answer, answer_value(&answer, 0, 0));
		assert_int_equal(wire_next(wire, &answer), WIRE_READY);
		answer_clear(&answer);
	}
	wire_free(wire);
	for (unsigned i = 0; i < 2000; i++)
	{
		assert_string_equal(pieces[i].bytes, "ab");
		piece_release(&pieces[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_statement_is_bound_and_executed),
		cmocka_unit_test(a_function_is_called),
		cmocka_unit_test(what_a_function_returns_is_one_value),
		cmocka_unit_test(large_values_arrive_whole),
		cmocka_unit_test(what_is_taken_stays),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
