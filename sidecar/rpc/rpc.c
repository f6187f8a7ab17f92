/*
 * rpc.c: takes requests apart, starts their method calls, and puts envelopes around the results.
 *
 * One struct rpc_request lives from rpc_start to its last reply (or rpc_cancel).  A request of the array form
 * or a single JSON-RPC request holds one call, whose result is passed on as it comes.  The calls of a batch
 * run side by side, so that its appends share a commit; their answers are gathered in
 * memory, within a bound, and go out in the order of the requests.
 */
#include "rpc/rpc.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/spelling.h"

#define MAX_BATCH_CALLS 10000
#define MAX_CALLS_AT_ONCE 200
#define MAX_BATCH_ANSWER ((size_t)64 * 1024 * 1024)
#define SMALL_ANSWER 4096
#define MAX_FAILURES 1000 /* bytes of text */

enum envelope
{
	ENVELOPE_ARRAY,
	ENVELOPE_JSONRPC,
	ENVELOPE_BATCH,
};

/* A JSON-RPC 2.0 request object, taken apart. */
struct parsed
{
	struct slice method;
	struct slice params;
	struct slice id; /* "null" when it has none, or none that can be echoed */
	bool notification;
	bool valid;
	struct slice stray; /* a member that is nearly one of ours, without its quotes; .bytes NULL: none */
	const char *meant;	/* which one */
};

/* A call of a batch. */
struct item
{
	struct rpc_request *request;
	struct slice id;
	bool notification;
	struct buf answer;		  /* empty for a notification */
	struct method_call *call; /* NULL when not running */
};

struct rpc_request
{
	struct rpc *rpc;
	struct rpc_caller caller;
	rpc_done done;
	void *arg;
	enum envelope envelope;
	bool unsupported; /* see struct method_call */
	bool begun;		  /* a part of the reply went out */
	struct slice id;
	bool notification;
	struct method_call call;
	struct buf failures; /* text for the log */
	/* ENVELOPE_BATCH */
	struct json_iterator elements;
	struct item *items;
	unsigned nitems, started, running;
	size_t gathered; /* bytes of answers, unfinished ones included */
	bool pumping;
};

static const struct slice null_id = {"null", 4};

/* ---- replies --------------------------------------------------------------- */

void rpc_free(struct rpc *rpc)
{
	pool_empty(&rpc->requests);
	pool_empty(&rpc->calls);
}

static void free_request(struct rpc_request *request)
{
	for (unsigned i = 0; i < request->nitems; i++)
		buf_free(&request->items[i].answer);
	free(request->items);
	buf_free(&request->failures);
	request->rpc->gathered -= request->gathered;
	pool_give(&request->rpc->requests, request);
}

/* Ends the request and hands over the last reply, in which `rpc` may go. */
static void finish(struct rpc_request *request, struct rpc_reply *reply)
{
	struct buf failures = request->failures;
	rpc_done done = request->done;
	void *arg = request->arg;

	request->failures = (struct buf){0};
	free_request(request);
	reply->request = NULL;
	reply->failures = (struct slice){failures.data, failures.len};
	done(arg, reply);
	buf_free(&failures);
}

static void finish_with_text(struct rpc_request *request, int status, const struct buf *text)
{
	struct rpc_reply reply = {.status = status, .npieces = 1};

	reply.pieces[0] =
		text->failed ? piece_of("{\"error\":{\"code\":\"INTERNAL_ERROR\",\"message\":\"out of memory\"}}")
					 : (struct piece){.bytes = text->data, .len = text->len};
	if (text->failed)
		reply.status = 500;
	finish(request, &reply);
}

/* The array form's error, and that of a body in which no envelope can be made out. */
static void finish_with_error(struct rpc_request *request, const struct error *error)
{
	struct rpc_reply reply = {.status = error_status(error->code), .npieces = 1};
	struct buf text = {0};

	error_write_body(&text, error);
	reply.retry_after = error_retry_after(error);
	reply.pieces[0] = (struct piece){.bytes = text.data, .len = text.len};
	finish(request, &reply);
	buf_free(&text);
}

