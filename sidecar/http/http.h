/*
 * http: a small HTTP/1.1 server on one event loop.  It knows nothing of what it serves.
 *
 * The requests of a connection are handled one after the other: the next is looked at when the reply
 * to the one before is out, so a pipelining client is answered in order and held back while
 * it does not read.  Limits, timeouts and everything wrong with a request are found in here, and answered by
 * `refuse`, which knows in what form.
 *
 * Two handlers see a request.  `headers` is called when the head is in and may reply at once (the body is
 * then not waited for); otherwise `body` is called when the whole request is in, and must see to it that
 * exactly one reply is made, now or later: http_reply, or http_reply_start followed by http_reply_end or
 * http_reply_abort.  Until then the request stays, with all its slices, even when the client goes away:
 * a reply to a client that is gone is allowed and does nothing.
 *
 * A body without bounds is taken as it comes: http_stream_body in `headers` makes `body` be called at
 * once, and http_body_start then hands the bytes to a sink that says how many it took.
 */
#ifndef MILLRACE_HTTP_H
#define MILLRACE_HTTP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct buf;
struct error; /* the handlers' */
struct http_server;
struct http_request;
struct stats;
struct tls;

#define HTTP_MAX_PIECES 8 /* of a reply, or of a part of one */

struct http_options
{
	size_t max_header; /* bytes */
	size_t max_body;   /* bytes */
	/* s, from the first byte of a request to its last; between two of a streamed body; for a TLS handshake */
	unsigned request_timeout;
	unsigned idle_timeout; /* s, between requests; also of a client that does not read */
	unsigned max_connections;
	unsigned max_turned_away; /* connections beyond those that are told so; more are just closed */
	/* bytes of all requests that are here, and as many of replies that clients have not read */
	size_t max_held;
	struct tls *tls;		  /* NULL = plain HTTP */
	const char *content_type; /* of replies that name none */
	unsigned slow_ms;		  /* a request that takes that long gets an id */
	struct stats *stats;	  /* the caller's: what it counts */
};

/* How a request ended. */
struct http_outcome
{
	int status;		 /* 0: no reply was made */
	uint64_t ms;	 /* from when the request was in */
	struct slice id; /* see id.h; empty: it has none */
	const char *note;
};

struct http_handlers
{
	void (*headers)(void *arg, struct http_request *request);
	void (*body)(void *arg, struct http_request *request);
	/*
	 * Replies, with http_reply, to what is wrong with the request itself: with this status, and `message`
	 * says why.  Of a head that was not understood nothing is known: it has no method, path or headers.
	 */
	void (*refuse)(void *arg, struct http_request *request, int status, const char *message);
	/*
	 * Writes the body of http_reply_error, and returns the seconds of its Retry-After; 0: it has none.  NULL:
	 * http_reply_error is not called.
	 */
	unsigned (*error)(void *arg, const struct error *error, struct buf *body);
	/* Called when a reply has ended; the request's slices are still good.  NULL: not called. */
	void (*done)(void *arg, struct http_request *request, const struct http_outcome *outcome);
	/* Called last of a request that has a context: it was replied to, or its client went before it was in. */
	void (*ended)(void *arg, void *context);
};

/*
 * Accepts clients from the next loop turn on, and calls `handlers` with `arg`.  Takes the listening sockets.
 * NULL: out of memory.
 */
struct http_server *http_server_new(struct event_base *base, const struct http_options *options,
									const struct http_handlers *handlers, void *arg,
									const evutil_socket_t *listeners, int nlisteners);
/* Stops accepting, finishes what is in flight; `drained` is called once, when no connection is left. */
void http_server_drain(struct http_server *server, void (*drained)(void *arg), void *arg);
/* Closes all connections.  Requests not yet replied to stay until they are. */
void http_server_free(struct http_server *server);

/* ---- the connections ----------------------------------------------------- */

struct http_client
{
	const char *state;
	struct slice path; /* of the request that a handler has; empty: none */
	uint64_t age_ms;   /* since it was accepted */
	uint64_t quiet_ms; /* since anything happened */
	unsigned requests; /* so far */
	uint64_t bytes_in, bytes_out;
	size_t unsent; /* bytes of replies that the client did not take yet */
	char peer[64];
};

/* Calls `visit` for each connection. */
void http_server_walk(const struct http_server *server,
					  void (*visit)(void *arg, const struct http_client *client), void *arg);
/* The same of the connection of a request. */
void http_request_describe(const struct http_request *request, struct http_client *client);

/* ---- the request -------------------------------------------------------- */

/*
 * Of a request whose head was not understood they are empty, and there is no header.  Path and query are as
 * they were sent, not decoded; the query is without its question mark.
 */
