/*
 * json.c: the strict scanner of RFC 8259 text (see json.h).
 *
 * Nesting is kept as one bit a level (array or object) in the scanner, so that no input can exhaust the
 * C stack.  Strings are passed over eight bytes at a time up to the next byte that needs a look.
 * Nothing here allocates.
 */
#include "base/json_internal.h"

#include <string.h>

#include "extension/protocol.h"
#include "extension/hex.h"

/* What numeric holds (numeric.c, make_result): digits before the point and after it. */
#define NUMERIC_MAX_BEFORE 131072
#define NUMERIC_MAX_AFTER 16383
#define NUMERIC_MAX_EXPONENT (INT32_MAX / 2)

struct scanner
{
	const char *start;
	const char *pos;
	const char *end;
	struct json_verdict *verdict;
	unsigned depth;
	int64_t zeros; /* that exponents stand for */
	uint64_t is_object[(JSON_MAX_DEPTH + 64) / 64];
};

static bool malformed(struct scanner *s, enum json_malformation kind, const char *reason)
{
	s->verdict->malformation = kind;
	s->verdict->offset = (size_t)(s->pos - s->start);
	s->verdict->reason = reason;
	return false;
}

static void unsupported(struct scanner *s, const char *at, const char *what)
{
	if (s->verdict->unsupported != NULL)
		return;
	s->verdict->unsupported = what;
	s->verdict->unsupported_offset = (size_t)(at - s->start);
}

/* ---- strings ---------------------------------------------------------- */

