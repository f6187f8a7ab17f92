/*
 * read.c: stream.get, category.get, stream.last, stream.version and stream.head.
 *
 * Postgres makes the JSON text; here it is only framed and passed on.  A long answer comes in pages of
 * about a MiB: the next one is asked for when whoever receives the answer wants it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "methods/internal.h"

#define PAGE_BYTES "1048576"
#define MAX_BATCH_SIZE 10000

/* The parameters of json_read_stream and json_read_category. */
enum stream_parameter
{
	STREAM_NAMESPACE,
	STREAM_NAME,
	STREAM_POSITION,
	STREAM_GLOBAL_POSITION,
	STREAM_BATCH_SIZE,
	STREAM_TYPES,
	STREAM_MAX_BYTES,
};

enum category_parameter
{
	CATEGORY_NAMESPACE,
	CATEGORY_NAME,
	CATEGORY_POSITION,
	CATEGORY_BATCH_SIZE,
	CATEGORY_CORRELATION,
	CATEGORY_MEMBER,
	CATEGORY_SIZE,
	CATEGORY_TYPES,
	CATEGORY_MAX_BYTES,
};

/* ---- pages ----------------------------------------------------------------- */

static bool reads_stream(const struct method_call *call)
{
	/* Only json_read_category has this many parameters, and its last is always set. */
	return call->parameters[CATEGORY_MAX_BYTES] < 0;
}

static void on_page(void *arg, struct db_reply *reply);

static bool send_page(struct method_call *call)
{
	return method_query(call, reads_stream(call) ? DB_READ_STREAM : DB_READ_CATEGORY, on_page);
}

/* Sets the parameters that change from page to page. */
static void set_page(struct method_call *call, int64_t position)
{
	buf_truncate(&call->text, call->page_mark);
	if (reads_stream(call))
	{
		args_set_integer(call, STREAM_POSITION, position);
		args_set(call, STREAM_GLOBAL_POSITION, NULL);
		args_set_integer(call, STREAM_BATCH_SIZE, call->messages_left);
	}
	else
	{
		args_set_integer(call, CATEGORY_POSITION, position);
		args_set_integer(call, CATEGORY_BATCH_SIZE, call->messages_left);
	}
}

static void on_page(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;
	struct method_reply answer = {.npieces = METHOD_MAX_PIECES};
	bool first = !call->begun;
	bool any = call->any;
	struct piece body;

	if (reply->status != DB_OK)
	{
		method_fail_status(call, reply->status, &reply->error);
		method_answer_error(call);
		return;
	}
	answer.more = !PQgetisnull(reply->result, 0, 2);
	if (call->messages_left > 0)
		call->messages_left -= strtoll(PQgetvalue(reply->result, 0, 1), NULL, 10);
	if (answer.more)
		set_page(call, strtoll(PQgetvalue(reply->result, 0, 2), NULL, 10));
	body = method_result_piece(reply);
	call->begun = true;
	call->any = any || body.len > 0;
	answer.pieces[0] = piece_of(first ? "[" : any && body.len > 0 ? "," : "");
	answer.pieces[1] = body;
	answer.pieces[2] = piece_of(answer.more ? "" : "]");
	call->done(call->arg, &answer);
}

void method_next_page(struct method_call *call)
{
	if (!send_page(call))
		method_answer_error(call);
}

/* All parameters but those of the page are set. */
static bool begin_pages(struct method_call *call, int64_t batch_size)
{
	if (batch_size == 0)
	{
		method_answer_text(call, "[]", 2);
		return true;
	}
	return send_page(call);
}

/* ---- the methods ------------------------------------------------------------ */

bool method_stream_get(struct method_call *call)
{
	struct member options[] = {
		{.name = "position"}, {.name = "globalPosition"}, {.name = "batchSize"}, {.name = "types"}};
	int64_t position = 0;
	int64_t global_position = 0;

	call->messages_left = DEFAULT_BATCH_SIZE;
	args_set(call, STREAM_NAMESPACE, call->namespace_name);
	args_set(call, STREAM_MAX_BYTES, PAGE_BYTES);
	if (!args_name(call, STREAM_NAME, "stream", call->args[0], MAX_NAME) ||
		!args_options(call, call->args[1], options, 4) ||
		!args_integer(call, "options.position", options[0].value, INT64_MIN, INT64_MAX, &position) ||
		!args_integer(call, "options.globalPosition", options[1].value, INT64_MIN, INT64_MAX,
					  &global_position) ||
		!args_integer(call, "options.batchSize", options[2].value, -1, MAX_BATCH_SIZE,
					  &call->messages_left) ||
		!args_text_array(call, STREAM_TYPES, "options.types", options[3].value))
		return false;
	call->page_mark = call->text.len;
	/* globalPosition wins: then the stream is read from its start, up to where that begins. */
	set_page(call, options[1].value.bytes != NULL ? 0 : position);
	if (options[1].value.bytes != NULL)
		args_set_integer(call, STREAM_GLOBAL_POSITION, global_position);
	return begin_pages(call, call->messages_left);
}

