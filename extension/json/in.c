/*
 * in.c: JSON text to jsonb, as jsonb_in() makes it, for the messages that the HTTP side sends.
 *
 * jsonb_in() copies strings byte by byte and calls back for each token, which was a tenth of what a batch
 * cost Postgres.  Here strings are looked through sixteen bytes at a time and taken where they lie, and
 * tree.c makes the jsonb of them.
 *
 * Only what is plainly right is read here: objects in UTF-8, without \u escapes, not very deep nor very long.
 * Everything else, mistakes above all, is read by jsonb_in(), from the beginning; so what is accepted and
 * each error are its own.
 *
 * Memory: strings without escapes point into the text until the jsonb is made of them.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "json/bytes.h"
#include "json/in.h"
#include "json/tree.h"

/* Levels of nesting: each is a call of its own. */
#define MAX_DEPTH 64
/* Bytes of a text.  So no object has more members, and no jsonb more bytes, than jsonb_in() lets one have. */
#define MAX_TEXT ((size_t)16 * 1024 * 1024)
/* Nodes that the stack has room for, and how many there are in a block of others. */
#define FEW_NODES 24
#define BLOCK_NODES 256
/* Digits that any int8 has room for. */
#define MAX_INT8_DIGITS 18
/* Bytes of a number, and digits of its exponent, with which numeric_in() surely refuses none for its size. */
#define MAX_NUMBER 1000
#define MAX_EXPONENT_DIGITS 4

typedef struct Reader
{
	const char *next;
	const char *end; /* a NUL is there, which is no part of JSON */
	JsonNode *nodes; /* that are not used yet */
	int nnodes;
	Size room; /* of the jsonb, at most */
} Reader;

static bool ReadValue(Reader *reader, JsonNode *node, int depth);

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
ReadEscapedString(Reader *reader, const char *from, Slice *string)
{
	const char *end = EndOfString(reader);
	const char *next = reader->next;
	char *bytes, *to;

	if (!end)
		return false;
	to = bytes = palloc((size_t)(end - from));
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
	*string = (Slice){bytes, (int)(to - bytes)};
	reader->next = end + 1;
	return true;
}

