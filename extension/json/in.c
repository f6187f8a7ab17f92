/*
 * in.c: JSON text to jsonb, as jsonb_in() makes it, for the messages that the HTTP side sends.
 *
 * jsonb_in() copies strings byte by byte and calls back for each token, which was a tenth of what a batch
 * cost Postgres.  Here strings are looked through sixteen bytes at a time and taken where they lie.  The
 * jsonb is still composed by pushJsonbValue().
 *
 * Only what is plainly right is read here: objects in UTF-8, without \u escapes, not very deep.  Everything
 * else, mistakes above all, is read by jsonb_in(), from the beginning; so what is accepted and each error
 * are its own.
 *
 * Memory: strings without escapes point into the text until the jsonb is made of them.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "json/bytes.h"
#include "base/compat.h"
#include "json/in.h"

/* Levels of nesting: each is a call of its own. */
#define MAX_DEPTH 64
/* Digits that any int8 has room for. */
#define MAX_INT8_DIGITS 18

typedef struct Reader
{
	const char *next;
	const char *end; /* a NUL is there, which is no part of JSON */
	CompatJsonbState state;
} Reader;

static bool ReadValue(Reader *reader, JsonbIteratorToken as, int depth);

static void
SkipBlanks(Reader *reader)
{
	while (*reader->next == ' ' || *reader->next == '\n' || *reader->next == '\t' || *reader->next == '\r')
		reader->next++;
}

static bool
Take(Reader *reader, char c)
{
	if (*reader->next != c)
		return false;
	reader->next++;
	return true;
}

/* ---- strings ------------------------------------------------------------------------------------------ */

/* What stands behind a backslash; NUL for what is not read here. */
static char
Unescaped(char c)
{
	switch (c)
	{
		case '"':
		case '\\':
		case '/':
			return c;
		case 'b':
			return '\b';
		case 'f':
			return '\f';
		case 'n':
			return '\n';
		case 'r':
			return '\r';
		case 't':
			return '\t';
		default:
			return '\0';
	}
}

/*
 * Finds the quote that ends a string, from its first backslash on; NULL: there is something that is not read
 * here.
 */
static const char *
EndOfString(Reader *reader)
{
	const char *next = reader->next;

	while (*next == '\\' && Unescaped(next[1]) != '\0')
		next = SkipPlain(next + 2, reader->end);
	return *next == '"' ? next : NULL;
}

/* Reads the rest of a string, from its first backslash on. */
static bool
ReadEscapedString(Reader *reader, const char *from, JsonbValue *value)
{
	const char *end = EndOfString(reader);
	const char *next = reader->next;
	char *to;

	if (!end)
		return false;
	to = value->val.string.val = palloc((size_t)(end - from));
	while (next < end)
	{
		memcpy(to, from, (size_t)(next - from));
		to += next - from;
		*to++ = Unescaped(next[1]);
		from = next + 2;
		next = SkipPlain(from, end);
	}
	memcpy(to, from, (size_t)(end - from));
	to += end - from;
	value->val.string.len = (int)(to - value->val.string.val);
	reader->next = end + 1;
	return true;
}

static bool
ReadString(Reader *reader, JsonbValue *value)
{
	const char *from = reader->next + 1;

	if (*reader->next != '"')
		return false;
	reader->next = SkipPlain(from, reader->end);
	value->type = jbvString;
	if (*reader->next == '\\')
		return ReadEscapedString(reader, from, value);
	value->val.string.val = unconstify(char *, from);
	value->val.string.len = (int)(reader->next - from);
	return Take(reader, '"');
}

/* ---- numbers ------------------------------------------------------------------------------------------- */

static bool
SkipDigits(Reader *reader)
{
	const char *from = reader->next;

	while (*reader->next >= '0' && *reader->next <= '9')
		reader->next++;
	return reader->next > from;
}

