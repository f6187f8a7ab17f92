/*
 * json_value.c: finds the way in text that was checked, and reads its strings and integers (see json.h).
 */
#include "base/json_internal.h"

/* ---- values -------------------------------------------------------------- */

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
	while (p < end && *p != ',' && *p != ']' && *p != '}' && !json_is_space(*p))
		p++;
	return p;
}

struct slice json_trim(struct slice text)
{
	const char *end = text.bytes + text.len;
	const char *start = json_skip_space(text.bytes, end);

	while (end > start && json_is_space(end[-1]))
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
	iterator->pos = json_skip_space(iterator->pos, iterator->end);
	if (iterator->pos < iterator->end && *iterator->pos == ',')
		iterator->pos = json_skip_space(iterator->pos + 1, iterator->end);
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
	iterator->pos = json_skip_space(iterator->pos, iterator->end);
	if (iterator->pos < iterator->end)
		iterator->pos = json_skip_space(iterator->pos + 1, iterator->end); /* the colon */
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
		size_t len = json_read_unicode_escape(*p, end, &code);

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
			return memcmp(escape, "\\u0000", 6) == 0 ? JSON_NUL_IN_STRING : JSON_HALF_A_PAIR;
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
	struct json_number number;
	uint64_t limit;
	uint64_t sum = 0;
	int64_t places; /* digits that stand before the point once the exponent is applied */

	if (text.len == 0 ||
		json_read_number(text.bytes, text.bytes + text.len, &number) != text.bytes + text.len)
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

bool json_has_member(struct slice object, const char *name)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, name))
			return true;
	}
	return false;
}
