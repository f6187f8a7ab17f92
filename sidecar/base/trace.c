/*
 * trace.c: reads traceparent (see trace.h).  Digits are hexadecimal and in lower case.  Of a version to come
 * what is known of 00 is read, and what follows behind a dash is not.
 */
#include "base/trace.h"

#define ID_AT 3
#define ID_LEN 32
#define SPAN_AT 36
#define SPAN_LEN 16
#define FLAGS_AT 53

static bool is_digit(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_dash_place(size_t i)
{
	return i == ID_AT - 1 || i == SPAN_AT - 1 || i == FLAGS_AT - 1;
}

static bool is_zero(const char *digits, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (digits[i] != '0')
			return false;
	}
	return true;
}

struct trace trace_read(struct slice header)
{
	const char *p = header.bytes;

	if (p == NULL || header.len < TRACE_PARENT_LEN)
		return (struct trace){0};
	for (size_t i = 0; i < TRACE_PARENT_LEN; i++)
	{
		if (is_dash_place(i) ? p[i] != '-' : !is_digit(p[i]))
			return (struct trace){0};
	}
	if (memcmp(p, "ff", 2) == 0 || is_zero(p + ID_AT, ID_LEN) || is_zero(p + SPAN_AT, SPAN_LEN))
		return (struct trace){0};
	if (header.len > TRACE_PARENT_LEN && (is_zero(p, 2) || p[TRACE_PARENT_LEN] != '-'))
		return (struct trace){0};
	return (struct trace){.parent = {p, TRACE_PARENT_LEN}, .id = {p + ID_AT, ID_LEN}};
}
