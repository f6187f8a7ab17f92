/*
 * test_json.c: the scanner against the grammar, and against what text and numeric of Postgres hold.
 */
#include "unit.h"

#include "base/json.h"
#include "json_copy.h"

static void assert_ok(const char *text)
{
	struct json_verdict verdict;

	if (!check(text, strlen(text), &verdict))
		fail_msg("refused (%s at %zu): %s", verdict.reason, verdict.offset, text);
	if (verdict.unsupported != NULL)
		fail_msg("unsupported (%s): %s", verdict.unsupported, text);
}

static void assert_malformed(const char *text, enum json_malformation kind)
{
	struct json_verdict verdict;

	if (check(text, strlen(text), &verdict) || verdict.malformation != kind || verdict.reason == NULL)
		fail_msg("verdict %d: %s", (int)verdict.malformation, text);
}

static void assert_unsupported(const char *text)
{
	struct json_verdict verdict;

	if (!check(text, strlen(text), &verdict) || verdict.unsupported == NULL)
		fail_msg("accepted: %.100s", text);
}

static void what_the_grammar_allows_is_accepted(void **state)
{
	static const char *const texts[] = {
		"null",
		" true ",
		"\tfalse\r\n",
		"0",
		"-0",
		"0.0",
		"-1.5e+10",
		"1E-5",
		"123456789012345678901234567890",
		"\"\"",
		"\"a\"",
		"[]",
		"[ ]",
		"{}",
		"{ }",
		"[1,2 , 3]",
		"{\"a\":1,\"a\":2}",
		"{\"\":{}}",
		"[[],[[]],{}]",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\uD83D\\uDE00\"",
		"\"\x7f\"",
		"\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
		"{\"a\" : [ {\"b\":null} , \"]}\" ] }",
		"\"\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_ok(texts[i]);
}

static const char *const malformed[] = {
	"",
	" ",
	"nul",
	"nulls",
	"True",
	"+1",
	"01",
	"-",
	"-a",
	"1.",
	".5",
	"1e",
	"1e+",
	"0x1",
	"NaN",
	"Infinity",
	"1 2",
	"\"",
	"\"a",
	"'a'",
	"\"\\x\"",
	"\"\\u12\"",
	"\"\\u12G4\"",
	"\"\\",
	"\"\\u",
	"\"a\tb\"",
	"\"a\nb\"",
	"\"\x01\"",
	"[",
	"]",
	"[1",
	"[1,",
	"[1,]",
	"[,1]",
	"[1 2]",
	"[1}",
	"{",
	"}",
	"{\"a\"",
	"{\"a\":",
	"{\"a\":1",
	"{\"a\":1,",
	"{\"a\":1,}",
	"{a:1}",
	"{1:1}",
	"{\"a\" 1}",
	"{\"a\":1]",
	"{\"a\":1 \"b\":2}",
	"[]]",
	"{}{}",
	"[1],",
	"/**/1",
	"\xEF\xBB\xBF[]",
	"[1]\x01",
	"\v1",
};

static void what_the_grammar_forbids_is_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
		assert_malformed(malformed[i], JSON_SYNTAX);
}

