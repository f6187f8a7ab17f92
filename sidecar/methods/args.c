/*
 * args.c: reads arguments, and says what is wrong with them by field and value.
 */
#include <inttypes.h>
#include <stdio.h>

#include <string.h>

#include "methods/internal.h"
#include "base/spelling.h"
#include "base/timestamp.h"

#define SHOWN_VALUE 80 /* bytes of a refused value that the message repeats */
#define LONG_KEY 100   /* bytes, with its quotes: none of ours is nearly that long, escapes and all */

/* Where in the arguments we are: "message.", "messages[3].", "streams[0].messages[3]." */
static void describe_place(const struct method_call *call, char *out, size_t cap)
{
	char stream[32] = "";
	char message[32] = "";

	if (call->stream_index >= 0)
		snprintf(stream, sizeof(stream), "streams[%d].", call->stream_index);
	if (call->message_index >= 0)
		snprintf(message, sizeof(message), "messages[%d].", call->message_index);
	snprintf(out, cap, "%s%s%s", stream, message, call->inside != NULL ? call->inside : "");
}

static bool fail_field(struct method_call *call, const char *field, const char *what)
{
	char place[80];

	describe_place(call, place, sizeof(place));
	return method_fail(call, ERROR_INVALID_REQUEST, "%s%s %s", place, field, what);
}

bool args_reject(struct method_call *call, const char *field, struct slice value, const char *wanted)
{
	enum json_kind kind = json_kind(value);
	char what[300];

	if (kind == JSON_NONE)
		return fail_field(call, field, "is required");
	if (kind == JSON_ARRAY || kind == JSON_OBJECT || kind == JSON_NULL)
		snprintf(what, sizeof(what), "must be %s, not %s", wanted, json_kind_name(kind));
	else
		snprintf(what, sizeof(what), "must be %s, not %.*s%s", wanted,
				 (int)(value.len < SHOWN_VALUE ? value.len : SHOWN_VALUE), value.bytes,
				 value.len > SHOWN_VALUE ? "..." : "");
	return fail_field(call, field, what);
}

/* The member that the key was meant to be; NULL: none. */
static const char *meant_member(struct slice key, const struct member *members, unsigned nmembers)
{
	const char *names[MAX_MEMBERS + 1] = {NULL};
	struct buf decoded = {0};
	const char *found = NULL;

	for (unsigned i = 0; i < nmembers && i < MAX_MEMBERS; i++)
		names[i] = members[i].name;
	if (key.len <= LONG_KEY && json_decode(key, &decoded) == NULL && !decoded.failed)
		found = spelling_nearest((struct slice){decoded.data, decoded.len}, names);
	buf_free(&decoded);
	return found;
}

bool args_unknown_key(struct method_call *call, const char *field, struct slice key,
					  const struct member *members, unsigned nmembers)
{
	const char *near = meant_member(key, members, nmembers);
	int shown = (int)(key.len - 2 < SHOWN_VALUE ? key.len - 2 : SHOWN_VALUE);
	char place[80];
	char known[200] = "";
	size_t len = 0;

	if (near == NULL && !call->strict)
		return true;
	describe_place(call, place, sizeof(place));
	if (place[0] == '\0')
		snprintf(place, sizeof(place), "%s.", field);
	if (near != NULL)
		return method_fail(call, ERROR_INVALID_REQUEST, "%s%.*s is not known; did you mean %s?", place, shown,
						   key.bytes + 1, near);
	for (unsigned i = 0; i < nmembers && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i > 0 ? ", " : "", members[i].name);
	return method_fail(call, ERROR_INVALID_REQUEST, "%s%.*s is not known; %s%s", place, shown, key.bytes + 1,
					   nmembers > 0 ? "known are " : "there are none", known);
}

