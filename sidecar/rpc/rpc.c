/*
 * rpc.c: takes requests apart and starts their method calls.
 *
 * One struct rpc_request lives from rpc_start() to its last reply (or rpc_cancel()).  A request of the array
 * form or a single JSON-RPC request holds one call, whose result is passed on as it comes.
 */
#include "rpc/rpc.h"

#include "base/json.h"
#include "rpc/internal.h"

void rpc_free(struct rpc *rpc)
{
	pool_empty(&rpc->requests);
	pool_empty(&rpc->calls);
}

static void finish_invalid(struct rpc_request *request, const char *message)
{
	struct error error;

	error_set(&error, ERROR_INVALID_REQUEST, "%s", message);
	rpc_finish_with_error(request, &error);
}

static void on_answer(void *arg, struct method_reply *answer)
{
	struct rpc_request *request = arg;

	if (answer->waiting)
	{
		struct rpc_reply reply = {.request = request, .waiting = true};

		request->done(request->arg, &reply);
		return;
	}
	method_charge(&request->call, answer);
	if (answer->error != NULL)
		rpc_note_failure(request, &request->call, answer->error);
	/* What was read for an error or the last part is not needed any more; `error` is in the call itself. */
	if (request->notification || !answer->more)
		method_end(&request->call);
	if (request->notification)
	{
		rpc_release_pieces(answer);
		rpc_finish_empty(request);
	}
	else if (answer->error != NULL)
		rpc_finish_call_error(request, answer->error);
	else
		rpc_pass_on(request, answer);
}

/* ---- the array form ------------------------------------------------------------ */

static void start_array(struct rpc_request *request, struct slice array, struct slice name)
{
	const struct method *method = method_find(request->rpc->methods, name);
	struct error error;

	request->envelope = ENVELOPE_ARRAY;
	if (method == NULL)
	{
		rpc_unknown_method(&error, name);
		rpc_finish_with_error(request, &error);
		return;
	}
	rpc_prepare_call(request, &request->call, method, on_answer, request);
	rpc_set_positional(&request->call, array, 1);
	method_start(&request->call);
}

/* ---- JSON-RPC 2.0 ---------------------------------------------------------------- */

static void start_jsonrpc(struct rpc_request *request, struct slice object)
{
	struct jsonrpc_request parsed;
	const struct method *method;
	struct error error;
	char text[JSONRPC_INVALID_TEXT];

	if (!jsonrpc_is_version(jsonrpc_parse(object, &parsed)))
	{
		finish_invalid(request, "Malformed JSON request: an object needs \"jsonrpc\":\"2.0\"");
		return;
	}
	request->envelope = ENVELOPE_JSONRPC;
	request->id = parsed.id;
	if (!parsed.valid)
	{
		jsonrpc_describe_invalid(&parsed, text);
		rpc_finish_with_protocol_error(request, JSONRPC_INVALID_REQUEST, text, parsed.id);
		return;
	}
	request->notification = parsed.notification;
	method = method_find(request->rpc->methods, parsed.method);
	if (method == NULL && parsed.notification)
		rpc_finish_empty(request);
	else if (method == NULL)
	{
		rpc_unknown_method(&error, parsed.method);
		rpc_finish_call_error(request, &error);
	}
	else
	{
		rpc_prepare_call(request, &request->call, method, on_answer, request);
		rpc_set_params(&request->call, parsed.params);
		method_start(&request->call);
	}
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
		rpc_finish_with_protocol_error(request, JSONRPC_PARSE_ERROR, "Parse error", NULL_ID);
		return;
	}
	describe_malformation(&error, verdict);
	rpc_finish_with_error(request, &error);
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
		rpc_start_batch(request, array);
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

		reply.pieces[0] = piece_of(RPC_OUT_OF_MEMORY);
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

void rpc_abandon(struct rpc_request *request)
{
	method_abandon(&request->call);
}

void rpc_cancel(struct rpc_request *request)
{
	method_end(&request->call);
	rpc_free_request(request);
}
