/*
 * fuzz: what every fuzzer needs.
 *
 * A fuzzer checks code of sidecar/ against something that does not share its code: json-c, zlib, a regular
 * expression of libc, or a second, plainer way to say the same.  What does not hold ends the process, and
 * libFuzzer keeps the input.  The bytes come in an allocation of exactly their size, so the sanitizer sees
 * reads behind it.
 */
#ifndef MILLRACE_FUZZ_H
#define MILLRACE_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define require(condition)                                                                                   \
	do                                                                                                       \
	{                                                                                                        \
		if (!(condition))                                                                                    \
		{                                                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
			abort();                                                                                         \
		}                                                                                                    \
	} while (0)

static inline struct slice fuzz_slice(const uint8_t *data, size_t size)
{
	return (struct slice){(const char *)data, size};
}

static inline bool fuzz_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

/* Decodes one code point as the Unicode standard's table 3-6 draws them; 0 bytes when there is none. */
static inline size_t fuzz_code_point(struct slice text, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)text.bytes;
	size_t len = p[0] >> 7 == 0 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;

	if (len == 0 || len > text.len)
		return 0;
	*code = len == 1 ? p[0] : p[0] & (0x7FU >> len);
	for (size_t i = 1; i < len; i++)
	{
		if (p[i] >> 6 != 2)
			return 0;
		*code = *code << 6 | (p[i] & 0x3F);
	}
	return *code < least[len] || *code > 0x10FFFF || *code >> 11 == 0x1B ? 0 : len;
}

static inline bool fuzz_is_utf8(struct slice text)
{
	uint32_t code;
	size_t len;

	for (; text.len > 0; text.bytes += len, text.len -= len)
	{
		len = fuzz_code_point(text, &code);
		if (len == 0)
			return false;
	}
	return true;
}

#endif
