/*
 * rpc: the two envelopes of /rpc, the array form and JSON-RPC 2.0 (WIRE.md section 3), around
 * the methods.  Knows nothing of HTTP but its status numbers.
 */
#ifndef MILLRACE_RPC_H
#define MILLRACE_RPC_H

#include <stdbool.h>

#include "methods.h"
#include "slice.h"

#define RPC_MAX_PIECES 8

struct rpc_request;

struct rpc_reply
{
	struct rpc_request *request;
	int status;		/* HTTP; 204 = no body.  Counts in the first part of a reply only */
	bool temporary; /* an error that is worth trying again a little later */
	bool broken;	/* an error after the first part went out: the rest will not come */
	bool more;		/* call rpc_resume for the next part, or rpc_cancel to do without */
	struct piece pieces[RPC_MAX_PIECES];
	unsigned npieces;
	struct slice
		failures; /* with the last part: what went wrong that is not the client's doing, for the log; empty: nothing */
};

/* The receiver takes the pieces.  Called once, or again and again while `more` is set. */
typedef void (*rpc_done)(void *arg, struct rpc_reply *reply);

/* Body and namespace must stay until the last reply; `done` may come at once. */
void rpc_start(struct methods *methods, const char *namespace_name, struct slice body, rpc_done done,
			   void *arg);
void rpc_resume(struct rpc_request *request);
void rpc_cancel(struct rpc_request *request);

#endif
