/*
 * batch.c: batches of JSON-RPC 2.0 (see internal.h).
 *
 * The calls of a batch run side by side, so that its appends share a commit.  Their answers are gathered in
 * memory, within a bound, and go out in the order of the requests.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/internal.h"

#define MAX_BATCH_CALLS 10000U
#define MAX_CALLS_AT_ONCE 200
#define MAX_BATCH_ANSWER ((size_t)64 * 1024 * 1024) /* bytes */
#define SMALL_ANSWER 4096							/* bytes */

static void pump_batch(struct rpc_request *request);

static void release_text(void *owner)
{
	struct buf *text = owner;

	buf_free(text);
	free(text);
}

/* All answers are in: joins them. */
static void finish_batch(struct rpc_request *request)
{
	struct rpc_reply reply = {.status = 200, .npieces = 1};
	struct buf *text = calloc(1, sizeof(*text));

	if (text == NULL)
	{
		rpc_finish_with_text(request, 500, &(struct buf){.failed = true});
		return;
	}
	for (unsigned i = 0; i < request->nitems; i++)
	{
		struct buf *answer = &request->items[i].answer;

		if (answer->len == 0)
			continue;
		buf_add_str(text, text->len == 0 ? "[" : ",");
		buf_add(text, answer->data, answer->len);
		buf_free(answer);
	}
	if (text->failed || text->len == 0)
	{
		if (text->failed)
			rpc_finish_with_text(request, 500, text);
		else
			rpc_finish_empty(request);
		release_text(text);
		return;
	}
	buf_add_str(text, "]");
	reply.pieces[0] =
		(struct piece){.bytes = text->data, .len = text->len, .release = release_text, .owner = text};
	rpc_finish(request, &reply);
}

static void end_item(struct batch_item *item)
{
	struct rpc_request *request = item->request;

	method_end(item->call);
	pool_give(&request->rpc->calls, item->call);
	item->call = NULL;
	request->running--;
	pump_batch(request);
}

/* An answer has grown from `before` bytes, or shrunk. */
static void gather(struct batch_item *item, size_t before)
{
	item->request->gathered += item->answer.len - before;
	item->request->rpc->gathered += item->answer.len - before;
}

/* The answer of one call, in place of what there is of it so far. */
static void set_item_error(struct batch_item *item, const struct error *error)
{
	size_t before = item->answer.len;

	buf_clear(&item->answer);
	if (!item->notification)
		error_write_jsonrpc(&item->answer, error, item->id);
	gather(item, before);
}

static void add_item_part(struct batch_item *item, struct method_reply *answer)
{
	size_t before = item->answer.len;

	if (item->answer.len == 0)
		buf_add_str(&item->answer, "{\"jsonrpc\":\"2.0\",\"result\":");
	for (unsigned i = 0; i < answer->npieces; i++)
		buf_add(&item->answer, answer->pieces[i].bytes, answer->pieces[i].len);
	if (!answer->more)
	{
		buf_add_str(&item->answer, ",\"id\":");
		buf_add(&item->answer, item->id.bytes, item->id.len);
		buf_add_str(&item->answer, "}");
	}
	gather(item, before);
}

/* Whether an answer is too much for its batch, or for what all batches may gather. */
static bool is_too_large(const struct batch_item *item, struct error *error)
{
	const struct rpc_request *request = item->request;

	/* A small answer always fits: that of an append must not look like a failure. */
	if (item->answer.len <= SMALL_ANSWER && !item->answer.failed)
		return false;
	if (item->answer.failed || request->gathered > MAX_BATCH_ANSWER)
		error_set(error, ERROR_INVALID_REQUEST,
				  "the results of this batch are too large: ask for less, or outside a batch");
	else if (request->rpc->gathered > request->rpc->max_gathered)
		error_set(error, ERROR_OVERLOADED, "the results of all batches take too much memory");
	else
		return false;
	return true;
}

static void on_item_answer(void *arg, struct method_reply *answer)
{
	struct batch_item *item = arg;
	struct error error;

	method_charge(item->call, answer);
	if (answer->error != NULL)
	{
		rpc_note_failure(item->request, item->call, answer->error);
		set_item_error(item, answer->error);
		end_item(item);
		return;
	}
	if (!item->notification)
		add_item_part(item, answer);
	rpc_release_pieces(answer);
	if (is_too_large(item, &error))
	{
		item->call->error.code = error.code; /* so it is counted */
		rpc_note_failure(item->request, item->call, &error);
		set_item_error(item, &error);
	}
	else if (answer->more && !item->notification)
	{
		method_resume(item->call);
		return;
	}
	end_item(item);
}

/* Answers an element that does not get as far as a call. */
static void refuse_item(struct batch_item *item, const struct jsonrpc_request *parsed)
{
	struct error error;
	char text[JSONRPC_INVALID_TEXT];

	if (!parsed->valid)
	{
		jsonrpc_describe_invalid(parsed, text);
		error_write_jsonrpc_plain(&item->answer, JSONRPC_INVALID_REQUEST, text, item->id);
	}
	else if (!item->notification)
	{
		rpc_unknown_method(&error, parsed->method);
		error_write_jsonrpc(&item->answer, &error, item->id);
	}
}

static void start_item(struct rpc_request *request, struct batch_item *item, struct slice element)
{
	struct jsonrpc_request parsed;
	const struct method *method;
	struct error error;

	jsonrpc_parse(element, &parsed);
	item->request = request;
	item->id = parsed.id;
	item->notification = parsed.valid && parsed.notification;
	method = parsed.valid ? method_find(request->rpc->methods, parsed.method) : NULL;
	if (method == NULL)
	{
		refuse_item(item, &parsed);
		return;
	}
	item->call = pool_take(&request->rpc->calls, sizeof(*item->call));
	if (item->call == NULL)
	{
		error_set(&error, ERROR_INTERNAL_ERROR, "out of memory");
		set_item_error(item, &error);
		return;
	}
	request->running++;
	rpc_prepare_call(request, item->call, method, on_item_answer, item);
	item->call->index = (unsigned)(item - request->items);
	rpc_set_params(item->call, parsed.params);
	method_start(item->call);
}

/* Starts what may be started; a loop, because calls may answer at once. */
static void pump_batch(struct rpc_request *request)
{
	struct slice element;

	if (request->pumping)
		return;
	request->pumping = true;
	while (request->started < request->nitems && request->running < MAX_CALLS_AT_ONCE &&
		   json_next_element(&request->elements, &element))
		start_item(request, &request->items[request->started++], element);
	request->pumping = false;
	if (request->running == 0 && request->started == request->nitems)
		finish_batch(request);
}

void rpc_start_batch(struct rpc_request *request, struct slice array)
{
	struct json_iterator iterator;
	struct slice element;
	char message[80];
	unsigned n = 0;

	json_iterate(&iterator, array);
	while (n <= MAX_BATCH_CALLS && json_next_element(&iterator, &element))
		n++;
	if (n > MAX_BATCH_CALLS)
	{
		snprintf(message, sizeof(message), "Invalid Request: more than %u calls in one batch",
				 MAX_BATCH_CALLS);
		rpc_finish_with_protocol_error(request, JSONRPC_INVALID_REQUEST, message, NULL_ID);
		return;
	}
	request->envelope = ENVELOPE_BATCH;
	request->items = calloc(n, sizeof(*request->items));
	if (request->items == NULL)
	{
		rpc_finish_with_text(request, 500, &(struct buf){.failed = true});
		return;
	}
	request->nitems = n;
	json_iterate(&request->elements, array);
	pump_batch(request);
}
