/*
 * reply.c: the replies of a request, and the envelopes around results and errors (see internal.h).
 */
#include <stdlib.h>

#include "rpc/internal.h"

#define MAX_FAILURES 1000 /* bytes of text */

void rpc_free_request(struct rpc_request *request)
{
	for (unsigned i = 0; i < request->nitems; i++)
		buf_free(&request->items[i].answer);
	free(request->items);
	buf_free(&request->failures);
	request->rpc->gathered -= request->gathered;
	pool_give(&request->rpc->requests, request);
}

/* Ends the request and hands over the last reply, in which `rpc` may go. */
void rpc_finish(struct rpc_request *request, struct rpc_reply *reply)
{
	struct buf failures = request->failures;
	rpc_done done = request->done;
	void *arg = request->arg;

	request->failures = (struct buf){0};
	rpc_free_request(request);
	reply->request = NULL;
	reply->failures = (struct slice){failures.data, failures.len};
	done(arg, reply);
	buf_free(&failures);
}

void rpc_finish_with_text(struct rpc_request *request, int status, const struct buf *text)
{
	struct rpc_reply reply = {.status = status, .npieces = 1};

	reply.pieces[0] =
		text->failed ? piece_of(RPC_OUT_OF_MEMORY) : (struct piece){.bytes = text->data, .len = text->len};
	if (text->failed)
		reply.status = 500;
	rpc_finish(request, &reply);
}

/* The array form's error, and that of a body in which no envelope can be made out. */
void rpc_finish_with_error(struct rpc_request *request, const struct error *error)
{
	struct rpc_reply reply = {.status = error_status(error->code), .npieces = 1};
	struct buf text = {0};

	error_write_body(&text, error);
	reply.retry_after = error_retry_after(error);
	reply.pieces[0] = (struct piece){.bytes = text.data, .len = text.len};
	rpc_finish(request, &reply);
	buf_free(&text);
}

void rpc_finish_with_protocol_error(struct rpc_request *request, enum jsonrpc_code code, const char *message,
									struct slice id)
{
	struct buf text = {0};

	error_write_jsonrpc_plain(&text, code, message, id);
	rpc_finish_with_text(request, 200, &text);
	buf_free(&text);
}

void rpc_finish_empty(struct rpc_request *request)
{
	struct rpc_reply reply = {.status = 204};

	rpc_finish(request, &reply);
}

void rpc_finish_call_error(struct rpc_request *request, const struct error *error)
{
	struct buf text = {0};

	if (request->begun)
	{
		struct rpc_reply reply = {.broken = true};

		rpc_finish(request, &reply);
		return;
	}
	if (request->envelope == ENVELOPE_ARRAY)
	{
		rpc_finish_with_error(request, error);
		return;
	}
	error_write_jsonrpc(&text, error, request->id);
	rpc_finish_with_text(request, 200, &text);
	buf_free(&text);
}

/* Remembers for the log what failed without the client's doing. */
void rpc_note_failure(struct rpc_request *request, const struct method_call *call, const struct error *error)
{
	struct buf *failures = &request->failures;

	if (error_status(error->code) < 500 || failures->len > MAX_FAILURES)
		return;
	buf_printf(failures, "%s%s: %s %s%s%s", failures->len > 0 ? "; " : "", method_name(call->method),
			   error_code_name(error->code), error->message, error->details[0] != '\0' ? " " : "",
			   error->details);
}

void rpc_release_pieces(struct method_reply *answer)
{
	for (unsigned i = 0; i < answer->npieces; i++)
		piece_release(&answer->pieces[i]);
}

/* Passes on a part of the result, with its envelope before the first and behind the last one. */
void rpc_pass_on(struct rpc_request *request, struct method_reply *answer)
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
		rpc_finish(request, &reply);
}
