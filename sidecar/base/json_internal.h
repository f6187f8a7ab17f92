/*
 * json_internal: what the files of the json family share; they alone include it.
 *
 *     json.c        the scanner: whether a text is JSON, and what of it jsonb cannot hold
 *     json_value.c  what is asked of a text that was checked: its values, members, strings, integers
 *     json_write.c  strings become JSON
 */
#ifndef MILLRACE_JSON_INTERNAL_H
#define MILLRACE_JSON_INTERNAL_H

#include <string.h>

#include "base/json.h"

/* Why a string cannot be stored. */
#define JSON_NUL_IN_STRING "\\u0000 cannot be stored in a string"
#define JSON_HALF_A_PAIR "half a surrogate pair cannot be stored in a string"

static inline bool json_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool json_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline const char *json_skip_space(const char *p, const char *end)
{
	while (p < end && json_is_space(*p))
		p++;
	return p;
}

/* True when one of eight bytes is a quote, a backslash, a control character or not ASCII. */
static inline bool json_any_special(uint64_t eight)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t high = UINT64_C(0x8080808080808080);
	uint64_t quote = eight ^ (ones * '"');
	uint64_t backslash = eight ^ (ones * '\\');

	return ((eight | (eight - ones * 0x20) | (quote - ones) | (backslash - ones)) & high) != 0;
}

/* The first byte from p on that is not plain: a quote, a backslash, a control character or not ASCII. */
static inline const char *json_skip_plain(const char *p, const char *end)
{
	while (end - p >= 8)
	{
		uint64_t eight;

		memcpy(&eight, p, 8);
		if (json_any_special(eight))
			break;
		p += 8;
	}
	while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return p;
}

/*
 * Reads the \uXXXX at p, together with the second half of a surrogate pair if one follows.  Returns
 * how many bytes that was, 0 when it is malformed; *code is -1 for half a pair.
 */
size_t json_read_unicode_escape(const char *p, const char *end, int32_t *code);

/* A number taken apart; the slices hold digits only. */
struct json_number
{
	bool negative;
	struct slice whole;
	struct slice fraction;
	int64_t exponent; /* held within +-2^40 */
};

/* Returns the byte behind the number, NULL when the grammar is not met. */
const char *json_read_number(const char *p, const char *end, struct json_number *number);

#endif
