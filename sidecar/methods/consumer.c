/*
 * consumer.c: consumer.*.
 *
 * Postgres checks the options and makes the answers.  consumer.next alone is taken apart here: it may wait
 * (waiting.c), and it is given a request id when it has none, so that it is safe to send it again.
 */
#include <string.h>

#include "base/clock.h"
#include "base/stats.h"
#include "methods/internal.h"

#define MAX_WAIT_MS 60000
#define DEFAULT_WAIT_MS 30000 /* below the 60 s after which many a proxy gives up */

/* ---- all but next ------------------------------------------------------------ */

enum consumer_text
{
	CONSUMER_NAME,
	CONSUMER_OPTIONS,
};

static bool ask(struct method_call *call, bool reads, db_query_done done)
{
	const struct db_consumer in = {
		.namespace_name = call->namespace_name,
		.method = call->action,
		.consumer = args_get(call, CONSUMER_NAME),
		.options = args_get(call, CONSUMER_OPTIONS),
		.reads = reads,
	};

	return method_has_texts(call) && method_asked(call, db_consumer(call->db, &in, done, call));
}

static uint64_t count_failed(struct slice options)
{
	struct json_iterator iterator, elements;
	struct slice key, value, element;
	uint64_t count = 0;

	json_iterate(&iterator, options);
	while (json_next_member(&iterator, &key, &value))
	{
		if (!json_string_is(key, "failed") || json_kind(value) != JSON_ARRAY)
			continue;
		count = 0;
		json_iterate(&elements, value);
		while (json_next_element(&elements, &element))
			count++;
	}
	return count;
}

static void count_call(struct method_call *call, const struct db_reply *reply)
{
	struct stats *stats = call->methods->stats;
	bool settles = strcmp(call->action, "settle") == 0;

	if (settles && reply->status == DB_OK)
	{
		stats_add(&stats->claims_settled, 1);
		stats_add(&stats->messages_failed, count_failed(slice_of(args_get(call, CONSUMER_OPTIONS))));
	}
	else if (reply->status == DB_ERROR && strcmp(reply->error.sqlstate, SQLSTATE_CLAIM_LOST) == 0)
		stats_add(&stats->claims_fenced, 1);
}

/* Whatever it was, what waits for the consumer may find something else now. */
static void on_answer(void *arg, struct db_reply *reply)
{
	struct method_call *call = arg;

	count_call(call, reply);
	if (reply->status == DB_OK)
		consumers_settled(call->methods, call->namespace_name, args_get(call, CONSUMER_NAME));
	method_on_value(call, reply);
}

static bool read_options(struct method_call *call, struct slice options)
{
	if (options.bytes == NULL)
		options = slice_of("{}");
	if (!args_object(call, "options", options))
		return false;
	args_set_json(call, CONSUMER_OPTIONS, options);
	return true;
}

bool method_consumer(struct method_call *call)
{
	return args_name(call, CONSUMER_NAME, "consumer", call->args[0], MAX_CONSUMER_NAME) &&
		   read_options(call, call->args[1]) && ask(call, false, on_answer);
}

bool method_consumer_read(struct method_call *call)
{
	return args_name(call, CONSUMER_NAME, "consumer", call->args[0], MAX_CONSUMER_NAME) &&
		   read_options(call, call->args[1]) && ask(call, true, method_on_value);
}

bool method_consumer_list(struct method_call *call)
{
	args_set(call, CONSUMER_NAME, "");
	return read_options(call, (struct slice){NULL, 0}) && ask(call, true, method_on_value);
}

/* ---- next -------------------------------------------------------------------- */

enum next_option
{
	OPTION_MAX,
	OPTION_MAX_BYTES,
	OPTION_LEASE,
	OPTION_MEMBER,
	OPTION_REQUEST,
	OPTION_SETTLE,
	OPTION_WAIT,
	NEXT_OPTIONS
};

/* Writes the options, but `settle` only on demand, into text i. */
static void write_request(struct method_call *call, unsigned i, const struct member *options, bool settle)
{
	struct buf *out = &call->text;
	char id[UUID_TEXT_LEN + 1];

	call->texts[i] = (ssize_t)out->len;
	for (unsigned option = OPTION_MAX; option < (settle ? OPTION_WAIT : OPTION_SETTLE); option++)
	{
		if (options[option].value.bytes == NULL)
			continue;
		buf_printf(out, "%s\"%s\":", (size_t)call->texts[i] == out->len ? "{" : ",", options[option].name);
		buf_add(out, options[option].value.bytes, options[option].value.len);
	}
	if (options[OPTION_REQUEST].value.bytes == NULL)
	{
		uuid_format(method_request(call), id);
		buf_printf(out, "%s\"request\":\"%s\"", (size_t)call->texts[i] == out->len ? "{" : ",", id);
	}
	buf_add(out, "}", 2);
}

/* Whether something is to be settled; what is no array, Postgres refuses. */
static bool has_settlements(struct slice value)
{
	struct json_iterator elements;
	struct slice element;

	if (value.bytes == NULL || json_kind(value) == JSON_NULL)
		return false;
	if (json_kind(value) != JSON_ARRAY)
		return true;
	json_iterate(&elements, value);
	return json_next_element(&elements, &element);
}

bool method_consumer_next(struct method_call *call)
{
	struct member options[NEXT_OPTIONS] = {
		[OPTION_MAX] = {.name = "max"},			[OPTION_MAX_BYTES] = {.name = "maxBytes"},
		[OPTION_LEASE] = {.name = "leaseMs"},	[OPTION_MEMBER] = {.name = "member"},
		[OPTION_REQUEST] = {.name = "request"}, [OPTION_SETTLE] = {.name = "settle"},
		[OPTION_WAIT] = {.name = "waitMs"},
	};
	int64_t wait_ms = DEFAULT_WAIT_MS;

	if (!args_name(call, NEXT_CONSUMER, "consumer", call->args[0], MAX_CONSUMER_NAME) ||
		!args_options(call, call->args[1], options, NEXT_OPTIONS) ||
		(call->args[1].bytes != NULL && !args_object(call, "options", call->args[1])) ||
		!args_integer(call, "options.waitMs", options[OPTION_WAIT].value, 0, MAX_WAIT_MS, &wait_ms))
		return false;
	write_request(call, NEXT_REQUEST, options, false);
	if (has_settlements(options[OPTION_SETTLE].value))
		write_request(call, NEXT_SETTLE, options, true);
	return method_has_texts(call) &&
		   consumers_next(call, call->deadline_ms > 0 ? call->deadline_ms
													  : clock_ms() + (call->at_once ? 0 : (uint64_t)wait_ms));
}
