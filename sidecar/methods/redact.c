/*
 * redact.c: message.redact.  Postgres checks what is in its arguments.
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

static bool read_object(struct method_call *call, unsigned i, const char *name, struct slice value)
{
	if (!args_object(call, name, value))
		return false;
	args_set_json(call, i, value);
	return true;
}

bool method_message_redact(struct method_call *call)
{
	struct slice options = call->args[1].bytes != NULL ? call->args[1] : slice_of("{}");
	struct member known[] = {{.name = "replacement"}, {.name = "keepTags"}};
	struct db_redact in = {.namespace_name = call->namespace_name};

	if (!args_options(call, call->args[1], known, 2) || !read_object(call, 0, "which", call->args[0]) ||
		!read_object(call, 1, "options", options) || !method_has_texts(call))
		return false;
	in.which = args_get(call, 0);
	in.options = args_get(call, 1);
	return method_asked(call, db_redact(call->db, &in, on_redacted, call));
}
