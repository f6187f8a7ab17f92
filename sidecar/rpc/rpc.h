/*
 * rpc: the two envelopes of /rpc, the array form and JSON-RPC 2.0 (README.md, "Requests and answers"), around
 * the methods.  Knows nothing of HTTP but its status numbers.
 *
 *     rpc.c       requests, the array form
 *     jsonrpc.c   a request object of JSON-RPC 2.0
 *     batch.c     batches of these
 *     call.c      the arguments of a call
 *     reply.c     replies, the envelopes around them
 *     describe.c  what a request asks for, in short
 */
#ifndef MILLRACE_RPC_H
#define MILLRACE_RPC_H

#include <stdbool.h>

#include "base/pool.h"
#include "base/slice.h"
#include "methods/methods.h"

#define RPC_MAX_PIECES 8

struct rpc_request;

/* What all requests of a worker share.  The caller sets the first two, all else is zero at first. */
struct rpc
{
	struct methods *methods;
	size_t max_gathered; /* bytes of the answers of JSON-RPC batches that are not out yet */
	size_t gathered;
	struct pool requests, calls;
};

/* Frees what it keeps for reuse; none of its requests may be left. */
void rpc_free(struct rpc *rpc);

struct rpc_reply
{
	struct rpc_request *request;
	int status;			  /* HTTP; 204 = no body.  Counts in the first part of a reply only */
	unsigned retry_after; /* s, of an error that is worth trying again; else 0 */
	bool broken;		  /* an error after the first part went out: the rest will not come */
	bool waiting;		  /* nothing yet, and it may take long: call rpc_abandon when its client is gone */
	bool more;			  /* call rpc_resume for the next part, or rpc_cancel to do without */
	struct piece pieces[RPC_MAX_PIECES];
	unsigned npieces;
	/* With the last part: what went wrong that is not the client's doing, for the log; empty: nothing. */
	struct slice failures;
};

/* The receiver takes the pieces.  Called once, or again and again while `more` is set. */
typedef void (*rpc_done)(void *arg, struct rpc_reply *reply);

/* Whose request it is. */
struct rpc_caller
{
	const char *namespace_name;
	struct place *place; /* where the namespace is */
	struct quota *quota; /* NULL: it has no limits */
	unsigned rights;	 /* see struct method_call */
	size_t page_bytes;	 /* see struct method_call */
	struct slice trace;	 /* the same */
	bool has_key;
	struct uuid key; /* the same */
};

/*
 * Answers the body of a request.  It and the namespace must stay until the last reply; `done` may be called
 * from within, and `rpc` may be freed in the last call.
 */
void rpc_start(struct rpc *rpc, const struct rpc_caller *caller, struct slice body, rpc_done done, void *arg);
/* Asks for the next part of a reply that has more. */
void rpc_resume(struct rpc_request *request);
/* Does without the rest of a reply that has more, and frees the request. */
void rpc_cancel(struct rpc_request *request);
/* The client of a request that is waiting is gone: the reply comes at once, or soon. */
void rpc_abandon(struct rpc_request *request);

/* What a request asks for, for the log; as it is written in the body, without quotes. */
struct rpc_description
{
	struct slice method; /* of a batch the first call's; .bytes NULL: there is none */
	struct slice name;	 /* of the stream, category or namespace; .bytes NULL: none */
	unsigned calls;		 /* of a batch; else 0 */
};

void rpc_describe(struct slice body, struct rpc_description *description);

#endif
