/*
 * test_json_c.c: the scanner reads what json-c reads, and refuses what json-c refuses.
 */
#include "unit.h"

#include "base/json.h"
#include "json_c.h"
#include "json_copy.h"

static void compare(struct slice value, struct json_object *expected);

static void compare_string(struct slice value, struct json_object *expected)
{
	struct buf out = {0};
	const char *problem = json_decode(value, &out);

	assert_null(problem);
	assert_int_equal(out.len, json_object_get_string_len(expected));
	if (out.len > 0)
		assert_memory_equal(out.data, json_object_get_string(expected), out.len);
	assert_true(json_string_is(value, json_object_get_string(expected)));
	buf_free(&out);
}

static void compare_object(struct slice value, struct json_object *expected)
{
	struct json_iterator iterator;
	struct slice key, member;
	struct json_object *found;

	json_iterate(&iterator, value);
	while (json_next_member(&iterator, &key, &member))
	{
		struct buf name = {0};

		json_decode(key, &name);
		buf_add(&name, "", 1);
		assert_true(json_object_object_get_ex(expected, name.data, &found));
		/* Of duplicates json-c keeps the last, as we are to do. */
		json_object_object_foreach(expected, other, other_value)
		{
			(void)other_value;
			assert_int_equal(json_string_is(key, other), strcmp(name.data, other) == 0);
		}
		buf_free(&name);
	}
}

static void compare(struct slice value, struct json_object *expected)
{
	static const enum json_kind kinds[] = {
		[json_type_null] = JSON_NULL,	  [json_type_boolean] = JSON_BOOLEAN,
		[json_type_double] = JSON_NUMBER, [json_type_int] = JSON_NUMBER,
		[json_type_object] = JSON_OBJECT, [json_type_array] = JSON_ARRAY,
		[json_type_string] = JSON_STRING,
	};
	struct json_iterator iterator;
	struct slice element;
	size_t n = 0;

	assert_int_equal(json_kind(value), kinds[json_object_get_type(expected)]);
	if (json_kind(value) == JSON_STRING)
		compare_string(value, expected);
	else if (json_kind(value) == JSON_OBJECT)
		compare_object(value, expected);
	else if (json_kind(value) == JSON_ARRAY)
	{
		json_iterate(&iterator, value);
		while (json_next_element(&iterator, &element))
			compare(element, json_object_array_get_idx(expected, n++));
		assert_int_equal(n, json_object_array_length(expected));
	}
}

static void generate(struct buf *out, int depth)
{
	static const char *const scalars[] = {"null",
										  "true",
										  "false",
										  "0",
										  "-1",
										  "12345678901",
										  "1.5",
										  "-0.25e-3",
										  "1E2",
										  "\"\"",
										  "\"abc\"",
										  "\"\\u00e9\\n\\\"\\\\\"",
										  "\"\\ud83d\\ude00\"",
										  "\"\xC3\xA9[{,:]}\"",
										  "\"a long enough string to take the fast way through\""};
	static const char *const spaces[] = {"", "", "", " ", "\n", "\t ", "\r\n"};
	static const char *const keys[] = {"\"a\"", "\"b\"", "\"\\u0061b\"", "\"\"",
									   "\"a longer key than others\""};
	int n = rand() % 4;
	int kind = depth > 6 ? 0 : rand() % 3;

	buf_add_str(out, spaces[rand() % 7]);
	if (kind == 0)
	{
		buf_add_str(out, scalars[rand() % 15]);
		return;
	}
	buf_add_str(out, kind == 1 ? "[" : "{");
	for (int i = 0; i < n; i++)
	{
		buf_add_str(out, i > 0 ? "," : "");
		if (kind == 2)
		{
			buf_add_str(out, spaces[rand() % 7]);
			buf_add_str(out, keys[rand() % 5]);
			buf_add_str(out, spaces[rand() % 7]);
			buf_add_str(out, ":");
		}
		generate(out, depth + 1);
		buf_add_str(out, spaces[rand() % 7]);
	}
	buf_add_str(out, kind == 1 ? "]" : "}");
}

static void generated_texts_are_read_as_json_c_reads_them(void **state)
{
	(void)state;
	srand(7);
	for (int i = 0; i < 20000; i++)
	{
		struct buf text = {0};
		struct json_verdict verdict;
		struct json_object *expected;

		/* Within an array: json-c has no object for a bare null. */
		buf_add_str(&text, "[");
		generate(&text, 0);
		buf_add_str(&text, "]");
		expected = json_c_read(text.data, text.len);
		assert_non_null(expected);
		if (!check(text.data, text.len, &verdict))
			fail_msg("refused (%s at %zu): %.*s", verdict.reason, verdict.offset, (int)text.len, text.data);
		compare(json_trim((struct slice){text.data, text.len}), expected);
		json_object_put(expected);
		buf_free(&text);
	}
}

/*
 * Whatever json-c refuses we refuse, and the other way round, on texts with one byte changed.  Left out is
 * what json-c takes beyond the grammar even when strict.
 */
static void damaged_texts_are_refused_when_json_c_refuses_them(void **state)
{
	static const char damage[] = "[]{},:\"\\0e-.tnu\x01\x80 ";

	(void)state;
	srand(11);
	for (int i = 0; i < 50000; i++)
	{
		struct buf text = {0};
		struct json_verdict verdict;
		struct json_object *expected;
		bool ok;

		buf_add_str(&text, "[");
		generate(&text, 3);
		buf_add_str(&text, "]");
		text.data[(size_t)rand() % text.len] = damage[(size_t)rand() % (sizeof(damage) - 1)];
		expected = json_c_read(text.data, text.len);
		ok = check(text.data, text.len, &verdict);
		if (ok && expected == NULL)
			fail_msg("accepted: %.*s", (int)text.len, text.data);
		json_object_put(expected);
		buf_free(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(generated_texts_are_read_as_json_c_reads_them),
		cmocka_unit_test(damaged_texts_are_refused_when_json_c_refuses_them),
	};

	return cmocka_run_group_tests_name("json_c", tests, NULL, NULL);
}