bool args_members(struct method_call *call, struct slice object, const char *field, struct member *members,
				  unsigned nmembers)
{
	struct json_iterator iterator;
	struct slice key, value;

	if (json_kind(object) != JSON_OBJECT)
		return args_reject(call, field, object, "an object");
	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		unsigned i = 0;

		while (i < nmembers && !json_string_is(key, members[i].name))
			i++;
		if (i < nmembers)
			members[i].value = value;
		else if (!args_unknown_key(call, field, key, members, nmembers))
			return false;
	}
	return true;
}

bool args_options(struct method_call *call, struct slice options, struct member *members, unsigned nmembers)
{
	char field[80];

	if (options.bytes == NULL)
		return true;
	if (!args_members(call, options, "options", members, nmembers))
		return false;
	for (unsigned i = 0; i < nmembers; i++)
	{
		if (json_kind(members[i].value) != JSON_NULL)
			continue;
		snprintf(field, sizeof(field), "options.%s", members[i].name);
		return fail_field(call, field, "must not be null: leave it out");
	}
	return true;
}

bool args_reading(struct method_call *call, struct slice options, struct member *members, unsigned nmembers)
{
	struct member known[MAX_MEMBERS];

	for (unsigned i = 0; i < nmembers; i++) /* of none, `members` is NULL */
		known[i] = members[i];
	known[nmembers] = (struct member){.name = "minPosition"};
	if (!args_options(call, options, known, nmembers + 1))
		return false;
	for (unsigned i = 0; i < nmembers; i++)
		members[i] = known[i];
	return args_integer(call, "options.minPosition", known[nmembers].value, 0, INT64_MAX,
						&call->min_position);
}

bool args_integer(struct method_call *call, const char *field, struct slice value, int64_t min, int64_t max,
				  int64_t *result)
{
	char wanted[100];

	if (value.bytes == NULL)
		return true;
	if (json_kind(value) == JSON_NUMBER && json_integer(value, result) && *result >= min && *result <= max)
		return true;
	if (min == INT64_MIN && max == INT64_MAX)
		snprintf(wanted, sizeof(wanted), "an integer of 64 bits");
	else if (max == INT64_MAX)
		snprintf(wanted, sizeof(wanted), "an integer not below %" PRId64, min);
	else
		snprintf(wanted, sizeof(wanted), "an integer from %" PRId64 " to %" PRId64, min, max);
	return args_reject(call, field, value, wanted);
}

bool args_boolean(struct method_call *call, const char *field, struct slice value, bool *result)
{
	if (value.bytes == NULL)
		return true;
	*result = value.bytes[0] == 't';
	return json_kind(value) == JSON_BOOLEAN || args_reject(call, field, value, "true or false");
}

bool args_direction(struct method_call *call, const char *field, struct slice value, bool *backward)
{
	bool string = json_kind(value) == JSON_STRING;

	if (value.bytes == NULL)
		return true;
	*backward = string && json_string_is(value, "backward");
	return *backward || (string && json_string_is(value, "forward")) ||
		   args_reject(call, field, value, "\"forward\" or \"backward\"");
}

bool args_time(struct method_call *call, const char *field, struct slice value, int64_t *result)
{
	struct buf text = {0};
	size_t len;
	bool ok = true;

	if (value.bytes == NULL)
		return true;
	if (!args_decode(call, field, value, &text, &len))
		ok = false;
	else if (text.failed || !timestamp_parse((struct slice){text.data, text.len}, result))
		ok = args_reject(call, field, value, "a time such as \"2026-01-31T12:00:00Z\"");
	buf_free(&text);
	return ok;
}

bool args_object(struct method_call *call, const char *field, struct slice value)
{
	struct json_verdict verdict;

	if (json_kind(value) != JSON_OBJECT)
		return args_reject(call, field, value, "an object");
	/* Rare: something in this request cannot be stored; is it in here? */
	if (call->unsupported && json_check(value, &verdict) && verdict.unsupported != NULL)
	{
		char what[200];

		snprintf(what, sizeof(what), "cannot be stored: %s", verdict.unsupported);
		return fail_field(call, field, what);
	}
	return true;
}

