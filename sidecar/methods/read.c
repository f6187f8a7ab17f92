/*
 * read.c: stream.get, category.get, query.get, stream.last, stream.version and stream.head.
 *
 * Postgres makes the JSON text; here it is only framed and passed on.  A long answer comes in pages of
 * about a MiB: the next one is asked for by method_resume().
 */
#include <inttypes.h>
#include <stdio.h>

#include "methods/internal.h"

#define READ_PAGE_BYTES 1048576
#define MAX_BATCH_SIZE 10000

enum read_text
{
	READ_NAME, /* of the stream or category; the query */
	READ_TYPES,
	READ_CORRELATION,
};

/* ---- pages ----------------------------------------------------------------- */

static void on_page(void *arg, struct db_reply *reply);

static int page_bytes(const struct method_call *call)
{
	return call->page_bytes > 0 ? (int)call->page_bytes : READ_PAGE_BYTES;
}

static struct db_strict strict_of(const struct method_call *call)
{
	return (struct db_strict){.on = call->whole, .seen = {call->has_seen, call->seen}};
}

static bool ask_stream(struct method_call *call)
{
	/* globalPosition wins: then the stream is read from its start (or end), up to where that begins. */
	const struct db_read_stream in = {
		.namespace_name = call->namespace_name,
		.stream = args_get(call, READ_NAME),
		.position = {call->placed && !call->by_global, call->position},
		.global_position = {call->by_global, call->position},
		.batch_size = call->messages_left,
		.types = args_get(call, READ_TYPES),
		.max_bytes = page_bytes(call),
		.backward = call->backward,
		.strict = strict_of(call),
		.reading = method_reading(call),
	};

	return db_read_stream(call->methods->db, &in, on_page, call);
}

static bool ask_category(struct method_call *call)
{
	const struct db_read_category in = {
		.namespace_name = call->namespace_name,
		.category = args_get(call, READ_NAME),
		.position = {call->placed, call->position},
		.batch_size = call->messages_left,
		.correlation = args_get(call, READ_CORRELATION),
		.member = call->member,
		.size = call->size,
		.types = args_get(call, READ_TYPES),
		.max_bytes = page_bytes(call),
		.backward = call->backward,
		.strict = strict_of(call),
		.reading = method_reading(call),
	};

	return db_read_category(call->methods->db, &in, on_page, call);
}

static bool ask_query(struct method_call *call)
{
	const struct db_read_query in = {
		.namespace_name = call->namespace_name,
		.query = args_get(call, READ_NAME),
		.position = {call->placed, call->position},
		.batch_size = call->messages_left,
		.max_bytes = page_bytes(call),
		.backward = call->backward,
		.reading = method_reading(call),
	};

	return db_read_query(call->methods->db, &in, on_page, call);
}

static bool ask_page(struct method_call *call)
{
	static bool (*const ask[])(struct method_call *) = {
		[OF_STREAM] = ask_stream, [OF_CATEGORY] = ask_category, [OF_QUERY] = ask_query};

	return method_has_texts(call) && method_asked(call, ask[call->read](call));
}

/*
 * What is behind the messages of a query.  Forward, the last page knows up to where the answer is complete;
 * backward, the first one does: nothing above its head was read.
 */
static struct piece query_end(struct method_call *call, const struct db_reply *reply, bool first, bool last,
							  char *text, size_t size)
{
	if (first || !call->backward)
		call->head = db_query_head_of(reply);
	if (!last)
		return piece_of("");
	snprintf(text, size, "],\"head\":%" PRId64 ",\"more\":%s}", call->head,
			 db_query_has_more(reply) ? "true" : "false");
	return piece_of(text);
}

static void on_page(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;
	struct method_reply answer = {.npieces = METHOD_MAX_PIECES};
	bool first = !call->begun;
	bool any = call->any;
	char end[80] = "]";
	struct db_page page;

	if (reply->status == DB_GONE)
	{
		call->seat = DB_AT_PRIMARY; /* which is not behind what the first page was read from */
		method_next_page(call);
		return;
	}
	if (reply->status != DB_OK)
	{
		method_fail_status(call, reply->status, &reply->error);
		method_answer_error(call);
		return;
	}
	call->seat = reply->seat;
	call->min_position = 0; /* which that has */
	page = db_page_of(reply);
	answer.more = page.next.is_set;
	if (call->messages_left > 0)
		call->messages_left -= page.count;
	if (answer.more)
	{
		call->position = page.next.value;
		call->by_global = false;
		call->placed = true;
	}
	call->begun = true;
	call->any = any || page.body.len > 0;
	if (first)
		answer.pieces[0] = piece_of(call->read == OF_QUERY ? "{\"messages\":[" : "[");
	else
		answer.pieces[0] = piece_of(any && page.body.len > 0 ? "," : "");
	if (call->read == OF_QUERY)
		answer.pieces[2] = query_end(call, reply, first, !answer.more, end, sizeof(end));
	else
		answer.pieces[2] = piece_of(answer.more ? "" : end);
	answer.pieces[1] = method_piece(reply, page.body); /* may take the reply along */
	call->done(call->arg, &answer);
}

