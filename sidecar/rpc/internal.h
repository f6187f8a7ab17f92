/*
 * rpc_internal: what the files of rpc share.
 */
#ifndef MILLRACE_RPC_INTERNAL_H
#define MILLRACE_RPC_INTERNAL_H

#include "base/json.h"
#include "rpc/rpc.h"

/* The id of an answer to a request that has none that can be echoed. */
#define NULL_ID ((struct slice){"null", 4})

/* What the results and errors of a request are wrapped in. */
enum envelope
{
	ENVELOPE_ARRAY,
	ENVELOPE_JSONRPC,
	ENVELOPE_BATCH,
};

/* A JSON-RPC 2.0 request object, taken apart. */
struct jsonrpc_request
{
	struct slice method;
	struct slice params;
	struct slice id; /* "null" when it has none, or none that can be echoed */
	bool notification;
	bool valid;
	struct slice stray; /* a member whose name is nearly one of ours, without its quotes; .bytes NULL: none */
	const char *meant;	/* which one */
};

/* A call of a batch. */
struct batch_item
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
	struct batch_item *items;
	unsigned nitems, started, running;
	size_t gathered; /* bytes of answers, unfinished ones included */
	bool pumping;	 /* in the loop that starts calls */
};

/* ---- reply.c ------------------------------------------------------------- */

/* The body when there is no memory for another one. */
#define RPC_OUT_OF_MEMORY "{\"error\":{\"code\":\"INTERNAL_ERROR\",\"message\":\"out of memory\"}}"

/* Frees a request, whose calls have ended. */
void rpc_free_request(struct rpc_request *request);

/*
 * These end the request: they free it, then hand over its last reply, in which `rpc` may go.  `status` is
 * HTTP's.
 */
void rpc_finish(struct rpc_request *request, struct rpc_reply *reply);
/* Where the text has failed the reply is a 500. */
void rpc_finish_with_text(struct rpc_request *request, int status, const struct buf *text);
/* The array form's error, and that of a body in which no envelope can be made out. */
void rpc_finish_with_error(struct rpc_request *request, const struct error *error);
/* An error of JSON-RPC itself, not of a method; `id` is JSON text. */
void rpc_finish_with_protocol_error(struct rpc_request *request, enum jsonrpc_code code, const char *message,
									struct slice id);
/* Without a body: of notifications. */
void rpc_finish_empty(struct rpc_request *request);
/* In the request's envelope; when a part of the result went out, the reply is broken off. */
void rpc_finish_call_error(struct rpc_request *request, const struct error *error);

/*
 * Passes on a part of the result, with its envelope before the first and behind the last one, which ends the
 * request.
 */
void rpc_pass_on(struct rpc_request *request, struct method_reply *answer);
/* Remembers for the log what failed without the client's doing. */
void rpc_note_failure(struct rpc_request *request, const struct method_call *call, const struct error *error);
void rpc_release_pieces(struct method_reply *answer);

/* ---- call.c -------------------------------------------------------------- */

/* Sets all that method_start() wants, but the arguments. */
void rpc_prepare_call(struct rpc_request *request, struct method_call *call, const struct method *method,
					  method_done done, void *arg);
/* Positional arguments; surplus ones are ignored.  `skip` elements stand before the first. */
void rpc_set_positional(struct method_call *call, struct slice array, unsigned skip);
/* Arguments by position or by name, or none. */
void rpc_set_params(struct method_call *call, struct slice params);
void rpc_unknown_method(struct error *error, struct slice name);

/* ---- jsonrpc.c ----------------------------------------------------------- */

#define JSONRPC_INVALID_TEXT 200 /* bytes */

/* Takes a request object apart, and returns the value of its member "jsonrpc". */
struct slice jsonrpc_parse(struct slice object, struct jsonrpc_request *parsed);
bool jsonrpc_is_version(struct slice version);
/* Writes what is wrong with a request that is not valid. */
void jsonrpc_describe_invalid(const struct jsonrpc_request *parsed, char text[JSONRPC_INVALID_TEXT]);

/* ---- batch.c ------------------------------------------------------------- */

/* Starts the calls of a batch, an array whose first element is an object. */
void rpc_start_batch(struct rpc_request *request, struct slice array);

#endif
