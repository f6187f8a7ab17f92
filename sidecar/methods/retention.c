/*
 * retention.c: stream.truncate, stream.remove, stream.close and stream.reopen.
 */
#include <string.h>

#include "base/stats.h"
#include "methods/internal.h"

#define REMOVAL_STREAM 0 /* the text of the call */

/* The options of each, by the name behind the dot; the first is `before` or `expectedVersion`. */
enum removal_option
{
	OPTION_NUMBER,
	OPTION_LIMIT,
	OPTION_FORGET,
};

uint64_t method_count_removed(const struct db_reply *reply)
{
	struct json_iterator iterator;
	struct slice key, value;
	int64_t removed = 0;

	json_iterate(&iterator, json_trim(db_json_of(reply)));
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "removed") && !json_integer(value, &removed))
			removed = 0;
	}
	return (uint64_t)removed;
}

static void on_answer(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;
	struct stats *stats = call->methods->stats;
	bool truncates = strcmp(call->action, "truncate") == 0;

	if (reply->status == DB_OK)
		stats_add(&stats->removed[truncates ? REMOVED_BY_TRUNCATE : REMOVED_BY_REMOVE],
				  method_count_removed(reply));
	method_on_value(call, reply);
}

/* Reads the options: before or expectedVersion; of the two that remove, limit; of stream.remove, forget. */
static bool read_options(struct method_call *call, struct slice options, struct db_removal *in)
{
	bool truncates = strcmp(call->action, "truncate") == 0;
	bool removes = strcmp(call->action, "remove") == 0;
	struct member members[] = {
		{.name = truncates ? "before" : "expectedVersion"}, {.name = "limit"}, {.name = "forget"}};
	const char *field = truncates ? "options.before" : "options.expectedVersion";
	struct slice number;

	if (!args_options(call, options, members, removes ? 3 : truncates ? 2 : 1))
		return false;
	number = members[OPTION_NUMBER].value;
	if (truncates && number.bytes == NULL)
		return args_reject(call, field, number, "a position");
	in->number.is_set = number.bytes != NULL;
	in->max_rows = MAX_REMOVED;
	return args_integer(call, field, number, truncates ? 0 : NO_STREAM, INT64_MAX, &in->number.value) &&
		   args_integer(call, "options.limit", members[OPTION_LIMIT].value, 1, MAX_REMOVED, &in->max_rows) &&
		   args_boolean(call, "options.forget", members[OPTION_FORGET].value, &in->forget);
}

bool method_stream_removal(struct method_call *call)
{
	struct db_removal in = {.namespace_name = call->namespace_name, .method = call->action};

	if (!args_name(call, REMOVAL_STREAM, "stream", call->args[0], MAX_NAME) ||
		!read_options(call, call->args[1], &in) || !method_has_texts(call))
		return false;
	in.stream = args_get(call, REMOVAL_STREAM);
	return method_asked(call, db_removal(call->db, &in, on_answer, call));
}