void method_next_page(struct method_call *call)
{
	if (!ask_page(call))
		method_answer_error(call);
}

static bool begin_pages(struct method_call *call)
{
	if (call->messages_left == 0)
	{
		method_answer_text(call, "[]", 2);
		return true;
	}
	return ask_page(call);
}

/* ---- the methods ------------------------------------------------------------ */

/* Backward there is no place that a reader goes on from. */
static bool read_strict(struct method_call *call, struct slice strict, struct slice seen)
{
	call->has_seen = seen.bytes != NULL;
	if (!args_boolean(call, "options.strict", strict, &call->whole) ||
		!args_integer(call, "options.removalsSeen", seen, 0, INT64_MAX, &call->seen))
		return false;
	return !call->whole || !call->backward ||
		   method_fail(call, ERROR_INVALID_REQUEST, "options.strict is for reading forward");
}

bool method_stream_get(struct method_call *call)
{
	struct member options[] = {{.name = "position"},	{.name = "globalPosition"}, {.name = "batchSize"},
							   {.name = "types"},		{.name = "direction"},		{.name = "strict"},
							   {.name = "removalsSeen"}};

	call->read = OF_STREAM;
	call->messages_left = DEFAULT_BATCH_SIZE;
	if (!args_name(call, READ_NAME, "stream", call->args[0], MAX_NAME) ||
		!args_reading(call, call->args[1], options, 7) ||
		!args_integer(call, "options.position", options[0].value, INT64_MIN, INT64_MAX, &call->position) ||
		!args_integer(call, "options.globalPosition", options[1].value, INT64_MIN, INT64_MAX,
					  &call->position) ||
		!args_integer(call, "options.batchSize", options[2].value, -1, MAX_BATCH_SIZE,
					  &call->messages_left) ||
		!args_text_array(call, READ_TYPES, "options.types", options[3].value) ||
		!args_direction(call, "options.direction", options[4].value, &call->backward) ||
		!read_strict(call, options[5].value, options[6].value))
		return false;
	call->by_global = options[1].value.bytes != NULL;
	call->placed = call->by_global || options[0].value.bytes != NULL;
	return begin_pages(call);
}

/* Sets call->member and call->size from options.consumerGroup. */
static bool read_consumer_group(struct method_call *call, struct slice group)
{
	struct member members[] = {{.name = "member"}, {.name = "size"}};

	if (group.bytes == NULL)
		return true;
	if (!args_members(call, group, "options.consumerGroup", members, 2))
		return false;
	if (members[0].value.bytes == NULL && members[1].value.bytes == NULL)
		return true;
	if (members[0].value.bytes == NULL)
		return args_reject(call, "options.consumerGroup.member", members[0].value, "an integer");
	if (members[1].value.bytes == NULL)
		return args_reject(call, "options.consumerGroup.size", members[1].value, "an integer");
	return args_integer(call, "options.consumerGroup.size", members[1].value, 1, INT64_MAX, &call->size) &&
		   args_integer(call, "options.consumerGroup.member", members[0].value, 0, call->size - 1,
						&call->member);
}

enum category_option
{
	OPTION_POSITION,
	OPTION_GLOBAL_POSITION,
	OPTION_BATCH_SIZE,
	OPTION_CORRELATION,
	OPTION_CONSUMER_GROUP,
	OPTION_TYPES,
	OPTION_DIRECTION,
	OPTION_STRICT,
	OPTION_SEEN,
	CATEGORY_OPTIONS
};

