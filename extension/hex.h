/*
 * hex.h: hexadecimal digits.  Plain C, which both programs include.
 */
#ifndef MILLRACE_HEX_H
#define MILLRACE_HEX_H

#include <stddef.h>

#define HEX_DIGITS "0123456789abcdef"

/* The value of a digit of either case; -1: it is none. */
static inline int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Writes two lowercase digits for each byte, and a NUL. */
static inline void
hex_write(char *out, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		*out++ = HEX_DIGITS[bytes[i] >> 4];
		*out++ = HEX_DIGITS[bytes[i] & 0xF];
	}
	*out = '\0';
}

#endif
