/*
 * bytes.h: finding the bytes of a string that JSON escapes: those below a blank, quotes and backslashes.
 */
#ifndef MILLRACE_JSONBYTES_H
#define MILLRACE_JSONBYTES_H

#include "postgres.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "port/pg_bitutils.h"

#define EVERY_BYTE(b) (UINT64CONST(0x0101010101010101) * (b))
#define HAS_ZERO_BYTE(w) (((w)-EVERY_BYTE(0x01)) & ~(w)&EVERY_BYTE(0x80))

static inline bool
IsPlainByte(char c)
{
	return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

/* Says whether one of eight bytes needs an escape. */
static inline bool
NeedsEscape(uint64 word)
{
	return (((word - EVERY_BYTE(0x20)) & ~word & EVERY_BYTE(0x80)) | HAS_ZERO_BYTE(word ^ EVERY_BYTE('"')) |
			HAS_ZERO_BYTE(word ^ EVERY_BYTE('\\'))) != 0;
}

static inline bool
WordNeedsEscape(const char *bytes)
{
	uint64 word;

	memcpy(&word, bytes, sizeof(word));
	return NeedsEscape(word);
}

#ifdef __SSE2__
/*
 * The same of sixteen: a bit for each that needs an escape.  The least of a byte and 0x1F is the byte itself
 * for those below a blank.
 */
static inline uint32
SpecialBytes(__m128i vector)
{
	__m128i special = _mm_cmpeq_epi8(_mm_min_epu8(vector, _mm_set1_epi8(0x1F)), vector);

	special = _mm_or_si128(special, _mm_cmpeq_epi8(vector, _mm_set1_epi8('"')));
	special = _mm_or_si128(special, _mm_cmpeq_epi8(vector, _mm_set1_epi8('\\')));
	return (uint32)_mm_movemask_epi8(special);
}
#endif

/* Skips bytes up to the first that is special in a string; a NUL, which is, stands at the end. */
static inline const char *
SkipPlain(const char *next, const char *end)
{
#ifdef __SSE2__
	while (end - next >= (ptrdiff_t)sizeof(__m128i))
	{
		uint32 special = SpecialBytes(_mm_loadu_si128((const __m128i *)next));

		if (special != 0)
			return next + pg_rightmost_one_pos32(special);
		next += sizeof(__m128i);
	}
#endif
	while (end - next >= (ptrdiff_t)sizeof(uint64) && !WordNeedsEscape(next))
		next += sizeof(uint64);
	while (IsPlainByte(*next))
		next++;
	return next;
}

#endif
