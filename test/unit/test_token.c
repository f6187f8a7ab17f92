/*
 * test_token.c: tokens are read strictly, and hashed as WIRE.md says.
 */
#include "unit.h"

#include <stdio.h>

#include "token.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static void assert_opens(const char *token, const char *name)
{
	char found[TOKEN_MAX_NAMESPACE + 1];

	assert_true(token_parse(slice_of(token), found));
	assert_string_equal(found, name);
}

static void assert_malformed(const char *token)
{
	char found[TOKEN_MAX_NAMESPACE + 1];

	if (token_parse(slice_of(token), found))
		fail_msg("accepted: %s", token);
}

static void the_vector_of_the_wire_page_hashes_as_it_says(void **state)
{
	char hash[TOKEN_HASH_LEN + 1];

	(void)state;
	assert_opens("ns_ZGVmYXVsdA_" ZEROS, "default");
	token_hash(slice_of("ns_ZGVmYXVsdA_" ZEROS), hash);
	assert_string_equal(hash, "6fefedfc989ca8bea8ce1b63672607c06fbd0d8b3c0667164cf4f5a02911fb52");
	assert_true(token_hash_equal(hash, "6fefedfc989ca8bea8ce1b63672607c06fbd0d8b3c0667164cf4f5a02911fb52"));
	assert_false(token_hash_equal(hash, "6fefedfc989ca8bea8ce1b63672607c06fbd0d8b3c0667164cf4f5a02911fb53"));
}

static void an_underscore_in_the_base64_is_not_the_separator(void **state)
{
	(void)state;
	/* In base64url these are Pz8- and Pz8_. */
	assert_opens("ns_Pz8-_" ZEROS, "?\?>");
	assert_opens("ns_Pz8__" ZEROS, "?\?\?");
}

static void malformed_tokens_are_refused(void **state)
{
	static const char *const tokens[] = {
		"",
		"ns_",
		"ns__" ZEROS,			 /* no namespace */
		"ns_ZGVmYXVsdA" ZEROS,	 /* no separator */
		"NS_ZGVmYXVsdA_" ZEROS,	 /* another prefix */
		"ns_ZGVmYXVsdA=_" ZEROS, /* padded */
		"ns_ZGVmYXVsdB_" ZEROS,	 /* bits left over: not canonical */
		"ns_ZGVmY_" ZEROS,		 /* a length that base64 never has */
		"ns_ZGVmYXVsd!_" ZEROS,	 /* not base64url */
		"ns_ZGVm+XVs_" ZEROS,	 /* the other base64 alphabet */
		"ns_AGVm_" ZEROS,		 /* NUL in the name */
		"ns_gIBm_" ZEROS,		 /* not UTF-8 */
		"ns_ZGVmYXVsdA_0" ZEROS, /* one digit too many */
		"ns_ZGVmYXVsdA_A00000000000000000000000000000000000000000000000000000000000000A", /* upper case */
		" ns_ZGVmYXVsdA_" ZEROS,
		"ns_ZGVmYXVsdA_" ZEROS " ",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		assert_malformed(tokens[i]);
}

static void a_new_token_opens_its_namespace(void **state)
{
	char name[TOKEN_MAX_NAMESPACE + 1];
	char token[TOKEN_MAX_LEN + 1];
	char again[TOKEN_MAX_LEN + 1];

	(void)state;
	for (size_t len = 1; len <= TOKEN_MAX_NAMESPACE; len++)
	{
		memset(name, 'a' + (int)(len % 26), len);
		name[len] = '\0';
		token_new(slice_of(name), token);
		assert_opens(token, name);
		token_new(slice_of(name), again);
		assert_string_not_equal(token, again);
	}
}

static void a_name_of_201_bytes_has_no_token(void **state)
{
	char token[400] = "ns_";

	(void)state;
	for (int i = 0; i < 67; i++)
		strcat(token, "YWFh");
	strcat(token, "_" ZEROS);
	assert_malformed(token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vector_of_the_wire_page_hashes_as_it_says),
		cmocka_unit_test(an_underscore_in_the_base64_is_not_the_separator),
		cmocka_unit_test(malformed_tokens_are_refused),
		cmocka_unit_test(a_new_token_opens_its_namespace),
		cmocka_unit_test(a_name_of_201_bytes_has_no_token),
	};

	return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