struct slice http_method(const struct http_request *request);
struct slice http_path(const struct http_request *request);
struct slice http_query(const struct http_request *request);
/* The value of the first header of that name, in upper or lower case; .bytes NULL: there is none. */
struct slice http_header(const struct http_request *request, const char *name);
/* The same of a header that may come once only; false: it came with two values. */
bool http_header_once(const struct http_request *request, const char *name, struct slice *value);
/* Whether replies may be compressed for the client. */
bool http_accepts_gzip(const struct http_request *request);
/* The body, decoded; not to be asked for where it is streamed. */
struct slice http_body(const struct http_request *request);
/* What the handlers keep of a request, until `ended`; NULL at first. */
void http_set_context(struct http_request *request, void *context);
void *http_context(const struct http_request *request);

/* ---- a body that is taken as it comes ----------------------------------- */

enum http_body_end
{
	HTTP_BODY_COMPLETE,
	HTTP_BODY_CUT,		 /* the client is gone, or shut its side too early */
	HTTP_BODY_LATE,		 /* no byte came for options.request_timeout */
	HTTP_BODY_MALFORMED, /* its chunks are */
};

struct http_sink
{
	/* Returns how many of the bytes it took.  If not all, none come until http_body_resume. */
	size_t (*data)(void *arg, struct slice bytes);
	/* Called once, unless the reply was ended before. */
	void (*end)(void *arg, enum http_body_end how);
};

/*
 * In the `headers` handler only: the body is not collected, and neither max_body nor the timeout of the whole
 * request holds for it.  `body` is called next, and waits for no byte of it.  The request's slices are then
 * good only until the handler that asked for them returns, or http_body_start is called.  What is left of the
 * body when the reply has ended is thrown away.
 */
void http_stream_body(struct http_request *request);
/* The sink is called later, from the loop.  A client that waits for 100 Continue gets it. */
void http_body_start(struct http_request *request, const struct http_sink *sink, void *arg);
void http_body_resume(struct http_request *request);

/* ---- the reply ---------------------------------------------------------- */

struct http_reply
{
	int status;
	const char *content_type; /* NULL = that of the server's options */
	const char *headers;	  /* more header lines, each with its CR LF; NULL = none */
	bool compress;			  /* in gzip, where it is long enough and the client takes that */
};

/*
 * Says for the log why a request failed, before its reply ends; marks a reply of status 200 as a failure,
 * too.
 */
void http_note(struct http_request *request, struct slice text);

/* The whole reply, of at most HTTP_MAX_PIECES pieces.  Takes them, whatever happens. */
void http_reply(struct http_request *request, const struct http_reply *reply, struct piece *pieces,
				unsigned npieces);

/*
 * The whole reply to GET or HEAD with a body that has an entity tag (etag.h), which a client may keep and
 * asks about each time: 304 without it where the client has it.
 */
void http_reply_tagged(struct http_request *request, const struct http_reply *reply, const char *etag,
					   struct piece *piece);

/*
 * The whole reply to what failed, with the body that the handler `error` writes; `headers` as in
 * http_reply.
 */
void http_reply_error(struct http_request *request, const struct error *error, int status,
					  const char *headers);

/*
 * A reply of unknown length: start, any number of parts (each goes out as one chunk), end.  A part takes its
 * pieces, as http_reply does.
 */
void http_reply_start(struct http_request *request, const struct http_reply *reply);
void http_reply_part(struct http_request *request, struct piece *pieces, unsigned npieces);
void http_reply_end(struct http_request *request);
/*
 * Parts of a reply that are chunks already when http_reply_is_chunked (each with its size line and its line
 * end), and plain bytes else.
 */
void http_reply_raw(struct http_request *request, struct piece *pieces, unsigned npieces);
bool http_reply_is_chunked(const struct http_request *request);
/* Bytes of the reply that the client did not take yet. */
size_t http_reply_unsent(const struct http_request *request);
/* Ends a started reply so that the client sees that it is not complete. */
void http_reply_abort(struct http_request *request);
/*
 * Calls `drained` when the client has read most of what was sent, perhaps from within; its `gone` says that
 * there is no client any more, so nothing further need be sent (but the reply must be ended).
 */
void http_reply_when_drained(struct http_request *request, void (*drained)(void *arg, bool gone), void *arg);
/* How many unsent bytes are few enough for http_reply_when_drained; else it is 256 KiB. */
void http_reply_low_water(struct http_request *request, size_t bytes);
/*
 * For replies without an end: calls `gone` once when there is no client any more, later and not from inside
 * another call.  A client that shuts its side counts as gone.  The reply must still be ended.
 */
void http_reply_when_gone(struct http_request *request, void (*gone)(void *arg), void *arg);

#endif
