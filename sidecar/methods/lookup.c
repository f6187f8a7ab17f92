/*
 * lookup.c: message.get, position.at, ns.types, streams.recent and messages.search.
 *
 * The last three look at no more than scanLimit messages, from a position on, and say where to go on.
 */
#include "base/uuid.h"
#include "methods/internal.h"

#define MAX_SCAN_LIMIT 100000

bool method_message_get(struct method_call *call)
{
	struct db_get_message in = {.namespace_name = call->namespace_name};
	struct uuid id;

	if (json_kind(call->args[0]) != JSON_STRING)
		return args_reject(call, "id", call->args[0], "a UUID");
	if (!args_text(call, 0, "id", call->args[0]) || !args_reading(call, call->args[1], NULL, 0) ||
		!method_has_texts(call))
		return false;
	in.reading = method_reading(call);
	in.id = args_get(call, 0);
	if (!uuid_parse(slice_of(in.id), &id))
		return args_reject(call, "id", call->args[0], "a UUID");
	return method_asked(call, db_get_message(call->db, &in, method_on_value, call));
}

bool method_position_at(struct method_call *call)
{
	struct db_position_at in = {.namespace_name = call->namespace_name};

	if (json_kind(call->args[0]) != JSON_STRING)
		return args_reject(call, "time", call->args[0], "a string");
	if (!args_time(call, "time", call->args[0], &in.time) || !args_reading(call, call->args[1], NULL, 0))
		return false;
	in.reading = method_reading(call);
	return method_asked(call, db_position_at(call->db, &in, method_on_value, call));
}

/* As in category.get, an empty one is no filter. */
static bool read_category(struct method_call *call, struct slice value)
{
	if (!args_text(call, 0, "options.category", value))
		return false;
	if (value.bytes != NULL && json_string_is(value, ""))
		args_set(call, 0, NULL);
	return true;
}

/* A position, as all of these have it. */
static bool read_position(struct method_call *call, struct slice value, struct db_optional *position)
{
	position->is_set = value.bytes != NULL;
	return args_integer(call, "options.position", value, 0, INT64_MAX, &position->value);
}

static bool read_limit(struct method_call *call, struct slice value, int64_t *limit)
{
	*limit = DEFAULT_MAX_ROWS;
	return args_integer(call, "options.limit", value, 1, MAX_ROWS, limit);
}

static bool read_scan_limit(struct method_call *call, struct slice value, struct db_optional *limit)
{
	limit->is_set = value.bytes != NULL;
	return args_integer(call, "options.scanLimit", value, 1, MAX_SCAN_LIMIT, &limit->value);
}

bool method_namespace_types(struct method_call *call)
{
	struct member options[] = {{.name = "category"}, {.name = "position"}, {.name = "scanLimit"}};
	struct db_list_types in = {.namespace_name = call->namespace_name};

	if (!args_reading(call, call->args[0], options, 3) || !read_category(call, options[0].value) ||
		!read_position(call, options[1].value, &in.position) ||
		!read_scan_limit(call, options[2].value, &in.scan_limit) || !method_has_texts(call))
		return false;
	in.category = args_get(call, 0);
	in.reading = method_reading(call);
	return method_asked(call, db_list_types(call->db, &in, method_on_value, call));
}

bool method_streams_recent(struct method_call *call)
{
	struct member options[] = {
		{.name = "limit"}, {.name = "position"}, {.name = "category"}, {.name = "scanLimit"}};
	struct db_recent_streams in = {.namespace_name = call->namespace_name};

	if (!args_reading(call, call->args[0], options, 4) || !read_limit(call, options[0].value, &in.max_rows) ||
		!read_position(call, options[1].value, &in.position) || !read_category(call, options[2].value) ||
		!read_scan_limit(call, options[3].value, &in.scan_limit) || !method_has_texts(call))
		return false;
	in.category = args_get(call, 0);
	in.reading = method_reading(call);
	return method_asked(call, db_recent_streams(call->db, &in, method_on_value, call));
}

/* ---- messages.search ---------------------------------------------------------- */

enum search_option
{
	SEARCH_TYPES,
	SEARCH_SINCE,
	SEARCH_UNTIL,
	SEARCH_WHERE,
	SEARCH_STREAM,
	SEARCH_CATEGORY,
	SEARCH_POSITION,
	SEARCH_DIRECTION,
	SEARCH_LIMIT,
	SEARCH_SCAN_LIMIT,
	SEARCH_OPTIONS
};

/* What Postgres would take too well, or say too little of; the rest it checks itself. */
static bool check_search(struct method_call *call, const struct member *options)
{
	struct member where[] = {{.name = "path"}, {.name = "value"}};
	struct db_optional position, scan_limit;
	int64_t ignored;

	return args_time(call, "options.since", options[SEARCH_SINCE].value, &ignored) &&
		   args_time(call, "options.until", options[SEARCH_UNTIL].value, &ignored) &&
		   (options[SEARCH_WHERE].value.bytes == NULL ||
			args_members(call, options[SEARCH_WHERE].value, "options.where", where, 2)) &&
		   (options[SEARCH_STREAM].value.bytes == NULL ||
			args_name(call, 0, "options.stream", options[SEARCH_STREAM].value, MAX_NAME)) &&
		   args_text_array(call, 0, "options.types", options[SEARCH_TYPES].value) &&
		   read_position(call, options[SEARCH_POSITION].value, &position) &&
		   read_limit(call, options[SEARCH_LIMIT].value, &ignored) &&
		   read_scan_limit(call, options[SEARCH_SCAN_LIMIT].value, &scan_limit);
}

/* The extension takes all options but the one that says where they are to be answered. */
static void set_search(struct method_call *call, struct slice request)
{
	struct json_iterator iterator;
	struct slice key, value;
	const char *before = "{";

	call->texts[0] = (ssize_t)call->text.len;
	json_iterate(&iterator, request);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "minPosition"))
			continue;
		buf_add_str(&call->text, before);
		buf_add(&call->text, key.bytes, key.len);
		buf_add_str(&call->text, ":");
		buf_add(&call->text, value.bytes, value.len);
		before = ",";
	}
	buf_add_str(&call->text, before[0] == '{' ? "{}" : "}");
	buf_add(&call->text, "", 1);
}

bool method_messages_search(struct method_call *call)
{
	struct member options[SEARCH_OPTIONS] = {
		[SEARCH_TYPES] = {.name = "types"},		  [SEARCH_SINCE] = {.name = "since"},
		[SEARCH_UNTIL] = {.name = "until"},		  [SEARCH_WHERE] = {.name = "where"},
		[SEARCH_STREAM] = {.name = "stream"},	  [SEARCH_CATEGORY] = {.name = "category"},
		[SEARCH_POSITION] = {.name = "position"}, [SEARCH_DIRECTION] = {.name = "direction"},
		[SEARCH_LIMIT] = {.name = "limit"},		  [SEARCH_SCAN_LIMIT] = {.name = "scanLimit"},
	};
	struct slice request = call->args[0].bytes != NULL ? call->args[0] : slice_of("{}");
	struct db_search_messages in = {.namespace_name = call->namespace_name};

	if (!args_reading(call, call->args[0], options, SEARCH_OPTIONS) || !check_search(call, options) ||
		!args_object(call, "options", request))
		return false;
	set_search(call, request);
	if (!method_has_texts(call))
		return false;
	in.request = args_get(call, 0);
	in.reading = method_reading(call);
	return method_asked(call, db_search_messages(call->db, &in, method_on_value, call));
}
