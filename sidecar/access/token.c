/*
 * token.c: reads and writes tokens (see token.h).  The format is read from its end, because base64url may
 * itself contain the underscore; only the canonical encoding is a token, so that one namespace and one
 * secret have exactly one text.
 */
#include "access/token.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/json.h"

#include "extension/hex.h"

#define PREFIX "ns_"
#define PREFIX_LEN 3

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int base64url_value(char c)
{
	const char *at = c == '\0' ? NULL : strchr(base64url, c);

	return at == NULL ? -1 : (int)(at - base64url);
}

/* Returns the decoded length, -1 when the text is not canonical or does not fit. */
static int base64url_decode(struct slice text, char *out, int cap)
{
	uint32_t bits = 0;
	int nbits = 0;
	int len = 0;

	if (text.len % 4 == 1)
		return -1;
	for (size_t i = 0; i < text.len; i++)
	{
		int value = base64url_value(text.bytes[i]);

		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
		nbits += 6;
		if (nbits < 8)
			continue;
		if (len == cap)
			return -1;
		nbits -= 8;
		out[len++] = (char)(bits >> nbits);
		bits &= (1U << nbits) - 1;
	}
	return bits == 0 ? len : -1;
}

static size_t base64url_encode(struct slice bytes, char *out)
{
	uint32_t bits = 0;
	int nbits = 0;
	size_t len = 0;

	for (size_t i = 0; i < bytes.len; i++)
	{
		bits = bits << 8 | (unsigned char)bytes.bytes[i];
		nbits += 8;
		while (nbits >= 6)
		{
			nbits -= 6;
			out[len++] = base64url[bits >> nbits & 63];
		}
	}
	if (nbits > 0)
		out[len++] = base64url[bits << (6 - nbits) & 63];
	return len;
}

bool token_parse(struct slice token, char name[MAX_NAMESPACE_NAME + 1])
{
	struct slice encoded;
	const char *secret;
	int len;

	if (token.len < PREFIX_LEN + 2 + 1 + TOKEN_SECRET_LEN || token.len > TOKEN_MAX_LEN ||
		memcmp(token.bytes, PREFIX, PREFIX_LEN) != 0)
		return false;
	secret = token.bytes + token.len - TOKEN_SECRET_LEN;
	for (int i = 0; i < TOKEN_SECRET_LEN; i++)
	{
		if (secret[i] == '\0' || strchr(HEX_DIGITS, secret[i]) == NULL)
			return false;
	}
	if (secret[-1] != '_')
		return false;
	encoded.bytes = token.bytes + PREFIX_LEN;
	encoded.len = (size_t)(secret - 1 - encoded.bytes);
	len = base64url_decode(encoded, name, MAX_NAMESPACE_NAME);
	if (len <= 0 || !json_is_text(name, (size_t)len))
		return false;
	name[len] = '\0';
	return true;
}

void token_new(struct slice name, char token[TOKEN_MAX_LEN + 1])
{
	uint8_t secret[TOKEN_SECRET_LEN / 2];
	char *p = token;

	/* As few bytes as these come whole or not at all, and without them there must be no token. */
	if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret))
		abort();
	memcpy(p, PREFIX, PREFIX_LEN);
	p += PREFIX_LEN;
	p += base64url_encode(name, p);
	*p++ = '_';
	hex_write(p, secret, sizeof(secret));
}

void token_hash(struct slice token, char hash[TOKEN_HASH_LEN + 1])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)token.bytes, token.len, digest);
	hex_write(hash, digest, sizeof(digest));
}

/* Takes as long wherever they differ, as CRYPTO_memcmp does, which goes by single bytes. */
static bool is_same(const char *a, const char *b, size_t len)
{
	uint64_t differs = 0, of_a, of_b;

	for (; len >= sizeof(of_a); len -= sizeof(of_a), a += sizeof(of_a), b += sizeof(of_b))
	{
		memcpy(&of_a, a, sizeof(of_a));
		memcpy(&of_b, b, sizeof(of_b));
		differs |= of_a ^ of_b;
	}
	differs |= (uint64_t)(CRYPTO_memcmp(a, b, len) != 0);
	return differs == 0;
}

bool token_equal(struct slice a, struct slice b)
{
	return a.len == b.len && is_same(a.bytes, b.bytes, a.len);
}

bool token_hash_equal(const char *a, const char *b)
{
	return is_same(a, b, TOKEN_HASH_LEN);
}
