/*
 * describe.c: what a request asks for, in short (see rpc.h).
 */
#include "rpc/rpc.h"

#include "base/json.h"

static struct slice inside_of(struct slice string)
{
	if (json_kind(string) != JSON_STRING)
		return (struct slice){NULL, 0};
	return (struct slice){string.bytes + 1, string.len - 2};
}

static struct slice find_name(struct slice params)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, params);
	if (json_kind(params) == JSON_ARRAY && json_next_element(&iterator, &value))
		return inside_of(value);
	while (json_kind(params) == JSON_OBJECT && json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "stream") || json_string_is(key, "category") ||
			json_string_is(key, "namespace"))
			return inside_of(value);
	}
	return (struct slice){NULL, 0};
}

static void describe_object(struct slice object, struct rpc_description *description)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "method"))
			description->method = inside_of(value);
		else if (json_string_is(key, "params"))
			description->name = find_name(value);
	}
}

static void describe_array(struct slice array, struct rpc_description *description)
{
	struct json_iterator iterator;
	struct slice first, second;

	json_iterate(&iterator, array);
	if (!json_next_element(&iterator, &first))
		return;
	if (json_kind(first) == JSON_OBJECT)
	{
		describe_object(first, description);
		for (description->calls = 1; json_next_element(&iterator, &second);)
			description->calls++;
		return;
	}
	description->method = inside_of(first);
	if (json_next_element(&iterator, &second))
		description->name = inside_of(second);
}

void rpc_describe(struct slice body, struct rpc_description *description)
{
	struct json_verdict verdict;

	*description = (struct rpc_description){.calls = 0};
	if (body.bytes == NULL || !json_check(body, &verdict))
		return;
	body = json_trim(body);
	if (json_kind(body) == JSON_ARRAY)
		describe_array(body, description);
	else if (json_kind(body) == JSON_OBJECT)
		describe_object(body, description);
}
