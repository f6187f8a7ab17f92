/*
 * archive.c: see archive.h.
 */
#include "base/archive.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#include "base/json.h"

#include "extension/hex.h"

#define MARK "{\"millrace\""

bool archive_is_mark(struct slice line)
{
	return line.len >= strlen(MARK) && memcmp(line.bytes, MARK, strlen(MARK)) == 0;
}

struct slice archive_member(struct slice line, const char *name)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, json_trim(line));
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, name))
			return value;
	}
	return (struct slice){NULL, 0};
}

bool archive_is_kind(struct slice line, const char *kind)
{
	struct slice value;

	if (!archive_is_mark(line))
		return false;
	value = archive_member(line, "millrace");
	return json_kind(value) == JSON_STRING && json_string_is(value, kind);
}

/* ---- the sum ---------------------------------------------------------------------- */

bool archive_sum_begin(struct archive_sum *sum)
{
	if (sum->sha == NULL)
		sum->sha = EVP_MD_CTX_new();
	sum->messages = 0;
	return sum->sha != NULL && EVP_DigestInit_ex(sum->sha, EVP_sha256(), NULL) == 1;
}

void archive_sum_line(struct archive_sum *sum, struct slice line)
{
	EVP_DigestUpdate(sum->sha, line.bytes, line.len);
	EVP_DigestUpdate(sum->sha, "\n", 1);
	sum->messages += !archive_is_mark(line);
}

void archive_sum_bytes(struct archive_sum *sum, struct slice bytes)
{
	const char *p = bytes.bytes;
	const char *end = bytes.bytes + bytes.len;

	EVP_DigestUpdate(sum->sha, bytes.bytes, bytes.len);
	for (; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		sum->messages++;
}

void archive_sum_end(struct archive_sum *sum, char digest[ARCHIVE_SUM_LEN + 1])
{
	uint8_t bytes[SHA256_DIGEST_LENGTH];

	EVP_DigestFinal_ex(sum->sha, bytes, NULL);
	hex_write(digest, bytes, sizeof(bytes));
}

void archive_sum_free(struct archive_sum *sum)
{
	EVP_MD_CTX_free(sum->sha);
	sum->sha = NULL;
}

bool archive_sum_check(struct archive_sum *sum, struct slice tail)
{
	struct slice messages = archive_member(tail, "messages");
	struct slice told = archive_member(tail, "sha256");
	char digest[ARCHIVE_SUM_LEN + 1];
	int64_t count;

	archive_sum_end(sum, digest);
	return json_kind(messages) == JSON_NUMBER && json_integer(messages, &count) &&
		   (uint64_t)count == sum->messages && json_kind(told) == JSON_STRING && json_string_is(told, digest);
}

void archive_digest(struct slice bytes, char digest[ARCHIVE_SUM_LEN + 1])
{
	uint8_t raw[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)bytes.bytes, bytes.len, raw);
	hex_write(digest, raw, sizeof(raw));
}

/* ---- lines ------------------------------------------------------------------------- */

void archive_write_head(struct buf *out, const char *category, const char *before)
{
	buf_add_str(out, MARK ":\"archive\",\"category\":");
	json_add_string(out, category, strlen(category));
	buf_add_str(out, ",\"before\":");
	json_add_string(out, before, strlen(before));
	buf_add_str(out, "}\n");
}

void archive_write_tail(struct buf *out, uint64_t messages, const char digest[ARCHIVE_SUM_LEN + 1])
{
	buf_printf(out, MARK ":\"archived\",\"messages\":%" PRIu64 ",\"sha256\":\"%s\"}\n", messages, digest);
}
