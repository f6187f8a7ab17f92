/*
 * names.c: what a stream's name says (see names.h).
 */
#include "names.h"

#include <openssl/evp.h>

#include "log.h"

/* The bytes before the first `mark`, or all. */
static struct slice before(struct slice text, char mark)
{
	const char *at = memchr(text.bytes, mark, text.len);

	if (at != NULL)
		text.len = (size_t)(at - text.bytes);
	return text;
}

struct slice name_category(struct slice stream)
{
	return before(stream, '-');
}

bool name_group_hash(struct slice stream, uint64_t *hash)
{
	size_t category = name_category(stream).len;
	unsigned char digest[EVP_MAX_MD_SIZE];
	struct slice id;
	uint64_t bits = 0;

	if (category == stream.len)
		return false;
	id = before((struct slice){stream.bytes + category + 1, stream.len - category - 1}, '+');
	if (!EVP_Digest(id.bytes, id.len, digest, NULL, EVP_md5(), NULL))
	{
		log_bug("MD5 is not available");
		return false;
	}
	for (int i = 0; i < 8; i++)
		bits = bits << 8 | digest[i];
	/* abs() of the smallest 64-bit integer does not fit one, but fits this. */
	*hash = bits >> 63 ? 0 - bits : bits;
	return true;
}
