/*
 * test_json_values.c: strings are written and read back, and what is an integer.
 */
#include "unit.h"

#include <inttypes.h>

#include "base/json.h"
#include "json_copy.h"

static void strings_are_written_and_read_back(void **state)
{
	(void)state;
	srand(3);
	for (int i = 0; i < 20000; i++)
	{
		char bytes[40];
		size_t len = (size_t)rand() % sizeof(bytes);
		struct buf text = {0};
		struct buf back = {0};
		struct json_verdict verdict;

		for (size_t j = 0; j < len; j++)
			bytes[j] = (char)(1 + rand() % 127);
		json_add_string(&text, bytes, len);
		assert_true(check(text.data, text.len, &verdict));
		assert_null(json_decode((struct slice){text.data, text.len}, &back));
		assert_int_equal(back.len, len);
		if (len > 0)
			assert_memory_equal(back.data, bytes, len);
		buf_free(&text);
		buf_free(&back);
	}
}

static void bytes_that_are_not_utf8_are_written_as_replacement_characters(void **state)
{
	struct buf text = {0};

	(void)state;
	json_add_string(&text, "a\xFF\xC3\xA9\xC3", 5);
	assert_int_equal(text.len, strlen("\"a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\""));
	assert_memory_equal(text.data, "\"a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\"", text.len);
	buf_free(&text);
}

static const struct
{
	const char *text;
	int64_t value;
} integers[] = {
	{"0", 0},
	{"-0", 0},
	{"1", 1},
	{"1.0", 1},
	{"1.000e0", 1},
	{"1e2", 100},
	{"100e-2", 1},
	{"1.5e1", 15},
	{"0e99", 0},
	{"0.0e-99", 0},
	{"-12E1", -120},
	{"9223372036854775807", INT64_MAX},
	{"-9223372036854775808", INT64_MIN},
	{"9223372036854775807.000", INT64_MAX},
	{"922337203685477580.7e1", INT64_MAX},
	{"9007199254740993", 9007199254740993},
};

static const char *const no_integers[] = {"1.5",
										  "0.1",
										  "1e-1",
										  "1e30",
										  "9223372036854775808",
										  "-9223372036854775809",
										  "1e19",
										  "1e99999999999999999999",
										  "10e-2",
										  "null",
										  "\"1\"",
										  "1 ",
										  ""};

static void integers_are_numbers_without_a_fraction_in_range(void **state)
{
	int64_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
	{
		if (!json_integer(slice_of(integers[i].text), &value) || value != integers[i].value)
			fail_msg("%s is %" PRId64, integers[i].text, value);
	}
	for (size_t i = 0; i < sizeof(no_integers) / sizeof(no_integers[0]); i++)
	{
		if (json_integer(slice_of(no_integers[i]), &value))
			fail_msg("%s is %" PRId64, no_integers[i], value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings_are_written_and_read_back),
		cmocka_unit_test(bytes_that_are_not_utf8_are_written_as_replacement_characters),
		cmocka_unit_test(integers_are_numbers_without_a_fraction_in_range),
	};

	return cmocka_run_group_tests_name("json_values", tests, NULL, NULL);
}
