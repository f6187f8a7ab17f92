/*
 * test_cloudevent.c: messages as CloudEvents; what of a message is wanting never makes one that is no JSON.
 */
#include "base/cloudevent.h"
#include "base/json.h"

#include "unit.h"

#include <stdio.h>

static const char *write(const char *namespace_name, const struct cloudevent *event)
{
	static struct buf out;
	struct json_verdict verdict;

	buf_clear(&out);
	cloudevent_write(&out, namespace_name, event);
	buf_add(&out, "", 1);
	assert_true(json_check(slice_of(out.data), &verdict));
	return out.data;
}

static void both_forms_make_the_same_event(void **state)
{
	static const char message[] =
		"[\"i\", \"s-1\", \"T\", 7, 9, {\"a\": 1.50}, {\"correlationId\": \"c\"}, \"2026-11-29T07:01:57Z\"]";
	static const char line[] =
		"{\"id\":\"i\",\"stream\":\"s-1\",\"type\":\"T\",\"pos\":7,\"gpos\":9,\"data\":{\"a\": 1.50},"
		"\"meta\":{\"correlationId\": \"c\"},\"time\":\"2026-11-29T07:01:57Z\"}";
	static const char expected[] =
		"{\"specversion\":\"1.0\",\"id\":\"i\",\"source\":\"/namespaces/"
		"n\",\"type\":\"T\",\"subject\":\"s-1\","
		"\"time\":\"2026-11-29T07:01:57Z\",\"position\":\"7\",\"globalposition\":\"9\",\"correlationid\":"
		"\"c\","
		"\"metadata\":\"{\\\"correlationId\\\": \\\"c\\\"}\",\"datacontenttype\":\"application/json\","
		"\"data\":{\"a\": 1.50}}";
	struct cloudevent event = cloudevent_of_message(slice_of(message));

	(void)state;
	assert_string_equal(write("n", &event), expected);
	event = cloudevent_of_line(slice_of(line));
	assert_string_equal(write("n", &event), expected);
}

static void a_source_is_a_uri(void **state)
{
	static const char *const names[][2] = {
		{"default", "\"/namespaces/default\""},
		{"aZ09-._~", "\"/namespaces/aZ09-._~\""},
		{"a b/c?d#e%@[`{\"\\", "\"/namespaces/a%20b%2Fc%3Fd%23e%25%40%5B%60%7B%22%5C\""},
		{"\xC3\xBC\x7F\x01", "\"/namespaces/%C3%BC%7F%01\""},
	};
	struct cloudevent event =
		cloudevent_of_message(slice_of("[\"i\",\"s\",\"T\",0,1,{},null,\"2026-11-29T07:01:57Z\"]"));

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(write(names[i][0], &event), names[i][1]));
}

static void a_year_of_five_digits_is_left_out(void **state)
{
	static const char *const times[] = {
		"\"10000-01-01T00:00:00Z\"", "\"infinity\"", "\"-infinity\"", "\"\"", "null",
		"\"-0044-03-15T00:00:00Z\""};
	char text[200];

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
	{
		struct cloudevent event;

		snprintf(text, sizeof(text), "[\"i\",\"s\",\"T\",0,1,{},null,%s]", times[i]);
		event = cloudevent_of_message(slice_of(text));
		assert_null(strstr(write("n", &event), "\"time\""));
	}
}

static void attributes_have_no_control_characters(void **state)
{
	static const char *const values[] = {"\"\\n\"",	 "\"a\\tb\"",	"\"\\u0001\"", "\"\\u001F\"",
										 "\"\x7F\"", "\"\\u007f\"", "\"\\u009F\"", "\"x\xC2\x85\""};
	static const char *const others[] = {"\"\\\\n\"",	 "\"\\u0020\"", "\"\\u0070\"",
										 "\"\xC2\xA0\"", "\"\\\"\"",	"\"\\u1001\""};
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]) + sizeof(others) / sizeof(others[0]); i++)
	{
		bool good = i >= sizeof(values) / sizeof(values[0]);
		const char *value = good ? others[i - sizeof(values) / sizeof(values[0])] : values[i];
		struct cloudevent event;
		const char *written;

		snprintf(text, sizeof(text),
				 "[\"i\",%s,\"T\",0,1,{},{\"correlationId\":%s},\"2026-11-29T07:01:57Z\"]", value, value);
		event = cloudevent_of_message(slice_of(text));
		written = write("n", &event);
		assert_int_equal(strstr(written, "\"subject\"") != NULL, good);
		assert_int_equal(strstr(written, "\"correlationid\"") != NULL, good);
		assert_non_null(strstr(written, "\"metadata\""));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_forms_make_the_same_event),
		cmocka_unit_test(a_source_is_a_uri),
		cmocka_unit_test(a_year_of_five_digits_is_left_out),
		cmocka_unit_test(attributes_have_no_control_characters),
	};

	return cmocka_run_group_tests_name("cloudevent", tests, NULL, NULL);
}
