/*
 * redact.c: message.redact.  Postgres checks the options.
 */
#include "base/stats.h"
#include "methods/internal.h"

static void count(struct method_call *call, struct slice answer)
{
	struct json_iterator iterator;
	struct slice key, value;
	int64_t redacted = 0;

	json_iterate(&iterator, answer);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "redacted") && json_integer(value, &redacted))
			stats_add(&call->methods->stats->messages_redacted, (uint64_t)redacted);
	}
}

static void on_redacted(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;

	if (reply->status == DB_OK)
		count(call, db_json_of(reply));
	method_on_value(call, reply);
}

bool method_message_redact(struct method_call *call)
{
	struct slice options = call->args[0].bytes != NULL ? call->args[0] : slice_of("{}");
	struct db_redact in = {.namespace_name = call->namespace_name};

	if (!args_object(call, "options", options))
		return false;
	args_set_json(call, 0, options);
	if (!method_has_texts(call))
		return false;
	in.request = args_get(call, 0);
	return method_asked(call, db_redact(call->methods->db, &in, on_redacted, call));
}
