/*
 * test_token.c: tokens are read strictly, and hashed as sidecar/README.md says, "Tokens and namespaces".
 */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/token.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static void assert_opens(const char *token, const char *name)
{
	char found[MAX_NAMESPACE_NAME + 1];

	assert_true(token_parse(slice_of(token), found));
	assert_string_equal(found, name);
}

static void assert_malformed(const char *token)
{
	char found[MAX_NAMESPACE_NAME + 1];

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
	char name[MAX_NAMESPACE_NAME + 1];
	char token[TOKEN_MAX_LEN + 1];
	char again[TOKEN_MAX_LEN + 1];

	(void)state;
	for (size_t len = 1; len <= MAX_NAMESPACE_NAME; len++)
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
	char token[400];
	int len = snprintf(token, sizeof(token), "ns_");

	(void)state;
	for (int i = 0; i < 67; i++)
		len += snprintf(token + len, sizeof(token) - (size_t)len, "YWFh");
	snprintf(token + len, sizeof(token) - (size_t)len, "_" ZEROS);
	assert_malformed(token);
}

static void equality_is_of_all_bytes(void **state)
{
	char a[TOKEN_HASH_LEN + 1], b[TOKEN_HASH_LEN + 1];

	(void)state;
	token_hash(slice_of("x"), a);
	for (int i = 0; i < TOKEN_HASH_LEN; i++)
	{
		memcpy(b, a, sizeof(b));
		assert_true(token_hash_equal(a, b));
		b[i] ^= 1;
		assert_false(token_hash_equal(a, b));
		assert_false(token_equal(slice_of(a), slice_of(b)));
	}
	assert_true(token_equal(slice_of("abc"), slice_of("abc")));
	assert_false(token_equal(slice_of("abc"), slice_of("abcd")));
	assert_false(token_equal(slice_of(""), slice_of("a")));
}

static sigjmp_buf back;

static void on_fault(int number)
{
	siglongjmp(back, number);
}

/*
 * Puts a text in front of memory that faults when it is touched, so that only its first `readable` bytes can
 * be read, and compares it with another that differs in its first byte; tells whether the rest was looked at.
 */
static bool looks_further(size_t readable, bool (*equal)(const char *a, const char *b))
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigaction faults = {.sa_handler = on_fault, .sa_flags = SA_NODEFER}, before;
	volatile bool faulted = true;
	char other[TOKEN_HASH_LEN];

	assert_ptr_not_equal(pages, MAP_FAILED);
	memset(pages, 'a', page);
	memset(other, 'a', sizeof(other));
	other[0] = 'b';
	assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
	sigaction(SIGSEGV, &faults, &before);
	if (sigsetjmp(back, 1) == 0)
	{
		equal(pages + page - readable, other);
		faulted = false;
	}
	sigaction(SIGSEGV, &before, NULL);
	munmap(pages, 2 * page);
	return faulted;
}

static bool early_equal(const char *a, const char *b)
{
	for (int i = 0; i < TOKEN_HASH_LEN; i++)
	{
		if (a[i] != b[i])
			return false;
	}
	return true;
}

static bool whole_equal(const char *a, const char *b)
{
	return token_equal((struct slice){a, TOKEN_HASH_LEN}, (struct slice){b, TOKEN_HASH_LEN});
}

static void a_difference_in_the_first_byte_does_not_end_a_comparison(void **state)
{
	(void)state;
	for (size_t readable = 1; readable < TOKEN_HASH_LEN; readable++)
	{
		assert_false(looks_further(readable, early_equal)); /* so the method can tell */
		assert_true(looks_further(readable, token_hash_equal));
		assert_true(looks_further(readable, whole_equal));
	}
	assert_false(looks_further(TOKEN_HASH_LEN, token_hash_equal));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vector_of_the_wire_page_hashes_as_it_says),
		cmocka_unit_test(an_underscore_in_the_base64_is_not_the_separator),
		cmocka_unit_test(malformed_tokens_are_refused),
		cmocka_unit_test(a_new_token_opens_its_namespace),
		cmocka_unit_test(a_name_of_201_bytes_has_no_token),
		cmocka_unit_test(equality_is_of_all_bytes),
		cmocka_unit_test(a_difference_in_the_first_byte_does_not_end_a_comparison),
	};

	return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
