/*
 * lookup.c: message.get and position.at.
 */
#include "base/uuid.h"
#include "methods/internal.h"

bool method_message_get(struct method_call *call)
{
	struct db_get_message in = {.namespace_name = call->namespace_name};
	struct uuid id;

	if (json_kind(call->args[0]) != JSON_STRING)
		return args_reject(call, "id", call->args[0], "a UUID");
	if (!args_text(call, 0, "id", call->args[0]) || !method_has_texts(call))
		return false;
	in.id = args_get(call, 0);
	if (!uuid_parse(slice_of(in.id), &id))
		return args_reject(call, "id", call->args[0], "a UUID");
	return method_asked(call, db_get_message(call->methods->db, &in, method_on_value, call));
}

bool method_position_at(struct method_call *call)
{
	struct db_position_at in = {.namespace_name = call->namespace_name};

	if (json_kind(call->args[0]) != JSON_STRING)
		return args_reject(call, "time", call->args[0], "a string");
	return args_time(call, "time", call->args[0], &in.time) &&
		   method_asked(call, db_position_at(call->methods->db, &in, method_on_value, call));
}
