/*
 * internal.h: what the files of the HTTP server share; for this room alone.  Each of them calls only those
 * below it:
 *
 *     server.c         the server: accepting, timeouts, stopping; frees what is closed
 *     connection.c     a connection's way from one request to the next, and its input
 *     request.c        a request comes in: its head, then its body as a whole
 *     body.c           a body that is taken as it comes
 *     reply.c          replies
 *     compress.c       the same in gzip
 *     release.c        the end of a request, of a connection, of the server
 *     outcome.c        how a request ended: its id, and what the handlers are told
 *     fields.c         what handlers ask of a request
 *     output.c         what is sent, at once or when the socket takes more
 *     memory.c         what connections hold, and its bounds
 *     state.c          a connection's state, and the lists that it is on
 *     etag.c           entity tags, and lists of them
 *     parse.c          the syntax
 *     coding.c         the same of Accept-Encoding
 *     net/transport.c  receiving and sending, in clear or through TLS
 *
 * walk.c, which lists the connections, stands beside server.c.  What lies above a file is reached by the
 * handlers that the server was given, and by the event loop:
 *
 * A connection is in one state, and on the server's list of that state in the order of entry; only
 * connection_set_state moves it, and one sweep over the heads of the lists serves every timeout.  A
 * connection that may go on, because bytes came or a reply ended, is put on the list of those that are ready
 * (connection_wake), and one event a loop turn takes each of them as far as what has arrived allows.  So
 * nothing that replies or resumes a body is called back before it returns, and no request begins inside
 * another's handler.  A closed connection is freed after the loop turn.
 *
 * Memory: the connection owns `in`, one growing buffer in which a request is parsed in place.  It does not
 * move while a handler has the request, unless the body is streamed: then what the sink took makes room for
 * what comes, behind the head.  What the socket did not take at once waits in `out`.
 */
#ifndef MILLRACE_HTTP_INTERNAL_H
#define MILLRACE_HTTP_INTERNAL_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "base/buf.h"
#include "http/http.h"
#include "http/id.h"
#include "http/parse.h"
#include "net/transport.h"
#include "base/slice.h"
#include "base/stats.h"

#define HTTP_DATE_LEN 37 /* "Date: Sun, 06 Nov 1994 08:49:37 GMT" CR LF */

enum connection_state
{
	CONNECTION_HANDSHAKING, /* TLS is not agreed on yet */
	CONNECTION_SURPLUS,		/* one too many: it is told so when it has sent something */
	CONNECTION_IDLE,		/* between requests */
	CONNECTION_RECEIVING,	/* a request is coming in */
	CONNECTION_STREAMING,	/* a handler has the request and takes its body as it comes */
	CONNECTION_WORKING,		/* the request is in, its reply is not out yet */
	CONNECTION_LINGERING,	/* our side is shut; what the client still sends is thrown away */
	CONNECTION_CLOSED,		/* to be freed, once no handler has its request */
	CONNECTION_STATES
};

enum reply_state
{
	REPLY_NONE,
	REPLY_STREAMING,
	REPLY_DONE,
};

struct input
{
	char *data;
	size_t cap;
	size_t len;	   /* bytes that came */
	size_t start;  /* of the request */
	size_t parsed; /* behind what of the request is dealt with */
};

struct http_request
{
	struct http_connection *connection;
	struct http_head head;
	size_t head_len; /* 0 until complete */
	size_t body_len; /* decoded, so far */
	struct http_chunked chunks;
	enum reply_state reply;
	bool held;	  /* a handler has it */
	bool discard; /* replied before the body was in, which is of no use any more */
	bool unseen;  /* the client is turned away whatever it asks: `done` is not called */
	bool keep_alive;
	bool wants_continue;		   /* the client waits for 100 Continue */
	struct compressor *compressor; /* NULL: the reply goes out as it is */
	size_t low_water;			   /* unsent bytes at which `drained` is called */
	void (*drained)(void *arg, bool gone);
	void *drained_arg;
	void (*gone)(void *arg);
	void *gone_arg;
	void *context; /* the handlers'; NULL: none */
	/* Of a streamed body: */
	const struct http_sink *sink; /* NULL before http_body_start and after the body's end */
	void *sink_arg;
	bool paused; /* the sink takes no more for now, or is not there yet */
	size_t run;	 /* bytes of the body at in.parsed, for the sink */
	/* For the handler `done`: */
	uint64_t started; /* ms */
	int status;
	char made_id[HTTP_ID_LEN + 1]; /* empty: none was made */
	char *note;					   /* ours; NULL: none */
};

struct http_connection
{
	struct http_server *server;
	enum connection_state state;
	uint64_t since;					   /* ms: when it entered the state, or last made progress in it */
	uint64_t accepted;				   /* ms */
	uint64_t sweep;					   /* number of the last one that looked at it */
	TAILQ_ENTRY(http_connection) link; /* of its state's list */
	struct transport transport;
	struct event readable;
	struct event writable;
	TAILQ_ENTRY(http_connection) ready_link;
	bool ready; /* on the server's list of those that are */
	bool reading;
	bool input_ended;  /* the client has shut its side */
	bool unread;	   /* it sends what we will not read: linger before closing */
	unsigned requests; /* whose heads came in */
	uint64_t linger_until;
	struct input in;
	struct evbuffer *out;	  /* NULL until needed */
	size_t in_held, out_held; /* its parts of the server's sums */
	struct http_request request;
};

TAILQ_HEAD(connection_list, http_connection);

struct listener
{
	struct http_server *server;
	struct event event;
	evutil_socket_t fd;
};

