/*
 * test_log.c: what a line of the log looks like, whatever it says.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "json_c.h"
#include "base/log.h"

static char line[65536];

/* Runs a statement with stderr in a file; `line` is what it wrote. */
#define LOGGED(statement)                                                                                    \
	do                                                                                                       \
	{                                                                                                        \
		char name[] = "/tmp/millrace-test-XXXXXX";                                                           \
		int before = dup(STDERR_FILENO);                                                                     \
		int file = mkstemp(name);                                                                            \
		ssize_t len;                                                                                         \
                                                                                                             \
		unlink(name);                                                                                        \
		dup2(file, STDERR_FILENO);                                                                           \
		statement;                                                                                           \
		dup2(before, STDERR_FILENO);                                                                         \
		close(before);                                                                                       \
		len = pread(file, line, sizeof(line) - 1, 0);                                                        \
		close(file);                                                                                         \
		assert_true(len >= 0);                                                                               \
		line[len] = '\0';                                                                                    \
	} while (0)

/* The member of a line that must be one JSON object. */
static const char *member(const char *name)
{
	static json_object *object = NULL;
	size_t len = strlen(line);

	json_object_put(object);
	assert_true(len > 0 && line[len - 1] == '\n');
	assert_null(memchr(line, '\n', len - 1));
	object = json_c_read(line, len - 1);
	assert_non_null(object);
	return json_object_get_string(json_object_object_get(object, name));
}

static void test_json_lines_are_json_whatever_they_say(void **state)
{
	static const struct
	{
		const char *said, *read;
	} texts[] = {
		{"plain", "plain"},
		{"", ""},
		{"\"quoted\" and \\", "\"quoted\" and \\"},
		{"two\nlines\r\n", "two lines"},
		{"\x01\x1b[31m\x7f", "  [31m "},
		{"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\xff\xfe", "??"},
		{"\x80", "?"},
		{"\xc0\x80", "??"},			  /* longer than needed */
		{"\xe0\x80\x80", "???"},	  /* the same */
		{"\xed\xa0\x80", "???"},	  /* a surrogate */
		{"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
		{"\xe2\x82", "??"},			  /* cut */
		{"\xe2\x82\"", "??\""},		  /* cut, and a quote behind it */
		{"%s%n", "%s%n"},
	};

	(void)state;
	assert_true(log_setup("debug", "json"));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		const struct log_field field = {"name", {texts[i].said, strlen(texts[i].said)}, false};

		LOGGED(log_warning("%s", texts[i].said));
		assert_string_equal(member("message"), texts[i].read);
		assert_string_equal(member("level"), "warning");
		LOGGED(log_event(LOG_LEVEL_INFO, &field, 1, "event"));
		assert_string_equal(member("name"), texts[i].read);
	}
}

static void test_long_texts_are_cut_between_characters_and_stay_json(void **state)
{
	static char text[10000];

	(void)state;
	log_setup("debug", "json");
	for (int shift = 0; shift < 4; shift++)
	{
		struct log_field fields[12];

		memset(text, 'x', (size_t)shift);
		for (size_t i = (size_t)shift; i + 4 < sizeof(text); i += 4)
			memcpy(text + i, shift % 2 ? "\\\"\\\"" : "\xf0\x9f\x98\x80", 4);
		for (int i = 0; i < 12; i++)
			fields[i] = (struct log_field){"value", {text, sizeof(text) - 10}, false};
		LOGGED(log_event(LOG_LEVEL_ERROR, fields, 12, "%s", text));
		assert_true(strlen(member("message")) > 2000);
	}
}

static void test_secrets_become_stars(void **state)
{
	static const char secret[] = "2644c850df919d2840f7bc2cecc87ecaea0939833eef51024131cdae80adc3b4";
	const struct log_field field = {"path", {secret, strlen(secret)}, false};
	char text[300];

	(void)state;
	for (int json = 0; json < 2; json++)
	{
		log_setup("debug", json ? "json" : "text");
		snprintf(text, sizeof(text), "/ns_ZGVmYXVsdA_%s?token=%s%s", secret, secret, secret);
		LOGGED(log_event(LOG_LEVEL_INFO, &field, 1, "%s", text));
		assert_null(strstr(line, secret));
		assert_non_null(strstr(line, "/ns_ZGVmYXVsdA_****"));
		/* Anything shorter is none: ids stay. */
		LOGGED(log_info("%.63s", secret));
		assert_null(strchr(line, '*'));
	}
}

static void test_text_lines_quote_what_looks_like_more_than_one_word(void **state)
{
	const struct log_field fields[] = {{"id", {"abc", 3}, false},
									   {"path", {"/a b=\"c\"", 8}, false},
									   {"empty", {"", 0}, false},
									   {"ms", {"12", 2}, true}};

	(void)state;
	log_setup("info", "text");
	LOGGED(log_event(LOG_LEVEL_INFO, fields, 4, "request"));
	assert_non_null(strstr(line, "Z info    request id=abc path=\"/a b=\\\"c\\\"\" empty=\"\" ms=12\n"));
	LOGGED(log_event(LOG_LEVEL_DEBUG, fields, 4, "request"));
	assert_string_equal(line, "");
	assert_false(log_is_debug());
	log_setup("info", "json");
	LOGGED(log_event(LOG_LEVEL_INFO, fields, 4, "request"));
	assert_string_equal(member("path"), "/a b=\"c\"");
	assert_non_null(strstr(line, ",\"ms\":12}\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_lines_are_json_whatever_they_say),
		cmocka_unit_test(test_long_texts_are_cut_between_characters_and_stay_json),
		cmocka_unit_test(test_secrets_become_stars),
		cmocka_unit_test(test_text_lines_quote_what_looks_like_more_than_one_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
