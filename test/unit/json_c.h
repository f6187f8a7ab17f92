/*
 * json_c.h: json-c as the judge of what is JSON, for the tests that need another reader than ours.
 */
#ifndef TEST_JSON_C_H
#define TEST_JSON_C_H

#include <json-c/json.h>
#include <string.h>

#include "base/json.h"

/* The whole text as one value, no deeper than ours takes, or NULL. */
static inline struct json_object *json_c_read_as(const char *text, size_t len, int flags)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_MAX_DEPTH + 1);
	struct json_object *object;

	json_tokener_set_flags(tokener, flags);
	object = json_tokener_parse_ex(tokener, text, (int)len);
	if (json_tokener_get_error(tokener) != json_tokener_success || json_tokener_get_parse_end(tokener) != len)
	{
		json_object_put(object);
		object = NULL;
	}
	json_tokener_free(tokener);
	return object;
}

/*
 * Strict, though it still takes \u0000 and lone surrogates; but for json-c 0.18, where a strict reader
 * refuses every string that is not ASCII.
 */
static inline struct json_object *json_c_read(const char *text, size_t len)
{
	static const char not_ascii[] = "[\"\xC3\xA9\"]";
	static int flags;

	if (flags == 0)
	{
		struct json_object *object = json_c_read_as(not_ascii, strlen(not_ascii), JSON_TOKENER_STRICT);

		flags = JSON_TOKENER_VALIDATE_UTF8 | (object != NULL ? JSON_TOKENER_STRICT : 0);
		json_object_put(object);
	}
	return json_c_read_as(text, len, flags);
}

#endif