size_t json_utf8_len(const unsigned char *p, const unsigned char *end)
{
	size_t left = (size_t)(end - p);
	unsigned low = 0x80;
	unsigned high = 0xBF;
	size_t len;

	if (left == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if (left < len)
		return 0;
	/* The second byte excludes overlong forms, surrogates and what is above U+10FFFF. */
	if (p[0] == 0xE0)
		low = 0xA0;
	else if (p[0] == 0xED)
		high = 0x9F;
	else if (p[0] == 0xF0)
		low = 0x90;
	else if (p[0] == 0xF4)
		high = 0x8F;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	return len;
}

bool json_is_text(const char *bytes, size_t len)
{
	const unsigned char *p = (const unsigned char *)bytes;
	const unsigned char *end = p + len;

	while (p < end)
	{
		size_t n = *p == '\0' ? 0 : json_utf8_len(p, end);

		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

/* The value of four hex digits, -1 when they are not. */
static int hex4(const char *p, const char *end)
{
	int value = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		int digit = hex_value(p[i]);

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

size_t json_read_unicode_escape(const char *p, const char *end, int32_t *code)
{
	int first = hex4(p + 2, end);
	int second;

	if (first < 0)
		return 0;
	*code = first;
	if (first < 0xD800 || first > 0xDFFF)
		return 6;
	*code = -1;
	if (first > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u')
		return 6;
	second = hex4(p + 8, end);
	if (second < 0xDC00 || second > 0xDFFF)
		return 6;
	*code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
	return 12;
}

static bool scan_escape(struct scanner *s)
{
	int32_t code;
	size_t len;

	if (s->end - s->pos < 2)
		return malformed(s, JSON_SYNTAX, "a string that does not end");
	if (s->pos[1] != 'u')
	{
		if (memchr("\"\\/bfnrt", s->pos[1], 8) == NULL)
			return malformed(s, JSON_SYNTAX, "an unknown escape in a string");
		s->pos += 2;
		return true;
	}
	len = json_read_unicode_escape(s->pos, s->end, &code);
	if (len == 0)
		return malformed(s, JSON_SYNTAX, "a \\u escape without four hex digits");
	if (code == 0)
		unsupported(s, s->pos, JSON_NUL_IN_STRING);
	if (code < 0)
		unsupported(s, s->pos, JSON_HALF_A_PAIR);
	s->pos += len;
	return true;
}

/* At the opening quote; moves behind the closing one. */
static bool scan_string(struct scanner *s)
{
	const char *start = s->pos++;

	for (;;)
	{
		s->pos = json_skip_plain(s->pos, s->end);
		if (s->pos == s->end)
			return malformed(s, JSON_SYNTAX, "a string that does not end");
		if (*s->pos == '"')
			break;
		if (*s->pos == '\\')
		{
			if (!scan_escape(s))
				return false;
		}
		else if ((unsigned char)*s->pos >= 0x80)
		{
			size_t len = json_utf8_len((const unsigned char *)s->pos, (const unsigned char *)s->end);

			if (len == 0)
				return malformed(s, JSON_NOT_UTF8, "bytes that are not UTF-8");
			s->pos += len;
		}
		else
			return malformed(s, JSON_SYNTAX, "a control character in a string");
	}
	s->pos++;
	if (s->pos - start - 2 > JSON_MAX_STRING)
		unsupported(s, start, "a string is longer than " LIMIT_TEXT(JSON_MAX_STRING) " bytes");
	return true;
}

/* ---- numbers ---------------------------------------------------------- */

static struct slice take_digits(const char **p, const char *end)
{
	struct slice digits = {*p, 0};

	while (*p < end && json_is_digit(**p))
		(*p)++;
	digits.len = (size_t)(*p - digits.bytes);
	return digits;
}

static int64_t bounded_integer(struct slice digits)
{
	const int64_t bound = INT64_C(1) << 40;
	int64_t value = 0;

	for (size_t i = 0; i < digits.len && value < bound; i++)
		value = value * 10 + (digits.bytes[i] - '0');
	return value < bound ? value : bound;
}

const char *json_read_number(const char *p, const char *end, struct json_number *number)
{
	*number = (struct json_number){.negative = *p == '-'};
	if (number->negative)
		p++;
	number->whole = take_digits(&p, end);
	if (number->whole.len == 0 || (number->whole.len > 1 && number->whole.bytes[0] == '0'))
		return NULL;
	if (p < end && *p == '.')
	{
		p++;
		number->fraction = take_digits(&p, end);
		if (number->fraction.len == 0)
			return NULL;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		bool negative = false;
		struct slice digits;

		p++;
		if (p < end && (*p == '+' || *p == '-'))
			negative = *p++ == '-';
		digits = take_digits(&p, end);
		if (digits.len == 0)
			return NULL;
		number->exponent = bounded_integer(digits);
		if (negative)
			number->exponent = -number->exponent;
	}
	return p;
}

static size_t leading_zeros(struct slice digits)
{
	size_t n = 0;

	while (n < digits.len && digits.bytes[n] == '0')
		n++;
	return n;
}

static bool fits_numeric(const struct json_number *number)
{
	int64_t before = (int64_t)number->whole.len;
	int64_t after = (int64_t)number->fraction.len - number->exponent;

	if (number->exponent > NUMERIC_MAX_EXPONENT || number->exponent < -NUMERIC_MAX_EXPONENT)
		return false;
	if (after > NUMERIC_MAX_AFTER)
		return false;
	/* Where the first digit that counts stands: zeros in front of it take no room. */
	if (number->whole.bytes[0] == '0')
	{
		size_t zeros = leading_zeros(number->fraction);

		if (zeros == number->fraction.len)
			return true;
		before = -(int64_t)zeros;
	}
	return before + number->exponent <= NUMERIC_MAX_BEFORE;
}

/* About how many zeros numeric writes instead of the exponent. */
static int64_t zeros_of(const struct json_number *number)
{
	int64_t zeros = number->exponent < 0 ? -number->exponent : number->exponent;

	return zeros < NUMERIC_MAX_BEFORE ? zeros : NUMERIC_MAX_BEFORE;
}

static bool scan_number(struct scanner *s)
{
	struct json_number number;
	const char *behind = json_read_number(s->pos, s->end, &number);

	if (behind == NULL)
		return malformed(s, JSON_SYNTAX, "a number that is not one");
	if (!fits_numeric(&number))
		unsupported(s, s->pos, "a number is beyond what numeric holds");
	else if (number.exponent != 0 && (s->zeros += zeros_of(&number)) > JSON_MAX_ZEROS)
		unsupported(s, s->pos, "its numbers with exponents are too many or too large");
	s->pos = behind;
	return true;
}

/* ---- values ----------------------------------------------------------- */

static bool scan_word(struct scanner *s, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(s->end - s->pos) < len || memcmp(s->pos, word, len) != 0)
		return malformed(s, JSON_SYNTAX, "a value that is not one");
	s->pos += len;
	return true;
}

static bool in_object(const struct scanner *s)
{
	return (s->is_object[s->depth / 64] >> (s->depth % 64)) & 1;
}

static bool push(struct scanner *s, bool object)
{
	uint64_t bit;

	if (s->depth == JSON_MAX_DEPTH)
		return malformed(s, JSON_TOO_DEEP,
						 "arrays and objects nested deeper than " LIMIT_TEXT(JSON_MAX_DEPTH) " levels");
	s->depth++;
	bit = UINT64_C(1) << (s->depth % 64);
	if (object)
		s->is_object[s->depth / 64] |= bit;
	else
		s->is_object[s->depth / 64] &= ~bit;
	s->pos++;
	return true;
}

/* A member's key and its colon. */
static bool scan_key(struct scanner *s)
{
	s->pos = json_skip_space(s->pos, s->end);
	if (s->pos == s->end || *s->pos != '"')
		return malformed(s, JSON_SYNTAX, "a key that is not a string");
	if (!scan_string(s))
		return false;
	s->pos = json_skip_space(s->pos, s->end);
	if (s->pos == s->end || *s->pos != ':')
		return malformed(s, JSON_SYNTAX, "a key without a colon");
	s->pos++;
	return true;
}

/* Enters an array or object; *empty when it closed at once, else its first value comes next. */
static bool scan_open(struct scanner *s, bool object, bool *empty)
{
	if (!push(s, object))
		return false;
	s->pos = json_skip_space(s->pos, s->end);
	*empty = s->pos < s->end && *s->pos == (object ? '}' : ']');
	if (*empty)
	{
		s->pos++;
		s->depth--;
		return true;
	}
	return object ? scan_key(s) : true;
}

/* Scans up to the end of a scalar or an empty container, or into a container (*complete false). */
static bool scan_value(struct scanner *s, bool *complete)
{
	*complete = true;
	s->pos = json_skip_space(s->pos, s->end);
	if (s->pos == s->end)
		return malformed(s, JSON_SYNTAX, "the text ends where a value should be");
	switch (*s->pos)
	{
		case '{':
			return scan_open(s, true, complete);
		case '[':
			return scan_open(s, false, complete);
		case '"':
			return scan_string(s);
		case 't':
			return scan_word(s, "true");
		case 'f':
			return scan_word(s, "false");
		case 'n':
			return scan_word(s, "null");
		default:
			if (*s->pos == '-' || json_is_digit(*s->pos))
				return scan_number(s);
			if ((unsigned char)*s->pos >= 0x80 &&
				json_utf8_len((const unsigned char *)s->pos, (const unsigned char *)s->end) == 0)
				return malformed(s, JSON_NOT_UTF8, "bytes that are not UTF-8");
			return malformed(s, JSON_SYNTAX, "a value that is not one");
	}
}

/* Behind a value inside a container: closes what closes; *more when another value comes next. */
static bool scan_behind_value(struct scanner *s, bool *more)
{
	*more = false;
	while (s->depth > 0)
	{
		bool object = in_object(s);

		s->pos = json_skip_space(s->pos, s->end);
		if (s->pos == s->end)
			return malformed(s, JSON_SYNTAX, "the text ends inside an array or object");
		if (*s->pos == ',')
		{
			s->pos++;
			*more = true;
			return object ? scan_key(s) : true;
		}
		if (*s->pos != (object ? '}' : ']'))
			return malformed(s, JSON_SYNTAX, "a comma or the end of an array or object is missing");
		s->pos++;
		s->depth--;
	}
	return true;
}

bool json_check(struct slice text, struct json_verdict *verdict)
{
	struct scanner s = {.start = text.bytes, .pos = text.bytes, .verdict = verdict};
	bool complete;
	bool more = true;

	s.end = s.pos + text.len;
	*verdict = (struct json_verdict){.malformation = JSON_WELL_FORMED};
	while (more)
	{
		if (!scan_value(&s, &complete))
			return false;
		if (complete && !scan_behind_value(&s, &more))
			return false;
	}
	s.pos = json_skip_space(s.pos, s.end);
	if (s.pos != s.end)
		return malformed(&s, JSON_SYNTAX, "something follows the value");
	return true;
}