/* Sets member and size from options.consumerGroup. */
static bool read_consumer_group(struct method_call *call, struct slice group)
{
	struct member members[] = {{.name = "member"}, {.name = "size"}};
	int64_t size = 0;
	int64_t member = 0;

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
	if (!args_integer(call, "options.consumerGroup.size", members[1].value, 1, INT64_MAX, &size) ||
		!args_integer(call, "options.consumerGroup.member", members[0].value, 0, size - 1, &member))
		return false;
	args_set_integer(call, CATEGORY_MEMBER, member);
	args_set_integer(call, CATEGORY_SIZE, size);
	return true;
}

enum category_option
{
	OPTION_POSITION,
	OPTION_GLOBAL_POSITION,
	OPTION_BATCH_SIZE,
	OPTION_CORRELATION,
	OPTION_CONSUMER_GROUP,
	OPTION_TYPES,
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
	};
	int64_t position = 1;

	call->messages_left = DEFAULT_BATCH_SIZE;
	args_set(call, CATEGORY_NAMESPACE, call->namespace_name);
	args_set(call, CATEGORY_MAX_BYTES, PAGE_BYTES);
	if (call->args[0].bytes == NULL)
		return args_reject(call, "category", call->args[0], "a string");
	if (!args_text(call, CATEGORY_NAME, "category", call->args[0]) ||
		!args_options(call, call->args[1], options, CATEGORY_OPTIONS) ||
		!args_integer(call, "options.position", options[OPTION_POSITION].value, INT64_MIN, INT64_MAX,
					  &position) ||
		!args_integer(call, "options.globalPosition", options[OPTION_GLOBAL_POSITION].value, INT64_MIN,
					  INT64_MAX, &position) ||
		!args_integer(call, "options.batchSize", options[OPTION_BATCH_SIZE].value, -1, MAX_BATCH_SIZE,
					  &call->messages_left) ||
		!args_text(call, CATEGORY_CORRELATION, "options.correlation", options[OPTION_CORRELATION].value) ||
		!read_consumer_group(call, options[OPTION_CONSUMER_GROUP].value) ||
		!args_text_array(call, CATEGORY_TYPES, "options.types", options[OPTION_TYPES].value))
		return false;
	if (call->parameters[CATEGORY_CORRELATION] >= 0 && json_string_is(options[OPTION_CORRELATION].value, ""))
		args_set(call, CATEGORY_CORRELATION, NULL);
	call->page_mark = call->text.len;
	set_page(call, position);
	return begin_pages(call, call->messages_left);
}

bool method_stream_last(struct method_call *call)
{
	struct member options[] = {{.name = "type"}};

	args_set(call, 0, call->namespace_name);
	if (!args_name(call, 1, "stream", call->args[0], MAX_NAME) ||
		!args_options(call, call->args[1], options, 1) ||
		!args_text(call, 2, "options.type", options[0].value))
		return false;
	/* As for correlation, an empty one is no filter. */
	if (call->parameters[2] >= 0 && json_string_is(options[0].value, ""))
		args_set(call, 2, NULL);
	return method_query(call, DB_LAST_MESSAGE, method_on_value);
}

bool method_stream_version(struct method_call *call)
{
	args_set(call, 0, call->namespace_name);
	return args_name(call, 1, "stream", call->args[0], MAX_NAME) &&
		   method_query(call, DB_STREAM_VERSION, method_on_value);
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
	method_answer_text(
		call, text,
		(size_t)snprintf(text, sizeof(text), "{\"head\":%.20s}", PQgetvalue(reply->result, 0, 0)));
}

bool method_stream_head(struct method_call *call)
{
	args_set(call, 0, call->namespace_name);
	return method_query(call, DB_HEAD, on_head);
}
