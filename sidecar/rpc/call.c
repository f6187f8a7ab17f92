/*
 * call.c: what a method call is started with: its arguments, by position or by name (see internal.h).
 */
#include "rpc/internal.h"

/* Positional arguments; surplus ones are ignored.  `skip` elements stand before the first. */
void rpc_set_positional(struct method_call *call, struct slice array, unsigned skip)
{
	struct json_iterator iterator;
	struct slice value;

	json_iterate(&iterator, array);
	for (unsigned i = 0; i < skip + METHOD_MAX_ARGS && json_next_element(&iterator, &value); i++)
	{
		if (i >= skip)
			call->args[i - skip] = value;
	}
}

static void set_named(struct method_call *call, struct slice object)
{
	struct json_iterator iterator;
	struct slice key, value;

	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		int argument = method_argument(call->method, key);

		if (argument >= 0)
			call->args[argument] = value;
		else
			call->stray = key;
	}
}

/* Sets all that method_start wants, but the arguments. */
void rpc_prepare_call(struct rpc_request *request, struct method_call *call, const struct method *method,
					  method_done done, void *arg)
{
	call->methods = request->rpc->methods;
	call->method = method;
	call->namespace_name = request->caller.namespace_name;
	call->place = request->caller.place;
	call->quota = request->caller.quota;
	call->rights = request->caller.rights;
	call->key = request->caller.has_key ? &request->caller.key : NULL;
	call->index = 0;
	call->trace = request->caller.trace;
	call->page_bytes = request->caller.page_bytes;
	call->unsupported = request->unsupported;
	call->at_once = request->envelope == ENVELOPE_BATCH;
	call->strict = request->envelope != ENVELOPE_ARRAY;
	call->stray = (struct slice){NULL, 0};
	for (unsigned i = 0; i < METHOD_MAX_ARGS; i++)
		call->args[i] = (struct slice){NULL, 0};
	call->done = done;
	call->arg = arg;
}

void rpc_set_params(struct method_call *call, struct slice params)
{
	if (json_kind(params) == JSON_ARRAY)
		rpc_set_positional(call, params, 0);
	else if (json_kind(params) == JSON_OBJECT)
		set_named(call, params);
}

void rpc_unknown_method(struct error *error, struct slice name)
{
	error_set(error, ERROR_METHOD_NOT_FOUND, "unknown method %.*s", (int)(name.len < 200 ? name.len : 200),
			  name.bytes);
}
