/*
 * fuzz_json.c: the scanner agrees with json-c on what is JSON, on where each value begins and ends, and on
 * what strings spell.  Differences that are meant are listed in oracle.h.
 */
#include <errno.h>
#include <inttypes.h>

#include "oracle.h"
#include "pattern.h"

/* ---- texts that only json-c takes ------------------------------------------------ */

static bool is_number(struct slice text)
{
	static struct pattern pattern;

	return pattern_matches(&pattern, "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?$", text, NULL, 0);
}

static bool is_plain_integer(struct slice text)
{
	static struct pattern pattern;

	return pattern_matches(&pattern, "^-?[0-9]+$", text, NULL, 0);
}

/* What json-c takes for a number, or is one. */
static bool is_nearly_number(struct slice text)
{
	static struct pattern pattern;

	return pattern_matches(&pattern, "^([-+.0-9eE]+|-?NaN|-?Infinity)$", text, NULL, 0);
}

/* The number or word that stands at, or ends before, a place. */
static struct slice word_at(struct slice text, size_t place)
{
	static const char stops[] = " \t\r\n\v\f[]{},:\"";
	size_t start = place;
	size_t end = place;

	while (start > 0 && strchr(stops, text.bytes[start - 1]) == NULL)
		start--;
	while (end < text.len && strchr(stops, text.bytes[end]) == NULL)
		end++;
	return (struct slice){text.bytes + start, end - start};
}

static size_t depth_at(struct slice text, size_t place)
{
	size_t depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < place; i++)
	{
		char c = text.bytes[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string)
			depth += (c == '[' || c == '{') - (size_t)(c == ']' || c == '}');
	}
	return depth;
}

static bool is_known_difference(struct slice text, const struct json_verdict *verdict)
{
	size_t at = verdict->offset;
	struct slice word = word_at(text, at);

	if (verdict->malformation == JSON_TOO_DEEP)
		return depth_at(text, at) == JSON_MAX_DEPTH && strchr("[{", text.bytes[at]) != NULL;
	if (at < text.len && (unsigned char)text.bytes[at] < 0x20 && strchr("\t\r\n", text.bytes[at]) == NULL)
		return true;
	if (at < text.len && strchr("\t\r\n", text.bytes[at]) != NULL)
		return strcmp(verdict->reason, "a control character in a string") == 0;
	if (strcmp(verdict->reason, "a key that is not a string") == 0 && at < text.len && text.bytes[at] == '\'')
		return true;
	return is_nearly_number(word) && !is_number(word);
}

/* ---- values ------------------------------------------------------------------------ */

/* Returns true when Postgres cannot hold something in the value. */
static bool compare(struct slice value, struct json_object *expected);

static bool compare_string(struct slice string, struct json_object *expected)
{
	struct slice oracle = {json_object_get_string(expected), (size_t)json_object_get_string_len(expected)};
	struct buf out = {0};
	struct buf written = {0};
	bool unsupported = json_decode(string, &out) != NULL;

	if (!unsupported)
	{
		require(fuzz_equal((struct slice){out.data, out.len}, oracle));
		require(json_string_is(string, oracle.bytes));
		/* And what we write is read as what it was. */
		json_add_string(&written, out.len > 0 ? out.data : "", out.len);
		buf_clear(&out);
		require(json_decode((struct slice){written.data, written.len}, &out) == NULL);
		require(fuzz_equal((struct slice){out.data, out.len}, oracle));
	}
	else
		require(memchr(oracle.bytes, '\0', oracle.len) != NULL ||
				memmem(oracle.bytes, oracle.len, "\xEF\xBF\xBD", 3) != NULL);
	buf_free(&out);
	buf_free(&written);
	return unsupported;
}

static bool compare_number(struct slice number)
{
	struct json_verdict verdict;
	char text[5000];
	int64_t value;
	bool integer = json_integer(number, &value);

	require(number.len < sizeof(text));
	memcpy(text, number.bytes, number.len);
	text[number.len] = '\0';
	/* A long double holds every int64 exactly. */
	if (integer)
		require(strtold(text, NULL) == (long double)value);
	if (is_plain_integer(number))
	{
		errno = 0;
		require(strtoll(text, NULL, 10) == value || !integer);
		require(integer == (errno == 0));
	}
	require(json_check(number, &verdict));
	return verdict.unsupported != NULL;
}