static void finish_invalid(struct rpc_request *request, const char *message)
{
	struct error error;

	error_set(&error, ERROR_INVALID_REQUEST, "%s", message);
	finish_with_error(request, &error);
}

static void finish_with_protocol_error(struct rpc_request *request, enum jsonrpc_code code,
									   const char *message, struct slice id)
{
	struct buf text = {0};

	error_write_jsonrpc_plain(&text, code, message, id);
	finish_with_text(request, 200, &text);
	buf_free(&text);
}

static void finish_empty(struct rpc_request *request)
{
	struct rpc_reply reply = {.status = 204};

	finish(request, &reply);
}

/* ---- one call ----------------------------------------------------------------- */

static void finish_call_error(struct rpc_request *request, const struct error *error)
{
	struct buf text = {0};

	if (request->begun)
	{
		struct rpc_reply reply = {.broken = true};

		finish(request, &reply);
		return;
	}
	if (request->envelope == ENVELOPE_ARRAY)
	{
		finish_with_error(request, error);
		return;
	}
	error_write_jsonrpc(&text, error, request->id);
	finish_with_text(request, 200, &text);
	buf_free(&text);
}

/* Remembers for the log what failed without the client's doing. */
static void note_failure(struct rpc_request *request, const struct method_call *call,
						 const struct error *error)
{
	struct buf *failures = &request->failures;

	if (error_status(error->code) < 500 || failures->len > MAX_FAILURES)
		return;
	buf_printf(failures, "%s%s: %s %s%s%s", failures->len > 0 ? "; " : "", method_name(call->method),
			   error_code_name(error->code), error->message, error->details[0] != '\0' ? " " : "",
			   error->details);
}

static void release_pieces(struct method_reply *answer)
{
	for (unsigned i = 0; i < answer->npieces; i++)
		piece_release(&answer->pieces[i]);
}

/* Passes on a part of the result, with its envelope before the first and behind the last one. */
static void pass_on(struct rpc_request *request, struct method_reply *answer)
{
	struct rpc_reply reply = {.request = request, .status = 200, .more = answer->more};
	bool wrapped = request->envelope == ENVELOPE_JSONRPC;

	if (wrapped && !request->begun)
		reply.pieces[reply.npieces++] = piece_of("{\"jsonrpc\":\"2.0\",\"result\":");
	for (unsigned i = 0; i < answer->npieces; i++)
		reply.pieces[reply.npieces++] = answer->pieces[i];
	if (wrapped && !answer->more)
	{
		reply.pieces[reply.npieces++] = piece_of(",\"id\":");
		reply.pieces[reply.npieces++] = (struct piece){.bytes = request->id.bytes, .len = request->id.len};
		reply.pieces[reply.npieces++] = piece_of("}");
	}
	request->begun = true;
	if (answer->more)
		request->done(request->arg, &reply);
	else
		finish(request, &reply);
}

static void on_answer(void *arg, struct method_reply *answer)
{
	struct rpc_request *request = arg;

	method_charge(&request->call, answer);
	if (answer->error != NULL)
		note_failure(request, &request->call, answer->error);
	/* What was read for an error or the last part is not needed any more; `error` is in the call itself. */
	if (request->notification || !answer->more)
		method_end(&request->call);
	if (request->notification)
	{
		release_pieces(answer);
		finish_empty(request);
	}
	else if (answer->error != NULL)
		finish_call_error(request, answer->error);
	else
		pass_on(request, answer);
}