static void bytes_that_are_not_utf8_are_malformed(void **state)
{
	static const char *const texts[] = {
		"\"\x80\"",
		"\"\xC0\xAF\"",
		"\"\xC1\xBF\"",
		"\"\xC3\"",
		"\"\xC3(\"",
		"\"\xE0\x80\xAF\"",
		"\"\xE0\x9F\xBF\"",
		"\"\xE2\x82\"",
		"\"\xED\xA0\x80\"",
		"\"\xF0\x80\x80\x80\"",
		"\"\xF0\x8F\xBF\xBF\"",
		"\"\xF4\x90\x80\x80\"",
		"\"\xF5\x80\x80\x80\"",
		"\"\xFF\"",
		"{\"\x80\":1}",
		"\xFF",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_malformed(texts[i], JSON_NOT_UTF8);
}

static void what_a_text_of_postgres_cannot_hold_is_noted(void **state)
{
	(void)state;
	assert_unsupported("\"\\u0000\"");
	assert_unsupported("{\"a\\u0000\":1}");
	assert_unsupported("\"\\ud800\"");
	assert_unsupported("\"\\udfff\"");
	assert_unsupported("\"\\ud800\\ud800\"");
	assert_unsupported("\"\\ud800x\"");
	assert_unsupported("\"\\udc00\\ud800\"");
	assert_ok("\"\\\\u0000\"");
}

/* A number made of a digit repeated, with something in front and behind. */
static void numeric(const char *front, char digit, size_t count, const char *behind, bool ok)
{
	size_t len = strlen(front) + count + strlen(behind);
	char *text = malloc(len + 1);

	memcpy(text, front, strlen(front));
	memset(text + strlen(front), digit, count);
	memcpy(text + strlen(front) + count, behind, strlen(behind) + 1);
	if (ok)
		assert_ok(text);
	else
		assert_unsupported(text);
	free(text);
}

/* An array of so many of a number. */
static void repeated(const char *number, size_t count, bool ok)
{
	size_t len = strlen(number);
	char *text = malloc(count * (len + 1) + 3);
	char *end = text;

	for (size_t i = 0; i < count; i++)
	{
		*end++ = i == 0 ? '[' : ',';
		memcpy(end, number, len);
		end += len;
	}
	memcpy(end, "]", 2);
	if (ok)
		assert_ok(text);
	else
		assert_unsupported(text);
	free(text);
}

static void exponents_cannot_make_a_text_much_longer(void **state)
{
	(void)state;
	repeated("1e131071", 512, true);
	repeated("1e131071", 513, false);
	repeated("1e-16000", 4194, true);
	repeated("1e-16000", 4195, false);
	repeated("6.02214076e23", 1000000, true);
	repeated("0e999999", 512, true);
	repeated("0e999999", 513, false);
}

/* Each of these was compared with SELECT '...'::numeric. */
static void numbers_are_held_to_what_numeric_holds(void **state)
{
	(void)state;
	assert_ok("1e131071");
	assert_unsupported("1e131072");
	assert_ok("9.99e131071");
	assert_unsupported("10e131071");
	assert_ok("0.1e131072");
	assert_unsupported("0.1e131073");
	assert_ok("0.001e131074");
	assert_ok("1e-16383");
	assert_unsupported("1e-16384");
	assert_unsupported("1.0e-16383");
	assert_ok("0e999999");
	assert_ok("-0.000e131090");
	assert_unsupported("0e-16384");
	assert_unsupported("0e99999999999");
	assert_unsupported("1e99999999999999999999999999999999");
	assert_unsupported("1e-99999999999999999999999999999999");
	numeric("", '9', 131072, "", true);
	numeric("", '9', 131073, "", false);
	numeric("0.", '1', 16383, "", true);
	numeric("0.", '1', 16384, "", false);
	numeric("0.", '1', 16384, "e1", true);
	numeric("0.", '0', 16383, "", true);
	numeric("0.", '0', 16384, "", false);
}

static void nesting_ends_at_1000_levels(void **state)
{
	static char text[300000];
	struct json_verdict verdict;

	(void)state;
	for (size_t depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++)
	{
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		assert_int_equal(check(text, 2 * depth, &verdict), depth == JSON_MAX_DEPTH);
	}
	assert_int_equal(verdict.malformation, JSON_TOO_DEEP);
	memset(text, '[', sizeof(text));
	assert_false(check(text, sizeof(text), &verdict));
	assert_int_equal(verdict.malformation, JSON_TOO_DEEP);
}

static void every_first_part_of_a_text_is_malformed(void **state)
{
	static const char text[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\xC3\xA9\",true,null],\"b\":{\"c\":false}}";
	struct json_verdict verdict;

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_false(check(text, len, &verdict));
	assert_true(check(text, sizeof(text) - 1, &verdict));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_grammar_allows_is_accepted),
		cmocka_unit_test(what_the_grammar_forbids_is_malformed),
		cmocka_unit_test(bytes_that_are_not_utf8_are_malformed),
		cmocka_unit_test(what_a_text_of_postgres_cannot_hold_is_noted),
		cmocka_unit_test(numbers_are_held_to_what_numeric_holds),
		cmocka_unit_test(exponents_cannot_make_a_text_much_longer),
		cmocka_unit_test(nesting_ends_at_1000_levels),
		cmocka_unit_test(every_first_part_of_a_text_is_malformed),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
