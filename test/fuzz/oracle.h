/*
 * oracle: json-c at its strictest.
 *
 * It still takes more than RFC 8259 allows, and less than we do.  What a fuzzer that asks it must leave out
 * or decide itself:
 *
 *   UTF-8             its check lets overlong forms, surrogates and the like pass; fuzz_is_utf8 decides
 *   NUL               ends the text for it
 *   not ASCII         0.18 refuses it in strings when it is strict
 *   numbers           it takes some that are not in the grammar; a regular expression decides
 *   large integers    since 0.18 it refuses those beyond 64 bits when it is strict
 *   their values      it clamps them to 64 bits and to double
 *   control characters  it takes them in strings
 *   NaN, Infinity     it takes them
 *   single quotes     it takes them around keys
 *   white space       it takes form feeds and vertical tabs for white space
 *   half surrogates   become U+FFFD; we note them as what Postgres cannot hold
 *   \u0000            is a NUL, at which a key ends, so it may become another one; we note it
 *   duplicate keys    it keeps the last, as our readers do
 *   depth             it is given more levels than JSON_MAX_DEPTH
 */
#ifndef MILLRACE_ORACLE_H
#define MILLRACE_ORACLE_H

#include <json-c/json.h>

#include "fuzz.h"
#include "base/json.h"

static inline bool oracle_parse_as(struct slice text, int flags, struct json_object **object)
{
	struct json_tokener *tokener = json_tokener_new_ex(4 * JSON_MAX_DEPTH);
	char *copy = malloc(text.len + 1);
	bool ok;

	/* A number at the end is only known to be complete at the NUL. */
	if (text.len > 0)
		memcpy(copy, text.bytes, text.len);
	copy[text.len] = '\0';
	json_tokener_set_flags(tokener, flags);
	*object = json_tokener_parse_ex(tokener, copy, (int)text.len + 1);
	ok = json_tokener_get_error(tokener) == json_tokener_success &&
		 json_tokener_get_parse_end(tokener) >= text.len;
	if (!ok)
	{
		json_object_put(*object);
		*object = NULL;
	}
	json_tokener_free(tokener);
	free(copy);
	return ok;
}

/* Whether there is something in the text that this version refuses for being strict, although it is JSON. */
static inline bool oracle_is_too_strict_for(struct slice text)
{
	size_t digits = 0;

	for (size_t i = 0; i < text.len && json_c_version_num() >= 0x1200; i++)
	{
		digits = text.bytes[i] >= '0' && text.bytes[i] <= '9' ? digits + 1 : 0;
		if (digits >= 19 || (unsigned char)text.bytes[i] >= 0x80)
			return true;
	}
	return false;
}

/* True when json-c takes the text; then *object is the caller's (NULL for a bare null). */
static inline bool oracle_parse(struct slice text, struct json_object **object)
{
	struct json_verdict verdict;

	if (oracle_parse_as(text, JSON_TOKENER_STRICT, object))
		return true;
	return oracle_is_too_strict_for(text) && json_check(text, &verdict) && oracle_parse_as(text, 0, object);
}

/* What we write must be JSON for others. */
static inline struct json_object *oracle_require(struct slice text)
{
	struct json_object *object;
	struct json_verdict verdict;

	require(fuzz_is_utf8(text));
	require(json_check(text, &verdict));
	require(oracle_parse(text, &object));
	return object;
}

#endif