/* Positional arguments; surplus ones are ignored.  `skip` elements stand before the first. */
static void set_positional(struct method_call *call, struct slice array, unsigned skip)
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
static void prepare_call(struct rpc_request *request, struct method_call *call, const struct method *method,
						 method_done done, void *arg)
{
	call->methods = request->rpc->methods;
	call->method = method;
	call->namespace_name = request->caller.namespace_name;
	call->quota = request->caller.quota;
	call->unsupported = request->unsupported;
	call->strict = request->envelope != ENVELOPE_ARRAY;
	call->stray = (struct slice){NULL, 0};
	for (unsigned i = 0; i < METHOD_MAX_ARGS; i++)
		call->args[i] = (struct slice){NULL, 0};
	call->done = done;
	call->arg = arg;
}

static void set_params(struct method_call *call, struct slice params)
{
	if (json_kind(params) == JSON_ARRAY)
		set_positional(call, params, 0);
	else if (json_kind(params) == JSON_OBJECT)
		set_named(call, params);
}

static void unknown_method(struct error *error, struct slice name)
{
	error_set(error, ERROR_METHOD_NOT_FOUND, "unknown method %.*s", (int)(name.len < 200 ? name.len : 200),
			  name.bytes);
}

/* ---- the array form ------------------------------------------------------------ */

static void start_array(struct rpc_request *request, struct slice array, struct slice name)
{
	const struct method *method = method_find(request->rpc->methods, name);
	struct error error;

	request->envelope = ENVELOPE_ARRAY;
	if (method == NULL)
	{
		unknown_method(&error, name);
		finish_with_error(request, &error);
		return;
	}
	prepare_call(request, &request->call, method, on_answer, request);
	set_positional(&request->call, array, 1);
	method_start(&request->call);
}

/* ---- JSON-RPC 2.0 ---------------------------------------------------------------- */

static bool is_jsonrpc(struct slice version)
{
	return json_kind(version) == JSON_STRING && json_string_is(version, "2.0");
}

/*
 * Others than ours are extensions.  But one that is nearly ours was meant to be: without its id a call would
 * be a notification.
 */
static void note_stray(struct parsed *parsed, struct slice key)
{
	static const char *const members[] = {"jsonrpc", "method", "params", "id"};
	struct slice name = {key.bytes + 1, key.len - 2};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		if (!spelling_is_near(name, members[i]))
			continue;
		parsed->stray = name;
		parsed->meant = members[i];
	}
}

#define INVALID_TEXT 200 /* bytes */

static void describe_invalid(const struct parsed *parsed, char text[INVALID_TEXT])
{
	int shown = (int)(parsed->stray.len < 80 ? parsed->stray.len : 80);

	if (parsed->stray.bytes == NULL)
		snprintf(text, INVALID_TEXT, "Invalid Request");
	else
		snprintf(text, INVALID_TEXT, "Invalid Request: %.*s is not known; did you mean %s?", shown,
				 parsed->stray.bytes, parsed->meant);
}

/* Returns the value of the member "jsonrpc", too. */
static struct slice parse_object(struct slice object, struct parsed *parsed)
{
	struct slice version = {NULL, 0};
	struct slice id = {NULL, 0};
	struct json_iterator iterator;
	struct slice key, value;
	enum json_kind params;

	*parsed = (struct parsed){.id = null_id};
	if (json_kind(object) != JSON_OBJECT)
		return version;
	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "jsonrpc"))
			version = value;
		else if (json_string_is(key, "method"))
			parsed->method = value;
		else if (json_string_is(key, "params"))
			parsed->params = value;
		else if (json_string_is(key, "id"))
			id = value;
		else
			note_stray(parsed, key);
	}
	params = json_kind(parsed->params);
	parsed->valid = is_jsonrpc(version) && parsed->stray.bytes == NULL &&
					json_kind(parsed->method) == JSON_STRING &&
					(params == JSON_NONE || params == JSON_ARRAY || params == JSON_OBJECT);
	parsed->notification = id.bytes == NULL;
	if (json_kind(id) == JSON_STRING || json_kind(id) == JSON_NUMBER || json_kind(id) == JSON_NULL)
		parsed->id = id;
	else if (id.bytes != NULL)
		parsed->valid = false;
	return version;
}

