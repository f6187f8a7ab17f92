/*
 * json.c: the strict scanner of RFC 8259 text (see json.h).
 *
 * Nesting is kept as one bit a level (array or object) in the scanner, so that no input can exhaust the
 * C stack.  Strings are passed over eight bytes at a time up to the next byte that needs a look.
 * Nothing here allocates, except through the struct buf of the caller.
 */
#include "base/json.h"

#include <string.h>

#include "extension/protocol.h"
#include "base/hex.h"

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

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

/* ---- strings ---------------------------------------------------------- */

/* True when one of eight bytes is a quote, a backslash, a control character or not ASCII. */
static inline bool any_special(uint64_t eight)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t high = UINT64_C(0x8080808080808080);
	uint64_t quote = eight ^ (ones * '"');
	uint64_t backslash = eight ^ (ones * '\\');

	return ((eight | (eight - ones * 0x20) | (quote - ones) | (backslash - ones)) & high) != 0;
}

static const char *skip_plain(const char *p, const char *end)
{
	while (end - p >= 8)
	{
		uint64_t eight;

		memcpy(&eight, p, 8);
		if (any_special(eight))
			break;
		p += 8;
	}
	while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return p;
}

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

/*
 * Reads the \uXXXX at p, together with the second half of a surrogate pair if one follows.  Returns
 * how many bytes that was, 0 when it is malformed; *code is -1 for half a pair.
 */
static size_t read_unicode_escape(const char *p, const char *end, int32_t *code)
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
	len = read_unicode_escape(s->pos, s->end, &code);
	if (len == 0)
		return malformed(s, JSON_SYNTAX, "a \\u escape without four hex digits");
	if (code == 0)
		unsupported(s, s->pos, "\\u0000 cannot be stored in a string");
	if (code < 0)
		unsupported(s, s->pos, "half a surrogate pair cannot be stored in a string");
	s->pos += len;
	return true;
}

