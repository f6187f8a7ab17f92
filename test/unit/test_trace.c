/*
 * test_trace.c: traceparent, as in W3C Trace Context, 3.2.
 */
#include "base/trace.h"

#include "unit.h"

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void what_is_malformed_is_no_trace(void **state)
{
	static const char *const texts[] = {
		"",
		"00",
		"00-" ID "-" SPAN,
		"00-" ID "-" SPAN "-1",
		"00-" ID "-" SPAN "-011",
		"00-" ID "-" SPAN "-01-",
		"00-" ID "-" SPAN "-01-what",
		" 00-" ID "-" SPAN "-01",
		"cc-" ID "-" SPAN "-01.what",
		"ff-" ID "-" SPAN "-01",
		"0g-" ID "-" SPAN "-01",
		"00_" ID "-" SPAN "-01",
		"00-" ID "_" SPAN "-01",
		"00-" ID "-" SPAN "_01",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
		"00-" ID "-00F067AA0BA902B7-01",
		"00-" ID "-" SPAN "-0A",
		"00-00000000000000000000000000000000-" SPAN "-01",
		"00-" ID "-0000000000000000-01",
		"00-" ID "x-0f067aa0ba902b7-01",
	};

	(void)state;
	assert_null(trace_read((struct slice){NULL, 0}).parent.bytes);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		if (trace_read(slice_of(texts[i])).parent.bytes != NULL)
			fail_msg("accepted: %s", texts[i]);
	}
}

static void what_is_right_is_read(void **state)
{
	static const char *const texts[] = {
		"00-" ID "-" SPAN "-00", "00-" ID "-" SPAN "-01",	   "00-" ID "-" SPAN "-ff",
		"01-" ID "-" SPAN "-01", "cc-" ID "-" SPAN "-01-what", "fe-" ID "-" SPAN "-01-",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		struct trace trace = trace_read(slice_of(texts[i]));

		assert_int_equal(trace.parent.len, TRACE_PARENT_LEN);
		assert_memory_equal(trace.parent.bytes, texts[i], TRACE_PARENT_LEN);
		assert_true(slice_is(trace.id, ID));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_malformed_is_no_trace),
		cmocka_unit_test(what_is_right_is_read),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