static void start_jsonrpc(struct rpc_request *request, struct slice object)
{
	struct parsed parsed;
	const struct method *method;
	struct error error;
	char text[INVALID_TEXT];

	if (!is_jsonrpc(parse_object(object, &parsed)))
	{
		finish_invalid(request, "Malformed JSON request: an object needs \"jsonrpc\":\"2.0\"");
		return;
	}
	request->envelope = ENVELOPE_JSONRPC;
	request->id = parsed.id;
	if (!parsed.valid)
	{
		describe_invalid(&parsed, text);
		finish_with_protocol_error(request, JSONRPC_INVALID_REQUEST, text, parsed.id);
		return;
	}
	request->notification = parsed.notification;
	method = method_find(request->rpc->methods, parsed.method);
	if (method == NULL && parsed.notification)
		finish_empty(request);
	else if (method == NULL)
	{
		unknown_method(&error, parsed.method);
		finish_call_error(request, &error);
	}
	else
	{
		prepare_call(request, &request->call, method, on_answer, request);
		set_params(&request->call, parsed.params);
		method_start(&request->call);
	}
}

/* ---- batches --------------------------------------------------------------------- */

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
		finish_with_text(request, 500, &(struct buf){.failed = true});
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
			finish_with_text(request, 500, text);
		else
			finish_empty(request);
		release_text(text);
		return;
	}
	buf_add_str(text, "]");
	reply.pieces[0] =
		(struct piece){.bytes = text->data, .len = text->len, .release = release_text, .owner = text};
	finish(request, &reply);
}

static void pump_batch(struct rpc_request *request);

static void end_item(struct item *item)
{
	struct rpc_request *request = item->request;

	method_end(item->call);
	pool_give(&request->rpc->calls, item->call);
	item->call = NULL;
	request->running--;
	pump_batch(request);
}

/* An answer has grown from `before` bytes, or shrunk. */
static void gather(struct item *item, size_t before)
{
	item->request->gathered += item->answer.len - before;
	item->request->rpc->gathered += item->answer.len - before;
}

/* The answer of one call, in place of what there is of it so far. */
static void set_item_error(struct item *item, const struct error *error)
{
	size_t before = item->answer.len;

	buf_clear(&item->answer);
	if (!item->notification)
		error_write_jsonrpc(&item->answer, error, item->id);
	gather(item, before);
}

