/*
 * test_discover.c: the notation of types, and that the document has every method of the table, and no others.
 */
#include "methods/internal.h"
#include "methods/notation.h"

#include "unit.h"

static void assert_schema(const char *type, bool closed, const char *schema)
{
	struct buf out = {0};
	struct json_verdict verdict;

	assert_string_equal(notation_add_schema(&out, type, closed), "");
	buf_add(&out, "", 1);
	assert_false(out.failed);
	assert_string_equal(out.data, schema);
	assert_true(json_check(slice_of(out.data), &verdict));
	buf_free(&out);
}

static void each_type_has_its_schema(void **state)
{
	static const char *const cases[][2] = {
		{"any", "{}"},
		{"boolean", "{'type':'boolean'}"},
		{"integer", "{'type':'integer'}"},
		{"integer(0..)", "{'type':'integer','minimum':0}"},
		{"integer(-1..10000)", "{'type':'integer','minimum':-1,'maximum':10000}"},
		{"string(1..200)", "{'type':'string','minLength':1,'maxLength':200}"},
		{"time", "{'type':'string','format':'date-time'}"},
		{"Message", "{'$ref':'#/components/schemas/Message'}"},
		{"'a'|'b c'", "{'type':'string','enum':['a','b c']}"},
		{"'a'", "{'type':'string','enum':['a']}"},
		{"(integer|'a'|'b'|null)",
		 "{'anyOf':[{'type':'integer'},{'type':'string','enum':['a','b']},{'type':'null'}]}"},
		{"[string](0..3)", "{'type':'array','items':{'type':'string'},'minItems':0,'maxItems':3}"},
		{"[[integer]]", "{'type':'array','items':{'type':'array','items':{'type':'integer'}}}"},
		{"<uuid, object>", "{'type':'array','items':[{'type':'string','format':'uuid'},{'type':'object'}],"
						   "'minItems':2,'maxItems':2}"},
		{"{a: string, b?: [Message] }",
		 "{'type':'object','properties':{'a':{'type':'string'},"
		 "'b':{'type':'array','items':{'$ref':'#/components/schemas/Message'}}},'required':['a']}"},
		{"{*: integer}", "{'type':'object','additionalProperties':{'type':'integer'}}"},
		{"integer=5 `so, it (is)`", "{'type':'integer','default':5,'description':'so, it (is)'}"},
		{"{a?: 'x'|'y'='x' `what`, b?: Id `this`}",
		 "{'type':'object','properties':{'a':{'type':'string','enum':['x','y'],'default':'x',"
		 "'description':'what'},'b':{'$ref':'#/components/schemas/Id','description':'this'}}}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		struct buf expected = {0};

		notation_add_json(&expected, slice_of(cases[i][1]));
		buf_add(&expected, "", 1);
		assert_schema(cases[i][0], false, expected.data);
		buf_free(&expected);
	}
	assert_schema("{a: {b?: any}}", true,
				  "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{\"b\":{}},"
				  "\"additionalProperties\":false}},\"required\":[\"a\"],\"additionalProperties\":false}");
}

static void what_is_no_type_is_not_passed_over(void **state)
{
	static const char *const cases[] = {"",			"strin", "integer(1..", "[string", "{a: }",
										"(null|x)", "<",	 "`",			"=",	   "?"};
	struct buf out = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *rest = notation_add_schema(&out, cases[i], true);

		assert_in_range(rest - cases[i], 0, strlen(cases[i]));
	}
	assert_string_equal(notation_add_schema(&out, "Message\nnext", true), "\nnext");
	assert_string_equal(notation_add_schema(&out, "strin, x", true), "strin, x");
	buf_free(&out);
}

/* All types are in the notation to the ends of their lines. */
static void the_whole_reference_is_understood(void **state)
{
	const char *at = type_reference;
	struct buf out = {0};

	(void)state;
	for (; *at != '\0'; at++)
	{
		at += strcspn(at, " \n");
		if (*at == ' ')
			at = notation_add_schema(&out, at, true);
		assert_int_equal(*at, '\n');
	}
	buf_free(&out);
}

static void the_document_has_the_methods_of_the_table(void **state)
{
	struct methods methods = {0};
	struct slice document = methods_document(&methods);
	struct json_verdict verdict;
	struct slice key, value, all = {NULL, 0};
	struct json_iterator iterator, members;
	const char *name;
	size_t blocks = 0;

	(void)state;
	assert_true(json_check(document, &verdict));
	json_iterate(&iterator, document);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "methods"))
			all = value;
	}
	json_iterate(&iterator, all);
	for (unsigned i = 0; (name = method_counted_name(i)) != NULL; i++)
	{
		assert_true(json_next_element(&iterator, &value));
		json_iterate(&members, value);
		assert_true(json_next_member(&members, &key, &value));
		assert_true(json_string_is(key, "name") && json_string_is(value, name));
		blocks++;
	}
	assert_false(json_next_element(&iterator, &value));
	for (const char *at = method_reference; (at = strstr(at, "\n\n")) != NULL && at[2] != '\0'; at += 2)
		blocks--;
	assert_int_equal(blocks, 0);
	assert_ptr_equal(methods_document(&methods).bytes, document.bytes);
	methods_free(&methods);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type_has_its_schema),
		cmocka_unit_test(what_is_no_type_is_not_passed_over),
		cmocka_unit_test(the_whole_reference_is_understood),
		cmocka_unit_test(the_document_has_the_methods_of_the_table),
	};

	return cmocka_run_group_tests_name("discover", tests, NULL, NULL);
}