/* What compresses the replies of a server. */
struct compress
{
	struct compressor *spares;
	unsigned n, nspares;
	struct buf output; /* of the reply, or part of one, being written */
};

struct http_server
{
	struct event_base *base;
	struct http_options options;
	struct http_handlers handlers;
	void *arg;
	struct listener *listeners;
	int nlisteners;
	bool accepting;
	struct event sweep;
	struct event reap;
	struct event turn; /* runs those that are ready */
	bool turn_due;
	struct connection_list ready;
	struct connection_list lists[CONNECTION_STATES];
	unsigned nconnections;
	size_t in_held, out_held; /* bytes of input buffers, and of replies that clients have not read */
	uint64_t warn_from;		  /* ms: from then on a failure to accept may be logged again */
	uint64_t sweeps;
	time_t date_second;
	/* A header line; kept by the sweep, so that no reply needs to ask for the time. */
	char date[HTTP_DATE_LEN + 1];
	struct buf head; /* of the reply being written */
	struct compress compress;
	bool draining;
	bool freeing;
	void (*drained)(void *arg);
	void *drained_arg;
};

/* ---- state.c ----------------------------------------------------------------- */

void connection_set_state(struct http_connection *c, enum connection_state state);
/* Something moved: the state's time starts again. */
void connection_touch(struct http_connection *c);
/* It may go on: it is run later in this loop turn. */
void connection_wake(struct http_connection *c);
/* Closes the socket; the connection itself is freed later.  Does nothing to one that is closed. */
void connection_close(struct http_connection *c);
/* Frees, after this loop turn, what is closed by then. */
void server_schedule_reap(struct http_server *server);

/* ---- memory.c ---------------------------------------------------------------- */

/* Whether a request may have a larger input buffer; the first one every connection may have. */
bool memory_allows_growth(const struct http_connection *c);
bool memory_grow_input(struct http_connection *c); /* false: no memory */
void memory_free_input(struct http_connection *c);
/* Between requests: frees a large buffer, or any while all together hold more than half of what they may. */
void memory_trim_input(struct http_connection *c);
/* Bring the sums up to date with `out`.  The first may close connections, this one too. */
void memory_output_grew(struct http_connection *c);
void memory_output_shrank(struct http_connection *c);

/* ---- output.c ---------------------------------------------------------------- */

/* Bytes of replies that the socket did not take yet. */
static inline size_t connection_unsent(const struct http_connection *c)
{
	return c->out == NULL ? 0 : evbuffer_get_length(c->out);
}

/* Sends the pieces with one system call if the socket takes them, else keeps the rest.  Takes the pieces. */
void connection_send(struct http_connection *c, struct piece *pieces, unsigned n);
/* Calls what http_reply_when_drained was given, if few enough bytes are unsent. */
void connection_tell_drained(struct http_connection *c);
void connection_on_writable(evutil_socket_t fd, short what, void *arg);
void pieces_release(struct piece *pieces, unsigned n);
size_t pieces_length(const struct piece *pieces, unsigned n);

/* ---- compress.c -------------------------------------------------------------- */

/*
 * Sets request->compressor for a reply of so many bytes (-1: not known yet), unless it is to go out as it is.
 * Returns header lines for it; NULL: none.
 */
const char *compress_begin(struct http_request *request, const struct http_reply *reply, int64_t length);
/*
 * What goes out of these pieces, which are taken; some of it may come with later ones, and all with the last.
 * Good until the next call.
 */
struct piece compress_pieces(struct http_request *request, struct piece *pieces, unsigned npieces, bool last);
void compress_end(struct http_request *request);
void compress_free(struct compress *compress);

/* ---- outcome.c --------------------------------------------------------------- */

void request_begin_outcome(struct http_request *request);
/*
 * The id goes out with the reply if the client sent one, or if the reply is one that is logged, so that both
 * sides can name the request.  With all others it would be bytes that are never looked at.
 */
void request_write_id(struct http_request *request, struct buf *head);
/* Calls the handler `done`. */
void request_tell_done(struct http_request *request);
/* Calls the handler `ended` of a request that has a context. */
void request_end_context(struct http_request *request);

/* ---- release.c --------------------------------------------------------------- */

/* The reply has ended: the request is the connection's alone again. */
void request_release(struct http_request *request);
void connection_free(struct http_connection *c);
void server_dispose(struct http_server *server);

/* ---- reply.c ----------------------------------------------------------------- */

void request_send_continue(struct http_request *request); /* if the client waits for it */
/* Has what is wrong with the request itself answered, and gives up on the connection. */
void request_refuse(struct http_connection *c, int status, const char *message);

/* ---- body.c ------------------------------------------------------------------ */

/* Hands the sink what came; false: it must wait, for the client or for the sink. */
bool request_stream_body(struct http_connection *c);
/* No more of the body comes, or none that is of use; its sink is told, and ends the reply when it likes. */
void request_finish_body(struct http_connection *c, enum http_body_end how);
/* Tells the sink that no more comes. */
void request_end_body(struct http_request *request, enum http_body_end how);

/* ---- request.c --------------------------------------------------------------- */

void request_start(struct http_connection *c);
/* Moves a request on as far as its bytes are here; false: it needs more of them. */
bool request_receive(struct http_connection *c);
/* request_refuse for a client whose request is not looked at. */
void connection_refuse(struct http_connection *c, int status, const char *message);

/* ---- connection.c ------------------------------------------------------------ */

/* Takes the socket; NULL: out of memory. */
struct http_connection *connection_new(struct http_server *server, evutil_socket_t fd);
void connection_run(struct http_connection *c); /* for the server's turn only */
/* Tells a client that it is one too many, and gives up on it. */
void connection_turn_away(struct http_connection *c);

#endif
