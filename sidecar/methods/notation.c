/*
 * notation.c: JSON Schema from the notation of types (see notation.h), by recursive descent.
 */
#include "methods/notation.h"

#include <string.h>

struct reader
{
	struct buf *out;
	const char *at;
	bool closed;
};

static const struct word
{
	const char *name;
	const char *schema; /* the members of its object */
	const char *least;	/* the keys of its bounds */
	const char *most;
} words[] = {
	{"any", "", NULL, NULL},
	{"boolean", "\"type\":\"boolean\"", NULL, NULL},
	{"integer", "\"type\":\"integer\"", "\"minimum\":", "\"maximum\":"},
	{"null", "\"type\":\"null\"", NULL, NULL},
	{"number", "\"type\":\"number\"", NULL, NULL},
	{"object", "\"type\":\"object\"", NULL, NULL},
	{"string", "\"type\":\"string\"", "\"minLength\":", "\"maxLength\":"},
	{"time", "\"type\":\"string\",\"format\":\"date-time\"", NULL, NULL},
	{"uuid", "\"type\":\"string\",\"format\":\"uuid\"", NULL, NULL},
};

static void add_type(struct reader *reader);

/* ---- tokens ---------------------------------------------------------------- */

static bool take(struct reader *reader, char c)
{
	reader->at += strspn(reader->at, " ");
	if (*reader->at != c)
		return false;
	reader->at++;
	return true;
}

/* What stands before one of `ends`, or the end of the text. */
static struct slice take_until(struct reader *reader, const char *ends)
{
	struct slice taken;

	reader->at += strspn(reader->at, " ");
	taken = (struct slice){reader->at, strcspn(reader->at, ends)};
	reader->at += taken.len;
	return taken;
}

/* ---- what is written --------------------------------------------------------- */

/* Between the elements of what is being written. */
static void separate(struct buf *out)
{
	if (out->len > 0 && strchr("{[", out->data[out->len - 1]) == NULL)
		buf_add(out, ",", 1);
}

/* `key` with its quotes and its colon. */
static void add_key(struct buf *out, const char *key)
{
	separate(out);
	buf_add_str(out, key);
}

static void add_string(struct buf *out, struct slice text)
{
	separate(out);
	buf_printf(out, "\"%.*s\"", (int)text.len, text.bytes);
}

void notation_add_json(struct buf *out, struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		buf_add(out, text.bytes[i] == '\'' ? "\"" : &text.bytes[i], 1);
}

/* ---- types ------------------------------------------------------------------ */

/* (1..200), if it is there. */
static void add_bounds(struct reader *reader, const char *least, const char *most)
{
	struct slice bound;

	if (least == NULL || *reader->at != '(')
		return;
	reader->at++;
	bound = take_until(reader, ".");
	if (bound.len > 0)
	{
		add_key(reader->out, least);
		buf_add(reader->out, bound.bytes, bound.len);
	}
	reader->at += strspn(reader->at, ".");
	bound = take_until(reader, ")");
	if (bound.len > 0)
	{
		add_key(reader->out, most);
		buf_add(reader->out, bound.bytes, bound.len);
	}
	take(reader, ')');
}

static void add_word(struct reader *reader)
{
	struct slice name = take_until(reader, " =(|,)]>}`\n");

	if (name.len > 0 && name.bytes[0] >= 'A' && name.bytes[0] <= 'Z')
	{
		buf_printf(reader->out, "\"$ref\":\"#/components/schemas/%.*s\"", (int)name.len, name.bytes);
		return;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (!slice_is(name, words[i].name))
			continue;
		buf_add_str(reader->out, words[i].schema);
		add_bounds(reader, words[i].least, words[i].most);
		return;
	}
	reader->at = name.bytes; /* nothing behind it is understood */
}

static void add_literals(struct reader *reader)
{
	buf_add_str(reader->out, "\"type\":\"string\",\"enum\":[");
	while (take(reader, '\''))
	{
		add_string(reader->out, take_until(reader, "'"));
		take(reader, '\'');
		reader->at += strncmp(reader->at, "|'", 2) == 0;
	}
	buf_add(reader->out, "]", 1);
}

/* An array of the schemas of types, with `between` between them, up to `end`; returns how many. */
static unsigned add_types(struct reader *reader, const char *key, char between, char end)
{
	unsigned n = 0;

	add_key(reader->out, key);
	buf_add(reader->out, "[", 1);
	do
	{
		separate(reader->out);
		add_type(reader);
		n++;
	} while (take(reader, between));
	take(reader, end);
	buf_add(reader->out, "]", 1);
	return n;
}

static void add_tuple(struct reader *reader)
{
	unsigned n;

	buf_add_str(reader->out, "\"type\":\"array\"");
	n = add_types(reader, "\"items\":", ',', '>');
	buf_printf(reader->out, ",\"minItems\":%u,\"maxItems\":%u", n, n);
}

static void add_array(struct reader *reader)
{
	buf_add_str(reader->out, "\"type\":\"array\",\"items\":");
	add_type(reader);
	take(reader, ']');
	add_bounds(reader, "\"minItems\":", "\"maxItems\":");
}

static void add_members(struct reader *reader)
{
	struct buf required = {0};

	buf_add_str(reader->out, ",\"properties\":{");
	do
	{
		struct slice name = take_until(reader, "?:}");

		add_string(reader->out, name);
		if (!take(reader, '?'))
			add_string(&required, name);
		take(reader, ':');
		buf_add(reader->out, ":", 1);
		add_type(reader);
	} while (take(reader, ','));
	buf_add(reader->out, "}", 1);
	if (required.len > 0)
	{
		buf_add_str(reader->out, ",\"required\":[");
		buf_add(reader->out, required.data, required.len);
		buf_add(reader->out, "]", 1);
	}
	if (reader->closed)
		buf_add_str(reader->out, ",\"additionalProperties\":false");
	reader->out->failed = reader->out->failed || required.failed;
	buf_free(&required);
}

static void add_object(struct reader *reader)
{
	buf_add_str(reader->out, "\"type\":\"object\"");
	if (take(reader, '*') && take(reader, ':'))
	{
		add_key(reader->out, "\"additionalProperties\":");
		add_type(reader);
	}
	else
		add_members(reader);
	take(reader, '}');
}

static void add_type(struct reader *reader)
{
	struct slice text;

	buf_add(reader->out, "{", 1);
	if (take(reader, '{'))
		add_object(reader);
	else if (take(reader, '['))
		add_array(reader);
	else if (take(reader, '<'))
		add_tuple(reader);
	else if (take(reader, '('))
		add_types(reader, "\"anyOf\":", '|', ')');
	else if (*reader->at == '\'')
		add_literals(reader);
	else
		add_word(reader);
	if (take(reader, '='))
	{
		text = take_until(reader, " ,)]>}`\n");
		add_key(reader->out, "\"default\":");
		notation_add_json(reader->out, text);
	}
	if (take(reader, '`'))
	{
		text = take_until(reader, "`");
		add_key(reader->out, "\"description\":");
		buf_printf(reader->out, "\"%.*s\"", (int)text.len, text.bytes);
		take(reader, '`');
	}
	buf_add(reader->out, "}", 1);
}

const char *notation_add_schema(struct buf *out, const char *type, bool closed)
{
	struct reader reader = {.out = out, .at = type, .closed = closed};

	add_type(&reader);
	return reader.at + strspn(reader.at, " ");
}
