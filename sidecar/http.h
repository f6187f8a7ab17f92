/*
 * http: a small HTTP/1.1 server on one event loop.  It knows nothing of what it serves.
 *
 * The requests of a connection are handled one after the other: the next is looked at when the reply
 * to the one before is out, so a pipelining client is answered in order and held back while
 * it does not read.  Limits, timeouts and everything wrong with a request are answered in here.
 *
 * Two handlers see a request.  `headers` is called when the head is in and may reply at once (the body is then
 * not waited for); otherwise `body` is called when the whole request is in, and must see to
 * it that exactly one reply is made, now or later: http_reply, or http_reply_start followed
 * by http_reply_end or http_reply_abort.  Until then the request stays, with all its slices, even when
 * the client goes away: replying to nobody is allowed and does nothing.
 */
#ifndef MILLRACE_HTTP_H
#define MILLRACE_HTTP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "slice.h"

struct http_server;
struct http_request;

struct http_options
{
	size_t max_header;		  /* bytes */
	size_t max_body;		  /* bytes */
	unsigned request_timeout; /* s, from the first byte of a request to its last */
	unsigned idle_timeout;	  /* s, between requests; also of a client that does not read */
	unsigned max_connections;
};

struct http_handlers
{
	void (*headers)(void *arg, struct http_request *request);
	void (*body)(void *arg, struct http_request *request);
};

/* Takes ownership of the listening sockets. */
struct http_server *http_server_new(struct event_base *base, const struct http_options *options,
									const struct http_handlers *handlers, void *arg,
									const evutil_socket_t *listeners, int nlisteners);
/* Stops accepting, finishes what is in flight; `drained` is called once, when no connection is left. */
void http_server_drain(struct http_server *server, void (*drained)(void *arg), void *arg);
/* Closes all connections.  Requests not yet replied to stay until they are. */
void http_server_free(struct http_server *server);

/* ---- the request -------------------------------------------------------- */

struct slice http_method(const struct http_request *request);
struct slice http_path(const struct http_request *request);
struct slice http_query(const struct http_request *request); /* without the question mark */
struct slice http_header(const struct http_request *request,
						 const char *name); /* the first; .bytes NULL: none */
struct slice http_body(const struct http_request *request);

/* ---- the reply ---------------------------------------------------------- */

struct http_reply
{
	int status;
	const char *content_type; /* NULL = application/json */
	const char *headers;	  /* more header lines, each with its CR LF; NULL = none */
};

/* The whole reply.  Takes the pieces, whatever happens. */
void http_reply(struct http_request *request, const struct http_reply *reply, struct piece *pieces,
				unsigned npieces);

/* A reply of unknown length: start, any number of parts (each goes out as one chunk), end. */
void http_reply_start(struct http_request *request, const struct http_reply *reply);
void http_reply_part(struct http_request *request, struct piece *pieces, unsigned npieces);
void http_reply_end(struct http_request *request);
/* Ends a started reply so that the client sees that it is not complete. */
void http_reply_abort(struct http_request *request);
/*
 * Calls `drained` when the client has read most of what was sent, perhaps at once; `gone` when there
 * is no client any more, in which case nothing further need be sent (but the reply must be ended).
 */
void http_reply_when_drained(struct http_request *request, void (*drained)(void *arg, bool gone), void *arg);

#endif