/* A part must lie in its container, be a value by itself, and have only `between` in front of it. */
static void check_extent(struct slice part, const char **before, const char *end, const char *between)
{
	struct json_verdict verdict;

	require(part.bytes >= *before && part.len > 0 && part.len <= (size_t)(end - part.bytes));
	for (const char *p = *before; p < part.bytes; p++)
		require(strchr(between, *p) != NULL);
	require(json_check(part, &verdict));
	require(fuzz_equal(json_trim(part), part));
	*before = part.bytes + part.len;
}

static bool compare_array(struct slice array, struct json_object *expected)
{
	const char *before = array.bytes + 1;
	const char *end = array.bytes + array.len - 1;
	struct json_iterator iterator;
	struct slice element;
	bool unsupported = false;
	size_t n = 0;

	json_iterate(&iterator, array);
	while (json_next_element(&iterator, &element))
	{
		check_extent(element, &before, end, n > 0 ? " \t\r\n," : " \t\r\n");
		require(n < json_object_array_length(expected));
		unsupported |= compare(element, json_object_array_get_idx(expected, n++));
	}
	require(n == json_object_array_length(expected));
	return unsupported;
}

/* Of duplicates the last one is json-c's. */
static bool is_last(struct json_iterator behind, const char *key)
{
	struct slice other, value;

	while (json_next_member(&behind, &other, &value))
	{
		if (json_string_is(other, key))
			return false;
	}
	return true;
}

static bool is_unsupported(struct slice value)
{
	struct json_verdict verdict;

	require(json_check(value, &verdict));
	return verdict.unsupported != NULL;
}

/* A key that json-c spells otherwise may be another one's for it. */
static bool has_odd_key(struct slice object)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (is_unsupported(key))
			return true;
	}
	return false;
}

static bool compare_object(struct slice object, struct json_object *expected)
{
	const char *before = object.bytes + 1;
	const char *end = object.bytes + object.len - 1;
	struct json_iterator iterator;
	struct slice key, value;
	bool unsupported = false;
	bool odd_keys = has_odd_key(object);
	int lasts = 0;
	bool first = true;

	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		struct json_object *found;
		struct buf name = {0};

		check_extent(key, &before, end, first ? " \t\r\n" : " \t\r\n,");
		check_extent(value, &before, end, " \t\r\n:");
		first = false;
		require(json_kind(key) == JSON_STRING);
		if (odd_keys)
			unsupported |= is_unsupported(value);
		else
		{
			require(json_decode(key, &name) == NULL);
			buf_add(&name, "", 1);
			require(json_object_object_get_ex(expected, name.data, &found));
			if (is_last(iterator, name.data))
			{
				lasts++;
				unsupported |= compare(value, found);
			}
			else
				unsupported |= is_unsupported(value);
		}
		buf_free(&name);
	}
	require(odd_keys || lasts == json_object_object_length(expected));
	return unsupported || odd_keys;
}

static bool compare(struct slice value, struct json_object *expected)
{
	enum json_type type = json_object_get_type(expected);

	switch (json_kind(value))
	{
		case JSON_NULL:
			require(type == json_type_null);
			return false;
		case JSON_BOOLEAN:
			require(type == json_type_boolean &&
					json_object_get_boolean(expected) == slice_is(value, "true"));
			return false;
		case JSON_NUMBER:
			require(type == json_type_int || type == json_type_double);
			return compare_number(value);
		case JSON_STRING:
			require(type == json_type_string);
			return compare_string(value, expected);
		case JSON_ARRAY:
			require(type == json_type_array);
			return compare_array(value, expected);
		case JSON_OBJECT:
			require(type == json_type_object);
			return compare_object(value, expected);
		case JSON_NONE:
			break;
	}
	require(!"a value of no kind");
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = fuzz_slice(data, size);
	struct json_object *expected;
	struct json_verdict verdict;
	bool ok = json_check(text, &verdict);

	require(ok == (verdict.malformation == JSON_WELL_FORMED) && ok == (verdict.reason == NULL));
	require(verdict.offset <= size);
	if (!fuzz_is_utf8(text) || memchr(text.bytes, '\0', size) != NULL)
	{
		require(!ok);
		return 0;
	}
	if (oracle_parse(text, &expected))
	{
		require(ok || is_known_difference(text, &verdict));
		if (ok)
			require(compare(json_trim(text), expected) == (verdict.unsupported != NULL));
		json_object_put(expected);
	}
	else
		require(!ok);
	return 0;
}
