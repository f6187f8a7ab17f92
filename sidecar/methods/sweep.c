/*
 * sweep.c: ns.setRetention, ns.retention, ns.sweep and ns.removals.  Postgres checks the options and makes
 * the answers.
 */
#include "base/stats.h"
#include "methods/internal.h"

enum retention_text
{
	RETENTION_NAME,
	RETENTION_CATEGORY,
	RETENTION_OPTIONS,
};

static bool ask(struct method_call *call, bool reads, db_query_done done)
{
	const struct db_retention in = {
		.namespace_name = args_get(call, RETENTION_NAME),
		.method = call->action,
		.category = args_get(call, RETENTION_CATEGORY),
		.options = args_get(call, RETENTION_OPTIONS),
		.reads = reads,
	};

	return method_has_texts(call) && method_asked(call, db_retention(call->db, &in, done, call));
}

static bool read_options(struct method_call *call, struct slice options)
{
	if (options.bytes == NULL)
		options = slice_of("{}");
	if (!args_object(call, "options", options))
		return false;
	args_set_json(call, RETENTION_OPTIONS, options);
	return true;
}

bool method_namespace_set_retention(struct method_call *call)
{
	return args_own_namespace(call, RETENTION_NAME) &&
		   args_name(call, RETENTION_CATEGORY, "category", call->args[1], MAX_NAME) &&
		   read_options(call, call->args[2]) && ask(call, false, method_on_value);
}

bool method_namespace_retention(struct method_call *call)
{
	return args_own_namespace(call, RETENTION_NAME) && read_options(call, call->args[1]) &&
		   ask(call, true, method_on_value);
}

static void on_swept(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;

	if (reply->status == DB_OK)
		stats_add(&call->methods->stats->removed[REMOVED_BY_SWEEP], method_count_removed(reply));
	method_on_value(call, reply);
}

bool method_namespace_sweep(struct method_call *call)
{
	return args_own_namespace(call, RETENTION_NAME) && read_options(call, call->args[1]) &&
		   ask(call, false, on_swept);
}