bool args_decode(struct method_call *call, const char *field, struct slice value, struct buf *out,
				 size_t *len)
{
	size_t before = out->len;
	const char *problem;

	if (json_kind(value) != JSON_STRING)
		return args_reject(call, field, value, "a string");
	problem = json_decode(value, out);
	*len = out->len - before;
	if (problem != NULL)
	{
		char what[200];

		snprintf(what, sizeof(what), "is not usable: %s", problem);
		return fail_field(call, field, what);
	}
	return true;
}

bool args_text(struct method_call *call, unsigned i, const char *field, struct slice value)
{
	size_t start = call->text.len;
	size_t len;

	call->texts[i] = -1;
	if (value.bytes == NULL)
		return true;
	if (!args_decode(call, field, value, &call->text, &len))
		return false;
	buf_add(&call->text, "", 1);
	call->texts[i] = (ssize_t)start;
	return true;
}

bool args_name(struct method_call *call, unsigned i, const char *field, struct slice value, size_t max)
{
	size_t len;
	char what[100];

	if (json_kind(value) != JSON_STRING)
		return args_reject(call, field, value, "a string");
	if (!args_text(call, i, field, value))
		return false;
	if (call->text.failed)
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	len = call->text.len - (size_t)call->texts[i] - 1;
	if (len == 0)
		return fail_field(call, field, "must not be empty");
	if (len > max)
	{
		snprintf(what, sizeof(what), "is too long: %zu bytes, at most %zu are allowed", len, max);
		return fail_field(call, field, what);
	}
	return true;
}

/* Adds one element of an array literal, quoted. */
static void add_array_element(struct buf *out, const char *bytes, size_t len)
{
	buf_add(out, "\"", 1);
	for (size_t i = 0; i < len; i++)
	{
		if (bytes[i] == '"' || bytes[i] == '\\')
			buf_add(out, "\\", 1);
		buf_add(out, &bytes[i], 1);
	}
	buf_add(out, "\"", 1);
}

bool args_text_array(struct method_call *call, unsigned i, const char *field, struct slice value)
{
	struct json_iterator iterator;
	struct slice element;
	struct buf decoded = {0};
	size_t start = call->text.len;
	size_t len;
	unsigned n = 0;
	bool ok = true;

	if (value.bytes == NULL)
		return true;
	if (json_kind(value) != JSON_ARRAY)
		return args_reject(call, field, value, "an array of strings");
	buf_add_str(&call->text, "{");
	json_iterate(&iterator, value);
	while (ok && json_next_element(&iterator, &element))
	{
		if (n++ == MAX_TYPES)
			ok = method_fail(call, ERROR_INVALID_REQUEST, "%s: more than %d strings", field, MAX_TYPES);
		else if (json_kind(element) != JSON_STRING)
			ok = args_reject(call, field, element, "an array of strings");
		else
			ok = args_decode(call, field, element, &decoded, &len);
		if (call->text.len > start + 1)
			buf_add(&call->text, ",", 1);
		add_array_element(&call->text, decoded.data, decoded.len);
		buf_clear(&decoded);
	}
	buf_add(&call->text, "}", 2);
	buf_free(&decoded);
	call->texts[i] = (ssize_t)start;
	return ok;
}

void args_set_json(struct method_call *call, unsigned i, struct slice value)
{
	call->texts[i] = (ssize_t)call->text.len;
	buf_add(&call->text, value.bytes, value.len);
	buf_add(&call->text, "", 1);
}

void args_set(struct method_call *call, unsigned i, const char *text)
{
	call->texts[i] = -1;
	if (text == NULL)
		return;
	call->texts[i] = (ssize_t)call->text.len;
	buf_add(&call->text, text, strlen(text) + 1);
}

bool args_own_namespace(struct method_call *call, unsigned i)
{
	if (!args_name(call, i, "namespace", call->args[0], MAX_NAMESPACE_NAME))
		return false;
	if (!method_is_administrator(call) && strcmp(args_get(call, i), call->namespace_name) != 0)
		return method_fail(call, ERROR_AUTH_UNAUTHORIZED, "this token is for its own namespace only");
	return method_go_to(call, i);
}