static bool
ReadString(Reader *reader, Slice *string)
{
	const char *from = reader->next + 1;

	if (*reader->next != '"')
		return false;
	reader->next = SkipPlain(from, reader->end);
	if (*reader->next == '\\')
		return ReadEscapedString(reader, from, string);
	*string = (Slice){from, (int)(reader->next - from)};
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

/*
 * The rest of a number, behind its integer; false for what JSON does not know, and for exponents that may be
 * too large: what follows may say first that it is no number at all.
 */
static bool
SkipFractionAndExponent(Reader *reader)
{
	const char *exponent;

	if (Take(reader, '.') && !SkipDigits(reader))
		return false;
	if (!Take(reader, 'e') && !Take(reader, 'E'))
		return true;
	if (!Take(reader, '-'))
		(void)Take(reader, '+');
	exponent = reader->next;
	return SkipDigits(reader) && reader->next - exponent <= MAX_EXPONENT_DIGITS;
}

/*
 * A number of few digits and without an exponent, from its digits on, which are right; NULL: it is none.  As
 * numeric_in() has it, with all digits of its fraction.
 */
static Numeric
SmallNumber(const char *digits, const char *end, bool negative)
{
	const char *point = memchr(digits, '.', (size_t)(end - digits));
	int64 value = 0;

	if (end - digits - (point ? 1 : 0) > MAX_INT8_DIGITS)
		return NULL;
	for (const char *next = digits; next < end; next++)
	{
		if (next == point)
			continue;
		if (*next < '0' || *next > '9')
			return NULL;
		value = value * 10 + (*next - '0');
	}
	if (negative)
		value = -value;
	return point ? int64_div_fast_to_numeric(value, (int)(end - point - 1)) : int64_to_numeric(value);
}

static bool
ReadNumber(Reader *reader, Slice *numeric)
{
	const char *from = reader->next;
	bool negative = Take(reader, '-');
	const char *digits = reader->next;
	Numeric number;

	if (!SkipDigits(reader) || (*digits == '0' && reader->next > digits + 1) ||
		!SkipFractionAndExponent(reader) || reader->next - from > MAX_NUMBER)
		return false;
	number = SmallNumber(digits, reader->next, negative);
	if (!number)
		number = DatumGetNumeric(DirectFunctionCall3(numeric_in,
													 CStringGetDatum(pnstrdup(from, reader->next - from)),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	*numeric = (Slice){(const char *)number, (int)VARSIZE_ANY(number)};
	return true;
}

/* ---- values -------------------------------------------------------------------------------------------- */

static JsonNode *
NewNode(Reader *reader)
{
	if (reader->nnodes == 0)
	{
		reader->nodes = palloc(sizeof(JsonNode) * BLOCK_NODES);
		reader->nnodes = BLOCK_NODES;
	}
	reader->nnodes--;
	reader->room += JSON_NODE_ROOM;
	return reader->nodes++;
}

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
ReadScalar(Reader *reader, JsonNode *node)
{
	node->value.len = 0;
	switch (*reader->next)
	{
		case '"':
			node->kind = JENTRY_ISSTRING;
			return ReadString(reader, &node->value);
		case 't':
			node->kind = JENTRY_ISBOOL_TRUE;
			return TakeWord(reader, "true");
		case 'f':
			node->kind = JENTRY_ISBOOL_FALSE;
			return TakeWord(reader, "false");
		case 'n':
			node->kind = JENTRY_ISNULL;
			return TakeWord(reader, "null");
		default:
			node->kind = JENTRY_ISNUMERIC;
			return ReadNumber(reader, &node->value);
	}
}

static bool
ReadMember(Reader *reader, JsonNode *node, int depth)
{
	SkipBlanks(reader);
	if (!ReadString(reader, &node->key))
		return false;
	reader->room += (Size)node->key.len;
	SkipBlanks(reader);
	return Take(reader, ':') && ReadValue(reader, node, depth);
}

/* Reads what an opening brace or bracket begins. */
static bool
ReadContainer(Reader *reader, JsonNode *node, int depth)
{
	bool object = *reader->next == '{';
	char closing = object ? '}' : ']';
	JsonNode **end = &node->first;

	if (depth >= MAX_DEPTH)
		return false;
	reader->next++;
	node->kind = JENTRY_ISCONTAINER;
	node->object = object;
	node->nmembers = 0;
	SkipBlanks(reader);
	if (!Take(reader, closing))
	{
		do
		{
			JsonNode *member = *end = NewNode(reader);

			member->order = node->nmembers++;
			if (!(object ? ReadMember(reader, member, depth + 1) : ReadValue(reader, member, depth + 1)))
				return false;
			end = &member->next;
			SkipBlanks(reader);
		} while (Take(reader, ','));
		if (!Take(reader, closing))
			return false;
	}
	*end = NULL;
	return true;
}

static bool
ReadValue(Reader *reader, JsonNode *node, int depth)
{
	SkipBlanks(reader);
	if (*reader->next == '{' || *reader->next == '[')
		return ReadContainer(reader, node, depth);
	if (!ReadScalar(reader, node))
		return false;
	reader->room += (Size)node->value.len;
	return true;
}

/*
 * Makes jsonb of JSON in the server's encoding, which a NUL follows.  The errors are those of jsonb_in():
 * 22P02 and others.
 */
Jsonb *
JsonbFromText(const char *json, size_t len)
{
	JsonNode few[FEW_NODES];
	Reader reader = {.next = json, .end = json + len, .nodes = few, .nnodes = FEW_NODES};
	JsonNode *root = NewNode(&reader);

	SkipBlanks(&reader);
	if (GetDatabaseEncoding() == PG_UTF8 && len <= MAX_TEXT && *reader.next == '{' &&
		ReadContainer(&reader, root, 0))
	{
		SkipBlanks(&reader);
		if (reader.next == reader.end && reader.room <= JENTRY_OFFLENMASK)
			return JsonbFromTree(root, reader.room);
	}
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}