static void add_item_part(struct item *item, struct method_reply *answer)
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
static bool is_too_large(const struct item *item, struct error *error)
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
	struct item *item = arg;
	struct error error;

	method_charge(item->call, answer);
	if (answer->error != NULL)
	{
		note_failure(item->request, item->call, answer->error);
		set_item_error(item, answer->error);
		end_item(item);
		return;
	}
	if (!item->notification)
		add_item_part(item, answer);
	release_pieces(answer);
	if (is_too_large(item, &error))
	{
		item->call->error.code = error.code; /* so it is counted */
		note_failure(item->request, item->call, &error);
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
static void refuse_item(struct item *item, const struct parsed *parsed)
{
	struct error error;
	char text[INVALID_TEXT];

	if (!parsed->valid)
	{
		describe_invalid(parsed, text);
		error_write_jsonrpc_plain(&item->answer, JSONRPC_INVALID_REQUEST, text, item->id);
	}
	else if (!item->notification)
	{
		unknown_method(&error, parsed->method);
		error_write_jsonrpc(&item->answer, &error, item->id);
	}
}

static void start_item(struct rpc_request *request, struct item *item, struct slice element)
{
	struct parsed parsed;
	const struct method *method;
	struct error error;

	parse_object(element, &parsed);
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
	prepare_call(request, item->call, method, on_item_answer, item);
	set_params(item->call, parsed.params);
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

static void start_batch(struct rpc_request *request, struct slice array)
{
	struct json_iterator iterator;
	struct slice element;
	unsigned n = 0;

	json_iterate(&iterator, array);
	while (n <= MAX_BATCH_CALLS && json_next_element(&iterator, &element))
		n++;
	if (n > MAX_BATCH_CALLS)
	{
		finish_with_protocol_error(request, JSONRPC_INVALID_REQUEST,
								   "Invalid Request: more than 10000 calls in one batch", null_id);
		return;
	}
	request->envelope = ENVELOPE_BATCH;
	request->items = calloc(n, sizeof(*request->items));
	if (request->items == NULL)
	{
		finish_with_text(request, 500, &(struct buf){.failed = true});
		return;
	}
	request->nitems = n;
	json_iterate(&request->elements, array);
	pump_batch(request);
}

/* ---- requests ---------------------------------------------------------------------- */

/* The bare message is what existing clients know; the details say more. */
static void describe_malformation(struct error *error, const struct json_verdict *verdict)
{
	struct buf details = {0};

	error_set(error, ERROR_INVALID_REQUEST, "Malformed JSON request");
	buf_printf(&details, "{\"offset\":%zu,\"reason\":", verdict->offset);
	json_add_string(&details, verdict->reason, strlen(verdict->reason));
	buf_add_str(&details, "}");
	error_set_details(error, &details);
	buf_free(&details);
}

/* Malformed text has no envelope: a client that speaks JSON-RPC is known by the word. */
static void finish_malformed(struct rpc_request *request, struct slice body,
							 const struct json_verdict *verdict)
{
	struct error error;

	if (memmem(body.bytes, body.len, "\"jsonrpc\"", 9) != NULL)
	{
		finish_with_protocol_error(request, JSONRPC_PARSE_ERROR, "Parse error", null_id);
		return;
	}
	describe_malformation(&error, verdict);
	finish_with_error(request, &error);
}

static void start_list(struct rpc_request *request, struct slice array)
{
	struct json_iterator iterator;
	struct slice first;

	json_iterate(&iterator, array);
	if (!json_next_element(&iterator, &first))
		finish_invalid(request, "Missing method name");
	else if (json_kind(first) == JSON_STRING)
		start_array(request, array, first);
	else if (json_kind(first) == JSON_OBJECT)
		start_batch(request, array);
	else
		finish_invalid(request, "Method name must be a string");
}

void rpc_start(struct rpc *rpc, const struct rpc_caller *caller, struct slice body, rpc_done done, void *arg)
{
	struct rpc_request *request = pool_take(&rpc->requests, sizeof(*request));
	struct json_verdict verdict;

	if (request == NULL)
	{
		struct rpc_reply reply = {.status = 500, .npieces = 1};

		reply.pieces[0] = piece_of("{\"error\":{\"code\":\"INTERNAL_ERROR\",\"message\":\"out of memory\"}}");
		done(arg, &reply);
		return;
	}
	request->rpc = rpc;
	request->caller = *caller;
	request->done = done;
	request->arg = arg;
	request->envelope = ENVELOPE_ARRAY;
	request->begun = request->notification = request->pumping = false;
	request->failures = (struct buf){0};
	request->items = NULL;
	request->nitems = request->started = request->running = 0;
	request->gathered = 0;
	if (!json_check(body, &verdict))
	{
		finish_malformed(request, body, &verdict);
		return;
	}
	request->unsupported = verdict.unsupported != NULL;
	body = json_trim(body);
	if (json_kind(body) == JSON_ARRAY)
		start_list(request, body);
	else if (json_kind(body) == JSON_OBJECT)
		start_jsonrpc(request, body);
	else
		finish_invalid(request, "Malformed JSON request");
}

void rpc_resume(struct rpc_request *request)
{
	method_resume(&request->call);
}

void rpc_cancel(struct rpc_request *request)
{
	method_end(&request->call);
	free_request(request);
}
