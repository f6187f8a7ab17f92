/*
 * fuzz_token.c: tokens are opened exactly when a regular expression and OpenSSL's base64 say so; a token made
 * for a name opens that name.
 */
#include <openssl/evp.h>

#include "pattern.h"
#include "access/token.h"

static bool looks_like_one(struct slice token)
{
	static struct pattern pattern;

	return pattern_matches(&pattern, "^ns_[-_A-Za-z0-9]+_[0-9a-f]{64}$", token, NULL, 0);
}

static void swap(char *text, const char *from, const char *to)
{
	for (; *text != '\0'; text++)
	{
		const char *at = strchr(from, *text);

		if (at != NULL)
			*text = to[at - from];
	}
}

/* The name that a token opens, by OpenSSL; NULL when it is none, else the caller's. */
static char *oracle(struct slice token)
{
	size_t len = token.len - 3 - 65;
	size_t padded = (len + 3) / 4 * 4;
	char *base64, *name, *again;
	int decoded;

	if (!looks_like_one(token) || len % 4 == 1)
		return NULL;
	base64 = calloc(1, padded + 1);
	name = calloc(1, padded + 1);
	again = calloc(1, padded + 5);
	memcpy(base64, token.bytes + 3, len);
	swap(base64, "-_", "+/");
	memset(base64 + len, '=', padded - len);
	decoded =
		EVP_DecodeBlock((unsigned char *)name, (unsigned char *)base64, (int)padded) - (int)(padded - len);
	/* One name has one text. */
	if (decoded > 0)
		EVP_EncodeBlock((unsigned char *)again, (unsigned char *)name, decoded);
	if (decoded < 1 || decoded > MAX_NAMESPACE_NAME || strcmp(again, base64) != 0 ||
		memchr(name, '\0', (size_t)decoded) != NULL || !fuzz_is_utf8((struct slice){name, (size_t)decoded}))
	{
		free(name);
		name = NULL;
	}
	else
		name[decoded] = '\0';
	free(base64);
	free(again);
	return name;
}

static void check(struct slice token)
{
	char opened[MAX_NAMESPACE_NAME + 1];
	char made[TOKEN_MAX_LEN + 1];
	char *expected = oracle(token);

	require(token_parse(token, opened) == (expected != NULL));
	if (expected == NULL)
		return;
	require(strcmp(opened, expected) == 0);
	token_new(slice_of(opened), made);
	require(strlen(made) == token.len && memcmp(made, token.bytes, token.len - 64) == 0);
	free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice input = fuzz_slice(data, size);
	char opened[MAX_NAMESPACE_NAME + 1];
	char hashes[2][TOKEN_HASH_LEN + 1];
	char made[TOKEN_MAX_LEN + 1];

	check(input);
	if (size < 1 || size > MAX_NAMESPACE_NAME)
		return 0;
	/* The same bytes as a name. */
	token_new(input, made);
	check(slice_of(made));
	if (token_parse(slice_of(made), opened))
		require(fuzz_equal(slice_of(opened), input));
	else
		require(!fuzz_is_utf8(input) || memchr(data, '\0', size) != NULL);
	token_hash(slice_of(made), hashes[0]);
	made[strlen(made) - 1] ^= 1;
	token_hash(slice_of(made), hashes[1]);
	require(token_hash_equal(hashes[0], hashes[0]) && !token_hash_equal(hashes[0], hashes[1]));
	return 0;
}