bool method_category_get(struct method_call *call)
{
	struct member options[CATEGORY_OPTIONS] = {
		[OPTION_POSITION] = {.name = "position"},
		[OPTION_GLOBAL_POSITION] = {.name = "globalPosition"},
		[OPTION_BATCH_SIZE] = {.name = "batchSize"},
		[OPTION_CORRELATION] = {.name = "correlation"},
		[OPTION_CONSUMER_GROUP] = {.name = "consumerGroup"},
		[OPTION_TYPES] = {.name = "types"},
		[OPTION_DIRECTION] = {.name = "direction"},
		[OPTION_STRICT] = {.name = "strict"},
		[OPTION_SEEN] = {.name = "removalsSeen"},
	};

	call->read = OF_CATEGORY;
	call->messages_left = DEFAULT_BATCH_SIZE;
	if (call->args[0].bytes == NULL)
		return args_reject(call, "category", call->args[0], "a string");
	if (!args_text(call, READ_NAME, "category", call->args[0]) ||
		!args_reading(call, call->args[1], options, CATEGORY_OPTIONS) ||
		!args_integer(call, "options.position", options[OPTION_POSITION].value, INT64_MIN, INT64_MAX,
					  &call->position) ||
		!args_integer(call, "options.globalPosition", options[OPTION_GLOBAL_POSITION].value, INT64_MIN,
					  INT64_MAX, &call->position) ||
		!args_integer(call, "options.batchSize", options[OPTION_BATCH_SIZE].value, -1, MAX_BATCH_SIZE,
					  &call->messages_left) ||
		!args_text(call, READ_CORRELATION, "options.correlation", options[OPTION_CORRELATION].value) ||
		!read_consumer_group(call, options[OPTION_CONSUMER_GROUP].value) ||
		!args_text_array(call, READ_TYPES, "options.types", options[OPTION_TYPES].value) ||
		!args_direction(call, "options.direction", options[OPTION_DIRECTION].value, &call->backward) ||
		!read_strict(call, options[OPTION_STRICT].value, options[OPTION_SEEN].value))
		return false;
	call->placed =
		options[OPTION_POSITION].value.bytes != NULL || options[OPTION_GLOBAL_POSITION].value.bytes != NULL;
	if (call->texts[READ_CORRELATION] >= 0 && json_string_is(options[OPTION_CORRELATION].value, ""))
		args_set(call, READ_CORRELATION, NULL);
	return begin_pages(call);
}

bool method_query_get(struct method_call *call)
{
	struct member options[] = {{.name = "position"}, {.name = "batchSize"}, {.name = "direction"}};

	call->read = OF_QUERY;
	call->messages_left = DEFAULT_BATCH_SIZE;
	if (!args_object(call, "query", call->args[0]) || !args_reading(call, call->args[1], options, 3) ||
		!args_integer(call, "options.position", options[0].value, INT64_MIN, INT64_MAX, &call->position) ||
		!args_integer(call, "options.batchSize", options[1].value, -1, MAX_BATCH_SIZE,
					  &call->messages_left) ||
		!args_direction(call, "options.direction", options[2].value, &call->backward))
		return false;
	args_set_json(call, READ_NAME, call->args[0]);
	call->placed = options[0].value.bytes != NULL;
	return ask_page(call);
}

bool method_stream_last(struct method_call *call)
{
	struct member options[] = {{.name = "type"}};
	struct db_last_message in = {.namespace_name = call->namespace_name};

	if (!args_name(call, READ_NAME, "stream", call->args[0], MAX_NAME) ||
		!args_reading(call, call->args[1], options, 1) ||
		!args_text(call, READ_TYPES, "options.type", options[0].value) || !method_has_texts(call))
		return false;
	in.stream = args_get(call, READ_NAME);
	in.reading = method_reading(call);
	/* As for correlation, an empty one is no filter. */
	if (call->texts[READ_TYPES] >= 0 && !json_string_is(options[0].value, ""))
		in.type = args_get(call, READ_TYPES);
	return method_asked(call, db_last_message(call->methods->db, &in, method_on_value, call));
}

bool method_stream_version(struct method_call *call)
{
	struct db_stream_version in = {.namespace_name = call->namespace_name};

	if (!args_name(call, READ_NAME, "stream", call->args[0], MAX_NAME) ||
		!args_reading(call, call->args[1], NULL, 0) || !method_has_texts(call))
		return false;
	in.stream = args_get(call, READ_NAME);
	in.reading = method_reading(call);
	return method_asked(call, db_stream_version(call->methods->db, &in, method_on_value, call));
}

static void on_head(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;
	char text[40];

	if (reply->status != DB_OK)
	{
		method_fail_status(call, reply->status, &reply->error);
		method_answer_error(call);
		return;
	}
	method_answer_text(call, text,
					   (size_t)snprintf(text, sizeof(text), "{\"head\":%" PRId64 "}", db_head_of(reply)));
}

bool method_stream_head(struct method_call *call)
{
	struct db_head in = {.namespace_name = call->namespace_name};

	if (!args_reading(call, call->args[0], NULL, 0))
		return false;
	in.reading = method_reading(call);
	return method_asked(call, db_head(call->methods->db, &in, on_head, call));
}
