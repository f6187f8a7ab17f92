/*
 * json: a strict scanner for RFC 8259 text.  It builds nothing and copies nothing.
 *
 * A text is checked once, as a whole, with json_check; after that values are handed around as slices of it
 * and the functions below find their way by skipping, without checking again.  Calling them on text that
 * was not checked is a bug (they stay within the slice, but what they find means nothing).
 *
 * Beyond the grammar json_check notes what a Postgres jsonb cannot hold: \u0000, surrogates without their
 * other half, numbers beyond numeric, overlong strings; and numbers whose exponents would make it much
 * longer, because jsonb writes 1e131071 with all its zeros.  That is kept apart from malformed text, because
 * it only matters where the value is going to be stored.
 */
#ifndef MILLRACE_JSON_H
#define MILLRACE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

#define JSON_MAX_DEPTH 1000		  /* arrays and objects within each other */
#define JSON_MAX_STRING 268435455 /* bytes; jsonb's own limit (JENTRY_OFFLENMASK) */
#define JSON_MAX_ZEROS (64 << 20) /* of all numbers in a text, once they are written without exponents */

enum json_kind
{
	JSON_NONE, /* no value: an empty slice */
	JSON_NULL,
	JSON_BOOLEAN,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

enum json_malformation
{
	JSON_WELL_FORMED,
	JSON_SYNTAX,
	JSON_NOT_UTF8,
	JSON_TOO_DEEP,
};

struct json_verdict
{
	enum json_malformation malformation;
	size_t offset;		/* of the malformation */
	const char *reason; /* of the malformation, static text; NULL when well formed */
	const char
		*unsupported; /* the first thing that jsonb cannot hold, static text; NULL when there is none */
	size_t unsupported_offset;
};

/* True when text is one JSON value with nothing but white space around it. */
bool json_check(struct slice text, struct json_verdict *verdict);

/* The value without the white space around it. */
struct slice json_trim(struct slice text);
enum json_kind json_kind(struct slice value);
const char *json_kind_name(enum json_kind kind); /* "an array", "null", ... for error messages */

/* Walks the elements of an array or the members of an object, in order. */
struct json_iterator
{
	const char *pos;
	const char *end;
};

void json_iterate(struct json_iterator *iterator, struct slice container);
bool json_next_element(struct json_iterator *iterator, struct slice *value);
bool json_next_member(struct json_iterator *iterator, struct slice *key, struct slice *value);

/* `string` is a JSON string with its quotes: does it spell `text`? */
bool json_string_is(struct slice string, const char *text);
/* Whether an object has a member of that name. */
bool json_has_member(struct slice object, const char *name);

/*
 * Appends what a JSON string spells.  Returns NULL, or why it can't be a Postgres text (static text):
 * \u0000 or half a surrogate pair.  Out of memory shows in out->failed.
 */
const char *json_decode(struct slice string, struct buf *out);

/* The number as an integer when it is one: 1, 1.0, 1e2, 100e-2.  False: a fraction, or out of range. */
bool json_integer(struct slice number, int64_t *value);

/* Appends bytes as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void json_add_string(struct buf *out, const char *bytes, size_t len);

/* The length of the well-formed UTF-8 character at p, 0 when there is none before end. */
size_t json_utf8_len(const unsigned char *p, const unsigned char *end);
/* Whether the bytes are UTF-8 without NUL, as every text of Postgres is. */
bool json_is_text(const char *bytes, size_t len);

#endif
