/*
 * fuzz_http_chunked.c: a chunked body is decoded as a plainer reader does it that has all of it at once,
 * wherever its bytes are cut.
 */
#include <ctype.h>

#include "base/buf.h"
#include "fuzz.h"
#include "http/parse.h"

#define MAX_OVERHEAD 16384 /* more than the inputs that we use have */

enum verdict
{
	DONE,
	MORE,
	BAD
};

struct result
{
	enum verdict verdict;
	size_t used; /* when done */
	struct buf data;
};

static struct result decode_in_steps(struct slice bytes, size_t step)
{
	struct http_chunked chunked = {0};
	struct result result = {.verdict = MORE};

	while (result.used < bytes.len && chunked.state != HTTP_CHUNK_DONE)
	{
		size_t n = bytes.len - result.used < step ? bytes.len - result.used : step;
		char *copy = malloc(n);
		struct slice data;
		ssize_t used;

		memcpy(copy, bytes.bytes + result.used, n);
		used = http_chunked_read(&chunked, copy, n, &data);
		if (used != HTTP_BAD)
		{
			require(used > 0 && (size_t)used <= n);
			require(data.len == 0 || (data.bytes >= copy && data.bytes + data.len == copy + used));
			buf_add(&result.data, data.bytes, data.len);
			result.used += (size_t)used;
		}
		free(copy);
		if (used == HTTP_BAD)
		{
			result.verdict = BAD;
			return result;
		}
	}
	if (chunked.state == HTTP_CHUNK_DONE)
		result.verdict = DONE;
	return result;
}

/* ---- the oracle ------------------------------------------------------------------------ */

/* Moves behind what must come next; BAD at the first byte that differs. */
static enum verdict expect(struct slice *rest, const char *text)
{
	for (; *text != '\0'; text++, rest->bytes++, rest->len--)
	{
		if (rest->len == 0)
			return MORE;
		if (*rest->bytes != *text)
			return BAD;
	}
	return DONE;
}

/* Passes over an extension or a trailer: visible text, spaces and tabs, up to a carriage return. */
static void skip_text(struct slice *rest)
{
	while (rest->len > 0 && ((unsigned char)*rest->bytes >= ' ' || *rest->bytes == '\t'))
	{
		rest->bytes++;
		rest->len--;
	}
}

static enum verdict read_size(struct slice *rest, uint64_t *size)
{
	char digits[20] = "";
	size_t n = 0;

	while (n < rest->len && n < 16 && isxdigit((unsigned char)rest->bytes[n]))
	{
		digits[n] = rest->bytes[n];
		n++;
	}
	if (n == rest->len && n < 16)
		return MORE;
	if (n == 0 || n == 16)
		return BAD;
	*size = strtoull(digits, NULL, 16);
	rest->bytes += n;
	rest->len -= n;
	if (strchr("; \t", *rest->bytes) != NULL && *rest->bytes != '\0')
		skip_text(rest);
	return expect(rest, "\r\n");
}

static enum verdict read_trailers(struct slice *rest)
{
	enum verdict verdict = DONE;

	while (verdict == DONE && rest->len > 0 && *rest->bytes != '\r')
	{
		if (!isalnum((unsigned char)*rest->bytes) &&
			(*rest->bytes == '\0' || strchr("!#$%&'*+-.^_`|~", *rest->bytes) == NULL))
			return BAD;
		skip_text(rest);
		verdict = expect(rest, "\r\n");
	}
	return verdict == DONE ? expect(rest, "\r\n") : verdict;
}

static struct result oracle(struct slice bytes)
{
	struct slice rest = bytes;
	struct result result = {.verdict = DONE};
	uint64_t size = 1;

	while (result.verdict == DONE && size > 0)
	{
		result.verdict = read_size(&rest, &size);
		if (result.verdict == DONE && size > 0)
		{
			size_t here = rest.len < size ? rest.len : (size_t)size;

			buf_add(&result.data, rest.bytes, here);
			rest.bytes += here;
			rest.len -= here;
			result.verdict = here < size ? MORE : expect(&rest, "\r\n");
		}
	}
	if (result.verdict == DONE)
		result.verdict = read_trailers(&rest);
	result.used = bytes.len - rest.len;
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice bytes = fuzz_slice(data, size);
	size_t steps[] = {1, 2, 5, size / 2 + 1, size + 1};
	struct result expected;

	if (size >= MAX_OVERHEAD)
		return 0;
	expected = oracle(bytes);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		struct result found = decode_in_steps(bytes, steps[i]);

		require(found.verdict == expected.verdict);
		require(fuzz_equal((struct slice){found.data.data, found.data.len},
						   (struct slice){expected.data.data, expected.data.len}));
		require(found.verdict != DONE || found.used == expected.used);
		buf_free(&found.data);
	}
	buf_free(&expected.data);
	return 0;
}
