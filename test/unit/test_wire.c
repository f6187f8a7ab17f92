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

static void a_statement_is_bound_and_executed(void **state)
{
	const struct wire_value values[] = {{"hi", 2, false}, {NULL, 0, true}};
	struct wire *wire = wire_new();
	char got[100];
	int ends[2];

	(void)state;
	make_pair(ends);
	wire_execute(wire, "name", values, 2, true);
	wire_sync(wire);
	assert_true(wire_flush(wire, ends[0]));
	assert_int_equal(read(ends[1], got, sizeof(got)), sizeof(bound) - 1);
	assert_memory_equal(got, bound, sizeof(bound) - 1);
	wire_free(wire);
	close(ends[0]);
	close(ends[1]);
}

/* What two large values are sent as, of which the caller keeps neither. */
static void large_values_arrive_whole(void **state)
{
	char *value = malloc(LARGE), *got = malloc(3 * LARGE);
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
		cmocka_unit_test(large_values_arrive_whole),
		cmocka_unit_test(what_is_taken_stays),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