/* The rest of a number, behind its integer; false for what JSON does not know. */
static bool
SkipFractionAndExponent(Reader *reader)
{
	if (Take(reader, '.') && !SkipDigits(reader))
		return false;
	if (!Take(reader, 'e') && !Take(reader, 'E'))
		return true;
	if (!Take(reader, '-'))
		(void)Take(reader, '+');
	return SkipDigits(reader);
}

static Datum
SmallInteger(const char *digits, const char *end, bool negative)
{
	int64 value = 0;

	for (; digits < end; digits++)
		value = value * 10 + (*digits - '0');
	return DirectFunctionCall1(int8_numeric, Int64GetDatum(negative ? -value : value));
}

static bool
ReadNumber(Reader *reader, JsonbValue *value)
{
	const char *from = reader->next;
	bool negative = Take(reader, '-');
	const char *digits = reader->next;
	const char *end;
	Datum number;

	if (!SkipDigits(reader) || (*digits == '0' && reader->next > digits + 1))
		return false;
	end = reader->next;
	if (!SkipFractionAndExponent(reader))
		return false;
	if (reader->next == end && end - digits <= MAX_INT8_DIGITS)
		number = SmallInteger(digits, end, negative);
	else
		number = DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(from, reader->next - from)),
									 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(number);
	return true;
}

/* ---- values -------------------------------------------------------------------------------------------- */

static bool
TakeWord(Reader *reader, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(reader->next, word, len) != 0)
		return false;
	reader->next += len;
	return true;
}

static bool
ReadScalar(Reader *reader, JsonbValue *value)
{
	switch (*reader->next)
	{
		case '"':
			return ReadString(reader, value);
		case 't':
			value->type = jbvBool;
			value->val.boolean = true;
			return TakeWord(reader, "true");
		case 'f':
			value->type = jbvBool;
			value->val.boolean = false;
			return TakeWord(reader, "false");
		case 'n':
			value->type = jbvNull;
			return TakeWord(reader, "null");
		default:
			return ReadNumber(reader, value);
	}
}

static bool
ReadMember(Reader *reader, int depth)
{
	JsonbValue key;

	SkipBlanks(reader);
	if (!ReadString(reader, &key))
		return false;
	CompatPushJsonb(&reader->state, WJB_KEY, &key);
	SkipBlanks(reader);
	return Take(reader, ':') && ReadValue(reader, WJB_VALUE, depth);
}

/* Reads what an opening brace or bracket begins. */
static bool
ReadContainer(Reader *reader, int depth)
{
	bool object = *reader->next == '{';
	char closing = object ? '}' : ']';

	if (depth >= MAX_DEPTH)
		return false;
	reader->next++;
	CompatPushJsonb(&reader->state, object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY, NULL);
	SkipBlanks(reader);
	if (!Take(reader, closing))
	{
		do
		{
			if (!(object ? ReadMember(reader, depth + 1) : ReadValue(reader, WJB_ELEM, depth + 1)))
				return false;
			SkipBlanks(reader);
		} while (Take(reader, ','));
		if (!Take(reader, closing))
			return false;
	}
	CompatPushJsonb(&reader->state, object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
	return true;
}

static bool
ReadValue(Reader *reader, JsonbIteratorToken as, int depth)
{
	JsonbValue value;

	SkipBlanks(reader);
	if (*reader->next == '{' || *reader->next == '[')
		return ReadContainer(reader, depth);
	if (!ReadScalar(reader, &value))
		return false;
	CompatPushJsonb(&reader->state, as, &value);
	return true;
}

/*
 * Makes jsonb of JSON in the server's encoding, which a NUL follows.  The errors are those of jsonb_in():
 * 22P02 and others.
 */
Jsonb *
JsonbFromText(const char *json, size_t len)
{
	Reader reader = {.next = json, .end = json + len};

	SkipBlanks(&reader);
	if (GetDatabaseEncoding() == PG_UTF8 && len <= JENTRY_OFFLENMASK && *reader.next == '{' &&
		ReadContainer(&reader, 0))
	{
		SkipBlanks(&reader);
		if (reader.next == reader.end)
			return JsonbValueToJsonb(reader.state.result);
	}
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}