/* At the opening quote; moves behind the closing one. */
static bool scan_string(struct scanner *s)
{
	const char *start = s->pos++;

	for (;;)
	{
		s->pos = skip_plain(s->pos, s->end);
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
		unsupported(s, start, "a string is longer than 268435455 bytes");
	return true;
}

/* ---- numbers ---------------------------------------------------------- */

/* A number taken apart; the slices hold digits only. */
struct number
{
	bool negative;
	struct slice whole;
	struct slice fraction;
	int64_t exponent; /* held within +-2^40 */
};

static struct slice take_digits(const char **p, const char *end)
{
	struct slice digits = {*p, 0};

	while (*p < end && is_digit(**p))
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

/* Returns the byte behind the number, NULL when the grammar is not met. */
static const char *parse_number(const char *p, const char *end, struct number *number)
{
	*number = (struct number){.negative = *p == '-'};
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

static bool fits_numeric(const struct number *number)
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
static int64_t zeros_of(const struct number *number)
{
	int64_t zeros = number->exponent < 0 ? -number->exponent : number->exponent;

	return zeros < NUMERIC_MAX_BEFORE ? zeros : NUMERIC_MAX_BEFORE;
}

static bool scan_number(struct scanner *s)
{
	struct number number;
	const char *behind = parse_number(s->pos, s->end, &number);

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
	s->pos = skip_space(s->pos, s->end);
	if (s->pos == s->end || *s->pos != '"')
		return malformed(s, JSON_SYNTAX, "a key that is not a string");
	if (!scan_string(s))
		return false;
	s->pos = skip_space(s->pos, s->end);
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
	s->pos = skip_space(s->pos, s->end);
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
	s->pos = skip_space(s->pos, s->end);
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
			if (*s->pos == '-' || is_digit(*s->pos))
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

		s->pos = skip_space(s->pos, s->end);
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
	s.pos = skip_space(s.pos, s.end);
	if (s.pos != s.end)
		return malformed(&s, JSON_SYNTAX, "something follows the value");
	return true;
}

/* ---- finding the way in checked text ----------------------------------- */

/* From an opening quote to behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
	const char *start = ++p;

	while ((p = memchr(p, '"', (size_t)(end - p))) != NULL)
	{
		const char *before = p;

		while (before > start && before[-1] == '\\')
			before--;
		p++;
		if ((p - 1 - before) % 2 == 0)
			return p;
	}
	return end;
}

static const char *skip_container(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end)
	{
		switch (*p)
		{
			case '"':
				p = skip_string(p, end);
				continue;
			case '[':
			case '{':
				depth++;
				break;
			case ']':
			case '}':
				if (--depth == 0)
					return p + 1;
				break;
			default:
				break;
		}
		p++;
	}
	return end;
}

static const char *skip_value(const char *p, const char *end)
{
	if (p == end)
		return end;
	if (*p == '"')
		return skip_string(p, end);
	if (*p == '[' || *p == '{')
		return skip_container(p, end);
	while (p < end && *p != ',' && *p != ']' && *p != '}' && !is_space(*p))
		p++;
	return p;
}

struct slice json_trim(struct slice text)
{
	const char *end = text.bytes + text.len;
	const char *start = skip_space(text.bytes, end);

	while (end > start && is_space(end[-1]))
		end--;
	return (struct slice){start, (size_t)(end - start)};
}

enum json_kind json_kind(struct slice value)
{
	if (value.bytes == NULL || value.len == 0)
		return JSON_NONE;
	switch (value.bytes[0])
	{
		case '{':
			return JSON_OBJECT;
		case '[':
			return JSON_ARRAY;
		case '"':
			return JSON_STRING;
		case 't':
		case 'f':
			return JSON_BOOLEAN;
		case 'n':
			return JSON_NULL;
		default:
			return JSON_NUMBER;
	}
}

const char *json_kind_name(enum json_kind kind)
{
	static const char *const names[] = {
		[JSON_NONE] = "nothing",	 [JSON_NULL] = "null",		 [JSON_BOOLEAN] = "a boolean",
		[JSON_NUMBER] = "a number",	 [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",
		[JSON_OBJECT] = "an object",
	};

	return names[kind];
}

void json_iterate(struct json_iterator *iterator, struct slice container)
{
	/* Without the brackets. */
	iterator->pos = container.bytes + 1;
	iterator->end = container.bytes + container.len - 1;
}

/* Passes over white space and one comma; false at the end. */
static bool step(struct json_iterator *iterator)
{
	iterator->pos = skip_space(iterator->pos, iterator->end);
	if (iterator->pos < iterator->end && *iterator->pos == ',')
		iterator->pos = skip_space(iterator->pos + 1, iterator->end);
	return iterator->pos < iterator->end;
}

static struct slice take_value(struct json_iterator *iterator)
{
	struct slice value = {iterator->pos, 0};

	iterator->pos = skip_value(iterator->pos, iterator->end);
	value.len = (size_t)(iterator->pos - value.bytes);
	return value;
}

bool json_next_element(struct json_iterator *iterator, struct slice *value)
{
	if (!step(iterator))
		return false;
	*value = take_value(iterator);
	return true;
}

bool json_next_member(struct json_iterator *iterator, struct slice *key, struct slice *value)
{
	if (!step(iterator))
		return false;
	*key = take_value(iterator);
	iterator->pos = skip_space(iterator->pos, iterator->end);
	if (iterator->pos < iterator->end)
		iterator->pos = skip_space(iterator->pos + 1, iterator->end); /* the colon */
	*value = take_value(iterator);
	return true;
}

/* ---- strings in and out ------------------------------------------------ */

static size_t encode_utf8(int32_t code, char out[4])
{
	if (code < 0x80)
	{
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800)
	{
		out[0] = (char)(0xC0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000)
	{
		out[0] = (char)(0xE0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3F));
		out[2] = (char)(0x80 | (code & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3F));
	out[2] = (char)(0x80 | (code >> 6 & 0x3F));
	out[3] = (char)(0x80 | (code & 0x3F));
	return 4;
}

/* Decodes the escape at *p into out (0 bytes: it spells nothing that a text can hold). */
static size_t decode_escape(const char **p, const char *end, char out[4])
{
	static const char letters[] = "bfnrt";
	static const char meanings[] = "\b\f\n\r\t";
	const char *letter;
	int32_t code;

	if (end - *p < 2)
		return 0;
	if ((*p)[1] == 'u')
	{
		size_t len = read_unicode_escape(*p, end, &code);

		*p += len;
		return len == 0 || code <= 0 ? 0 : encode_utf8(code, out);
	}
	letter = memchr(letters, (*p)[1], sizeof(letters) - 1);
	out[0] = (char)(letter != NULL ? meanings[letter - letters] : (*p)[1]);
	*p += 2;
	return 1;
}

const char *json_decode(struct slice string, struct buf *out)
{
	const char *p = string.bytes + 1;
	const char *end = string.bytes + string.len - 1;

	while (p < end)
	{
		const char *escape = memchr(p, '\\', (size_t)(end - p));
		char decoded[4];
		size_t len;

		if (escape == NULL)
			escape = end;
		buf_add(out, p, (size_t)(escape - p));
		p = escape;
		if (p == end)
			break;
		len = decode_escape(&p, end, decoded);
		if (len == 0)
			return memcmp(escape, "\\u0000", 6) == 0 ? "\\u0000 cannot be stored in a string"
													 : "half a surrogate pair cannot be stored in a string";
		buf_add(out, decoded, len);
	}
	return NULL;
}

bool json_string_is(struct slice string, const char *text)
{
	const char *p = string.bytes + 1;
	const char *end = string.bytes + string.len - 1;
	size_t left = strlen(text);

	if (memchr(p, '\\', (size_t)(end - p)) == NULL)
		return (size_t)(end - p) == left && memcmp(p, text, left) == 0;
	while (p < end)
	{
		char decoded[4] = {*p};
		size_t len = 1;

		if (*p == '\\')
			len = decode_escape(&p, end, decoded);
		else
			p++;
		if (len == 0 || len > left || memcmp(decoded, text, len) != 0)
			return false;
		text += len;
		left -= len;
	}
	return left == 0;
}

bool json_integer(struct slice text, int64_t *value)
{
	struct number number;
	uint64_t limit;
	uint64_t sum = 0;
	int64_t places; /* digits that stand before the point once the exponent is applied */

	if (text.len == 0 || parse_number(text.bytes, text.bytes + text.len, &number) != text.bytes + text.len)
		return false;
	limit = (uint64_t)INT64_MAX + (number.negative ? 1 : 0);
	places = (int64_t)number.whole.len + number.exponent;
	for (size_t i = 0; i < number.whole.len + number.fraction.len; i++)
	{
		unsigned digit = (unsigned)(i < number.whole.len ? number.whole.bytes[i]
														 : number.fraction.bytes[i - number.whole.len]) -
						 '0';

		if ((int64_t)i >= places)
		{
			if (digit != 0)
				return false;
			continue;
		}
		if (sum > (limit - digit) / 10)
			return false;
		sum = sum * 10 + digit;
	}
	for (int64_t i = (int64_t)(number.whole.len + number.fraction.len); sum != 0 && i < places; i++)
	{
		if (sum > limit / 10)
			return false;
		sum *= 10;
	}
	*value = number.negative ? (int64_t)(0 - sum) : (int64_t)sum;
	return true;
}

static void add_special(struct buf *out, char c)
{
	static const char letters[] = "btnfr";
	static const char meanings[] = "\b\t\n\f\r";
	const char *meaning = memchr(meanings, c, sizeof(meanings) - 1);
	char escape[2] = {'\\', c};

	if (c == '"' || c == '\\')
		buf_add(out, escape, 2);
	else if (meaning != NULL)
	{
		escape[1] = letters[meaning - meanings];
		buf_add(out, escape, 2);
	}
	else
		buf_printf(out, "\\u%04x", (unsigned)(unsigned char)c);
}

void json_add_string(struct buf *out, const char *bytes, size_t len)
{
	const char *p = bytes;
	const char *end = bytes + len;

	buf_add(out, "\"", 1);
	while (p < end)
	{
		const char *plain = p;

		p = skip_plain(p, end);
		buf_add(out, plain, (size_t)(p - plain));
		if (p == end)
			break;
		if ((unsigned char)*p < 0x80)
			add_special(out, *p++);
		else
		{
			size_t n = json_utf8_len((const unsigned char *)p, (const unsigned char *)end);

			if (n == 0)
				buf_add(out, "\xEF\xBF\xBD", 3);
			else
				buf_add(out, p, n);
			p += n == 0 ? 1 : n;
		}
	}
	buf_add(out, "\"", 1);
}
