/*
 * jsonrpc.c: a request object of JSON-RPC 2.0 is taken apart (see internal.h).
 */
#include <stdio.h>

#include "base/spelling.h"
#include "rpc/internal.h"

bool jsonrpc_is_version(struct slice version)
{
	return json_kind(version) == JSON_STRING && json_string_is(version, "2.0");
}

/*
 * Others than ours are extensions.  But one that is nearly ours was meant to be: without its id a call would
 * be a notification.
 */
static void note_stray(struct jsonrpc_request *parsed, struct slice key)
{
	static const char *const members[] = {"jsonrpc", "method", "params", "id"};
	struct slice name = {key.bytes + 1, key.len - 2};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		if (!spelling_is_near(name, members[i]))
			continue;
		parsed->stray = name;
		parsed->meant = members[i];
	}
}

void jsonrpc_describe_invalid(const struct jsonrpc_request *parsed, char text[JSONRPC_INVALID_TEXT])
{
	int shown = (int)(parsed->stray.len < 80 ? parsed->stray.len : 80);

	if (parsed->stray.bytes == NULL)
		snprintf(text, JSONRPC_INVALID_TEXT, "Invalid Request");
	else
		snprintf(text, JSONRPC_INVALID_TEXT, "Invalid Request: %.*s is not known; did you mean %s?", shown,
				 parsed->stray.bytes, parsed->meant);
}

/* Returns the value of the member "jsonrpc", too. */
struct slice jsonrpc_parse(struct slice object, struct jsonrpc_request *parsed)
{
	struct slice version = {NULL, 0};
	struct slice id = {NULL, 0};
	struct json_iterator iterator;
	struct slice key, value;
	enum json_kind params;

	*parsed = (struct jsonrpc_request){.id = NULL_ID};
	if (json_kind(object) != JSON_OBJECT)
		return version;
	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "jsonrpc"))
			version = value;
		else if (json_string_is(key, "method"))
			parsed->method = value;
		else if (json_string_is(key, "params"))
			parsed->params = value;
		else if (json_string_is(key, "id"))
			id = value;
		else
			note_stray(parsed, key);
	}
	params = json_kind(parsed->params);
	parsed->valid = jsonrpc_is_version(version) && parsed->stray.bytes == NULL &&
					json_kind(parsed->method) == JSON_STRING &&
					(params == JSON_NONE || params == JSON_ARRAY || params == JSON_OBJECT);
	parsed->notification = id.bytes == NULL;
	if (json_kind(id) == JSON_STRING || json_kind(id) == JSON_NUMBER || json_kind(id) == JSON_NULL)
		parsed->id = id;
	else if (id.bytes != NULL)
		parsed->valid = false;
	return version;
}
