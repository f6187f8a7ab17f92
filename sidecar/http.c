/*
 * http.c: the HTTP server (see http.h).
 *
 * A connection is in one state, and on the server's list of that state in the order of entry; only
 * set_state moves it, and one sweep over the heads of the lists serves every timeout.
 * connection_run takes a connection as far as what has arrived allows; it is a loop, so that replies made inside a
 * handler do not recurse into the next request.  A closed connection is freed after the loop turn.
 *
 * Sockets are used directly and not through bufferevents: a bufferevent asks FIONREAD before every read and
 * writes only after another turn through epoll, which is five system calls a request
 * instead of two.  Only transport_receive and transport_send touch the socket.
 *
 * Memory: the connection owns `in`, one growing buffer in which a request is parsed in place.  It does not move
 * while a handler has the request, unless the body is streamed: then what the sink took makes room for
 * what comes, behind the head.  What the socket did not take at once waits in `out`.
 */
#include "http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "errors.h"
#include "http_parse.h"
#include "log.h"

#define FIRST_INPUT 4096	   /* bytes of a connection's input buffer */
#define MAX_IDLE_INPUT 65536   /* larger ones are given back between requests */
#define MAX_DISCARD 65536	   /* bytes of an unwanted body that are read to keep the connection */
#define LOW_WATER (256 * 1024) /* unsent bytes at which a streamed reply goes on */
#define STREAM_ROOM 32768	   /* bytes that are free at least before a streamed body is read on */
#define LINGER_MS 2000		   /* without a byte from the client */
#define MAX_LINGER_MS 30000
#define DRAIN_STUCK_MS 5000 /* without a byte taken by the client, while the server drains */
#define SWEEP_MS 250
#define ACCEPT_AT_ONCE 64
#define MAX_PIECES 8
#define MAX_VECTORS 16

enum connection_state
{
	CONNECTION_IDLE,	  /* between requests */
	CONNECTION_RECEIVING, /* a request is coming in */
	CONNECTION_STREAMING, /* a handler has the request and takes its body as it comes */
	CONNECTION_WORKING,	  /* the request is in, its reply is not out yet */
	CONNECTION_LINGERING, /* our side is shut; what the client still sends is thrown away */
	CONNECTION_CLOSED,	  /* to be freed, once no handler has its request */
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
	bool discard; /* replied before the body was in, which nobody wants any more */
	bool keep_alive;
	bool wants_continue; /* the client waits for 100 Continue */
	size_t low_water;	 /* unsent bytes at which `drained` is called */
	void (*drained)(void *arg, bool gone);
	void *drained_arg;
	void (*gone)(void *arg);
	void *gone_arg;
	/* Of a streamed body: */
	const struct http_sink *sink; /* NULL before http_body_start and after the body's end */
	void *sink_arg;
	bool paused; /* the sink was given what it did not take */
	size_t run;	 /* bytes of the body at in.parsed, for the sink */
};

struct http_connection
{
	struct http_server *server;
	enum connection_state state;
	uint64_t since; /* ms: when it entered the state, or last made progress in it */
	struct http_connection *previous, *next;
	evutil_socket_t fd;
	struct event readable;
	struct event writable;
	bool reading;
	bool running;
	bool input_ended; /* the client has shut its side */
	bool unread;	  /* it sends what we will not read: linger before closing */
	uint64_t linger_until;
	struct input in;
	struct evbuffer *out; /* NULL until needed */
	struct http_request request;
};

struct connection_list
{
	struct http_connection *first, *last;
};

struct listener
{
	struct http_server *server;
	struct event event;
	evutil_socket_t fd;
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
	struct connection_list lists[CONNECTION_STATES];
	unsigned nconnections;
	struct buf head; /* of the reply being written */
	bool draining;
	bool freeing;
	void (*drained)(void *arg);
	void *drained_arg;
};

static void connection_run(struct http_connection *c);

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- states -------------------------------------------------------------- */

static void list_remove(struct connection_list *list, struct http_connection *c)
{
	if (c->previous != NULL)
		c->previous->next = c->next;
	else
		list->first = c->next;
	if (c->next != NULL)
		c->next->previous = c->previous;
	else
		list->last = c->previous;
}

static void list_append(struct connection_list *list, struct http_connection *c)
{
	c->next = NULL;
	c->previous = list->last;
	if (list->last != NULL)
		list->last->next = c;
	else
		list->first = c;
	list->last = c;
}

static void set_state(struct http_connection *c, enum connection_state state)
{
	list_remove(&c->server->lists[c->state], c);
	c->state = state;
	c->since = now_ms();
	list_append(&c->server->lists[state], c);
}

/* Something moved: the state's time starts again. */
static void touch(struct http_connection *c)
{
	set_state(c, c->state);
}

static void connection_free(struct http_connection *c)
{
	list_remove(&c->server->lists[c->state], c);
	c->server->nconnections--;
	free(c->in.data);
	free(c);
}

static void server_dispose(struct http_server *server)
{
	buf_free(&server->head);
	free(server->listeners);
	free(server);
}

/* Tells the sink that no more comes. */
static void end_body(struct http_request *request, enum http_body_end how)
{
	const struct http_sink *sink = request->sink;

	request->sink = NULL;
	if (sink != NULL)
		sink->end(request->sink_arg, how);
}

/* Frees what is closed and held by nobody, and tells the holders of the rest that the client is gone. */
static void reap(struct http_server *server)
{
	struct http_connection *c = server->lists[CONNECTION_CLOSED].first;

	while (c != NULL)
	{
		struct http_connection *next = c->next;
		void (*drained)(void *arg, bool gone) = c->request.drained;

		void (*gone)(void *arg) = c->request.gone;

		c->request.drained = NULL;
		c->request.gone = NULL;
		if (drained != NULL)
			drained(c->request.drained_arg, true);
		if (gone != NULL)
			gone(c->request.gone_arg);
		end_body(&c->request, HTTP_BODY_CUT);
		if (!c->request.held)
			connection_free(c);
		c = next;
	}
	if (server->nconnections > 0 || server->drained == NULL)
		return;
	void (*drained)(void *arg) = server->drained;

	server->drained = NULL;
	drained(server->drained_arg);
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	reap(arg);
}

static void schedule_reap(struct http_server *server)
{
	if (!server->freeing)
		event_active(&server->reap, EV_TIMEOUT, 0);
}

static void connection_close(struct http_connection *c)
{
	if (c->state == CONNECTION_CLOSED)
		return;
	event_del(&c->readable);
	event_del(&c->writable);
	close(c->fd);
	if (c->out != NULL)
		evbuffer_free(c->out);
	c->out = NULL;
	set_state(c, CONNECTION_CLOSED);
	schedule_reap(c->server);
}

/* Nobody wants the rest of a streamed body: it is thrown away, or not even read. */
static void stop_streaming(struct http_connection *c)
{
	struct http_request *request = &c->request;

	c->in.parsed += request->run;
	request->body_len += request->run;
	request->run = 0;
	if (request->keep_alive)
		request->discard = true;
	else
		c->unread = true;
	set_state(c, CONNECTION_RECEIVING);
}

/* The handler is through with the request. */
static void release_request(struct http_request *request)
{
	struct http_connection *c = request->connection;
	struct http_server *server = c->server;

	request->held = false;
	request->reply = REPLY_DONE;
	request->sink = NULL;
	request->drained = NULL;
	request->gone = NULL;
	if (c->state != CONNECTION_CLOSED)
	{
		if (c->state == CONNECTION_STREAMING)
			stop_streaming(c);
		connection_run(c);
		return;
	}
	if (!server->freeing)
	{
		schedule_reap(server);
		return;
	}
	connection_free(c);
	if (server->nconnections == 0)
		server_dispose(server);
}

/* ---- the socket ---------------------------------------------------------- */

static ssize_t transport_receive(struct http_connection *c, void *bytes, size_t len)
{
	return recv(c->fd, bytes, len, 0);
}

static ssize_t transport_send(struct http_connection *c, struct iovec *vectors, size_t n)
{
	struct msghdr message = {.msg_iov = vectors, .msg_iovlen = n};

	return sendmsg(c->fd, &message, MSG_NOSIGNAL);
}

static bool is_try_again(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static size_t unsent(const struct http_connection *c)
{
	return c->out == NULL ? 0 : evbuffer_get_length(c->out);
}

static void release_pieces(struct piece *pieces, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		piece_release(&pieces[i]);
}

/* The signature evbuffer_add_reference wants; `extra` is a copy of the piece. */
static void on_reference_done(const void *bytes, size_t len, void *extra)
{
	struct piece *piece = extra;

	(void)bytes;
	(void)len;
	piece_release(piece);
	free(piece);
}

/* Puts what of a piece was not sent at the end of `out`; the piece is taken. */
static bool keep_piece(struct http_connection *c, struct piece *piece, size_t sent)
{
	struct piece *copy;
	bool ok;

	if (piece->release == NULL)
		return evbuffer_add(c->out, piece->bytes + sent, piece->len - sent) == 0;
	copy = malloc(sizeof(*copy));
	ok = copy != NULL;
	if (ok)
	{
		*copy = *piece;
		ok = evbuffer_add_reference(c->out, piece->bytes + sent, piece->len - sent, on_reference_done,
									copy) == 0;
	}
	if (ok)
		piece->release = NULL;
	else
		free(copy);
	return ok;
}

/* Keeps all behind the first `sent` bytes for when the socket takes more. */
static bool keep_pieces(struct http_connection *c, struct piece *pieces, unsigned n, size_t sent)
{
	if (c->out == NULL && (c->out = evbuffer_new()) == NULL)
		return false;
	for (unsigned i = 0; i < n; i++)
	{
		if (sent >= pieces[i].len)
		{
			sent -= pieces[i].len;
			continue;
		}
		if (!keep_piece(c, &pieces[i], sent))
			return false;
		sent = 0;
	}
	event_add(&c->writable, NULL);
	return true;
}

static size_t total_length(const struct piece *pieces, unsigned n)
{
	size_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += pieces[i].len;
	return total;
}

/* Sends the pieces with one system call if the socket takes them, else keeps the rest.  Takes the pieces. */
static void connection_send(struct http_connection *c, struct piece *pieces, unsigned n)
{
	struct iovec vectors[MAX_PIECES + 2];
	ssize_t sent = 0;

	if (c->state != CONNECTION_CLOSED && unsent(c) == 0)
	{
		for (unsigned i = 0; i < n; i++)
			vectors[i] = (struct iovec){.iov_base = (void *)pieces[i].bytes, .iov_len = pieces[i].len};
		sent = transport_send(c, vectors, n);
		if (sent < 0 && !is_try_again())
			connection_close(c);
		if (sent < 0)
			sent = 0;
	}
	if (c->state != CONNECTION_CLOSED && (size_t)sent < total_length(pieces, n))
	{
		/* From here on its client is expected to read. */
		if (c->state == CONNECTION_WORKING && unsent(c) == 0)
			touch(c);
		if (!keep_pieces(c, pieces, n, (size_t)sent))
			connection_close(c);
	}
	release_pieces(pieces, n);
}

static void tell_drained(struct http_connection *c)
{
	void (*drained)(void *arg, bool gone) = c->request.drained;

	if (drained == NULL || unsent(c) > c->request.low_water)
		return;
	c->request.drained = NULL;
	drained(c->request.drained_arg, false);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct http_connection *c = arg;
	struct evbuffer_iovec parts[MAX_VECTORS];
	struct iovec vectors[MAX_VECTORS];
	int n = evbuffer_peek(c->out, -1, NULL, parts, MAX_VECTORS);
	ssize_t sent;

	(void)fd;
	(void)what;
	if (n > MAX_VECTORS)
		n = MAX_VECTORS;
	for (int i = 0; i < n; i++)
		vectors[i] = (struct iovec){.iov_base = parts[i].iov_base, .iov_len = parts[i].iov_len};
	sent = transport_send(c, vectors, (size_t)n);
	if (sent < 0 && !is_try_again())
	{
		connection_close(c);
		return;
	}
	if (sent > 0)
	{
		evbuffer_drain(c->out, (size_t)sent);
		touch(c);
	}
	if (unsent(c) > 0)
		event_add(&c->writable, NULL);
	tell_drained(c);
	connection_run(c);
}

/* ---- replies ------------------------------------------------------------- */

static const char *reason_phrase(int status)
{
	switch (status)
	{
		case 200:
			return "OK";
		case 204:
			return "No Content";
		case 400:
			return "Bad Request";
		case 401:
			return "Unauthorized";
		case 403:
			return "Forbidden";
		case 404:
			return "Not Found";
		case 405:
			return "Method Not Allowed";
		case 408:
			return "Request Timeout";
		case 409:
			return "Conflict";
		case 413:
			return "Content Too Large";
		case 415:
			return "Unsupported Media Type";
		case 417:
			return "Expectation Failed";
		case 431:
			return "Request Header Fields Too Large";
		case 500:
			return "Internal Server Error";
		case 501:
			return "Not Implemented";
		case 503:
			return "Service Unavailable";
		case 505:
			return "HTTP Version Not Supported";
		default:
			return "Unknown";
	}
}

/* How much of the body is still to come; UINT64_MAX when nobody knows. */
static uint64_t body_left(const struct http_request *request)
{
	if (request->connection->state == CONNECTION_WORKING)
		return 0;
	if (request->head_len == 0 || request->head.chunked)
		return UINT64_MAX;
	return request->head.content_length - request->body_len;
}

/* Whether the connection goes on after this reply. */
static void decide_keep_alive(struct http_request *request)
{
	struct http_connection *c = request->connection;
	uint64_t left = body_left(request);
	uint64_t here = c->in.len - c->in.parsed;

	request->keep_alive = request->head.keep_alive && !c->server->draining;
	if (left == 0)
		return;
	/* A client that waits for 100 Continue may or may not send its body now. */
	if (left > MAX_DISCARD || (request->wants_continue && left > here))
	{
		request->keep_alive = false;
		c->unread = true;
	}
	request->discard = true;
}

static void send_continue(struct http_request *request)
{
	struct piece piece = piece_of("HTTP/1.1 100 Continue\r\n\r\n");

	if (request->wants_continue)
		connection_send(request->connection, &piece, 1);
	request->wants_continue = false;
}

/* Writes the head into server->head; length < 0 is a reply of unknown length. */
static struct piece write_head(struct http_request *request, const struct http_reply *reply, int64_t length)
{
	struct buf *head = &request->connection->server->head;
	bool old = request->head.minor_version == 0;

	buf_clear(head);
	buf_printf(head, "HTTP/1.1 %d %s\r\n", reply->status, reason_phrase(reply->status));
	if (reply->status != 204)
	{
		buf_add_str(head, "Content-Type: ");
		buf_add_str(head, reply->content_type != NULL ? reply->content_type : "application/json");
		buf_add_str(head, "\r\n");
		if (length >= 0)
			buf_printf(head, "Content-Length: %lld\r\n", (long long)length);
		else if (!old)
			buf_add_str(head, "Transfer-Encoding: chunked\r\n");
	}
	if (reply->headers != NULL)
		buf_add_str(head, reply->headers);
	if (!request->keep_alive)
		buf_add_str(head, "Connection: close\r\n");
	else if (old)
		buf_add_str(head, "Connection: keep-alive\r\n");
	buf_add_str(head, "\r\n");
	return (struct piece){.bytes = head->data, .len = head->len};
}

static void send_head_and(struct http_request *request, const struct http_reply *reply, struct piece *pieces,
						  unsigned npieces, int64_t length)
{
	struct http_connection *c = request->connection;
	struct piece all[MAX_PIECES + 1];

	all[0] = write_head(request, reply, length);
	for (unsigned i = 0; i < npieces; i++)
		all[i + 1] = pieces[i];
	if (c->server->head.failed)
		connection_close(c);
	connection_send(c, all, npieces + 1);
}

void http_reply(struct http_request *request, const struct http_reply *reply, struct piece *pieces,
				unsigned npieces)
{
	int64_t length = (int64_t)total_length(pieces, npieces);

	if (npieces > MAX_PIECES || request->reply != REPLY_NONE)
	{
		log_bug("a reply of %u pieces in state %d", npieces, (int)request->reply);
		release_pieces(pieces, npieces);
		return;
	}
	decide_keep_alive(request);
	if (slice_is(http_method(request), "HEAD") || reply->status == 204)
	{
		release_pieces(pieces, npieces);
		npieces = 0;
	}
	send_head_and(request, reply, pieces, npieces, length);
	release_request(request);
}

void http_reply_start(struct http_request *request, const struct http_reply *reply)
{
	if (request->connection->state == CONNECTION_STREAMING)
	{
		/* Whether the body will be read to its end shows later. */
		send_continue(request);
		request->keep_alive = request->head.keep_alive && !request->connection->server->draining;
	}
	else
		decide_keep_alive(request);
	/* Without chunks only the end of the connection can tell the end of the reply. */
	if (request->head.minor_version == 0)
		request->keep_alive = false;
	request->reply = REPLY_STREAMING;
	send_head_and(request, reply, NULL, 0, -1);
}

void http_reply_part(struct http_request *request, struct piece *pieces, unsigned npieces)
{
	struct piece all[MAX_PIECES + 2];
	size_t length = total_length(pieces, npieces);
	char size[24];

	if (npieces > MAX_PIECES || length == 0)
	{
		release_pieces(pieces, npieces);
		return;
	}
	if (request->head.minor_version == 0)
	{
		connection_send(request->connection, pieces, npieces);
		return;
	}
	snprintf(size, sizeof(size), "%zx\r\n", length);
	all[0] = piece_of(size);
	for (unsigned i = 0; i < npieces; i++)
		all[i + 1] = pieces[i];
	all[npieces + 1] = piece_of("\r\n");
	connection_send(request->connection, all, npieces + 2);
}

void http_reply_end(struct http_request *request)
{
	struct piece end = piece_of("0\r\n\r\n");

	if (request->head.minor_version > 0)
		connection_send(request->connection, &end, 1);
	release_request(request);
}

void http_reply_abort(struct http_request *request)
{
	/* Without its last chunk a reply is visibly cut; HTTP/1.0 has only the reset to show it. */
	if (request->head.minor_version == 0 && request->connection->state != CONNECTION_CLOSED)
	{
		struct linger reset = {.l_onoff = 1};

		setsockopt(request->connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		connection_close(request->connection);
	}
	request->keep_alive = false;
	release_request(request);
}

void http_reply_raw(struct http_request *request, struct piece *pieces, unsigned npieces)
{
	if (npieces > MAX_PIECES)
		release_pieces(pieces, npieces);
	else
		connection_send(request->connection, pieces, npieces);
}

bool http_reply_is_chunked(const struct http_request *request)
{
	return request->head.minor_version > 0;
}

size_t http_reply_unsent(const struct http_request *request)
{
	return unsent(request->connection);
}

void http_reply_when_drained(struct http_request *request, void (*drained)(void *arg, bool gone), void *arg)
{
	if (request->connection->state == CONNECTION_CLOSED)
	{
		drained(arg, true);
		return;
	}
	request->drained = drained;
	request->drained_arg = arg;
	tell_drained(request->connection);
}

void http_reply_low_water(struct http_request *request, size_t bytes)
{
	request->low_water = bytes;
}

void http_reply_when_gone(struct http_request *request, void (*gone)(void *arg), void *arg)
{
	struct http_connection *c = request->connection;

	request->gone = gone;
	request->gone_arg = arg;
	if (c->state == CONNECTION_CLOSED)
		schedule_reap(c->server);
	else if (c->input_ended)
		connection_close(c);
}

/* Answers what is wrong with the request itself, and gives up on the connection. */
static void refuse(struct http_connection *c, int status, const char *message)
{
	struct error error;
	struct buf body = {0};
	struct piece piece;
	const struct http_reply reply = {.status = status};

	error_set(&error, status == 413 ? ERROR_PAYLOAD_TOO_LARGE : ERROR_INVALID_REQUEST, "%s", message);
	error_write_body(&body, &error);
	piece = (struct piece){.bytes = body.data, .len = body.len};
	/* A head that was not understood says nothing about how to answer. */
	if (c->request.head_len == 0)
	{
		c->request.head.minor_version = 1;
		c->request.head.method.len = 0;
	}
	c->request.head.keep_alive = false;
	c->unread = true;
	http_reply(&c->request, &reply, &piece, 1);
	buf_free(&body);
}

/* ---- requests ------------------------------------------------------------ */

static void start_request(struct http_connection *c)
{
	struct http_request *request = &c->request;

	request->connection = c;
	http_head_start(&request->head);
	request->chunks = (struct http_chunked){0};
	request->head_len = request->body_len = 0;
	request->reply = REPLY_NONE;
	request->held = request->discard = request->wants_continue = false;
	request->keep_alive = true;
	request->low_water = LOW_WATER;
	request->drained = NULL;
	request->gone = NULL;
	request->sink = NULL;
	request->run = 0;
	c->in.parsed = c->in.start;
	set_state(c, CONNECTION_RECEIVING);
}

static const char *describe_status(int status)
{
	switch (status)
	{
		case 413:
			return "the request body is too large";
		case 417:
			return "an expectation other than 100-continue";
		case 431:
			return "the request's headers are too large or too many";
		case 501:
			return "a transfer encoding other than chunked";
		case 505:
			return "only HTTP/1.0 and HTTP/1.1 are understood";
		default:
			return "malformed HTTP request";
	}
}

/* The head is in: its handler, then the checks of the body that can be made before it comes. */
static void begin_request(struct http_connection *c)
{
	struct http_request *request = &c->request;

	request->wants_continue =
		request->head.expects_continue &&
		(request->head.chunked || request->head.content_length > c->in.len - c->in.parsed);
	c->server->handlers.headers(c->server->arg, request);
	if (request->reply != REPLY_NONE)
		return;
	if (c->state == CONNECTION_STREAMING)
		c->server->handlers.body(c->server->arg, request);
	else if (!request->head.chunked && request->head.content_length > c->server->options.max_body)
		refuse(c, 413, describe_status(413));
	else
		send_continue(request);
}

/* False: more bytes are needed. */
static bool receive_head(struct http_connection *c)
{
	struct http_request *request = &c->request;
	ssize_t used = http_parse_head(&request->head, c->in.data + c->in.start, c->in.len - c->in.start,
								   c->server->options.max_header);

	if (used == HTTP_MORE)
		return false;
	if (used == HTTP_BAD)
	{
		refuse(c, request->head.status, describe_status(request->head.status));
		return true;
	}
	request->head_len = (size_t)used;
	c->in.parsed = c->in.start + (size_t)used;
	begin_request(c);
	return true;
}

/* Adds body bytes, which stand somewhere behind the body's end, to the body. */
static void take_body(struct http_connection *c, struct slice data)
{
	struct http_request *request = &c->request;
	char *end = c->in.data + c->in.start + request->head_len + request->body_len;

	if (!request->discard)
	{
		if (data.bytes != end)
			memmove(end, data.bytes, data.len);
		request->body_len += data.len;
	}
}

/* False: more bytes are needed, or the request was refused. */
static bool receive_chunks(struct http_connection *c)
{
	struct http_request *request = &c->request;

	while (request->chunks.state != HTTP_CHUNK_DONE)
	{
		struct slice data;
		ssize_t used =
			http_chunked_read(&request->chunks, c->in.data + c->in.parsed, c->in.len - c->in.parsed, &data);

		if (used == HTTP_BAD && request->discard)
		{
			connection_close(c);
			return false;
		}
		if (used == HTTP_BAD)
		{
			refuse(c, 400, "malformed chunked body");
			return false;
		}
		if (used == 0)
			return false;
		c->in.parsed += (size_t)used;
		take_body(c, data);
		if (!request->discard && request->chunks.chunk_left > c->server->options.max_body - request->body_len)
		{
			refuse(c, 413, describe_status(413));
			return false;
		}
	}
	return true;
}

static bool receive_plain(struct http_connection *c)
{
	struct http_request *request = &c->request;
	uint64_t left = request->head.content_length - request->body_len;
	size_t here = c->in.len - c->in.parsed;

	if (here > left)
		here = (size_t)left;
	request->body_len += here;
	c->in.parsed += here;
	return here == left;
}

/* Forgets consumed bytes that are not part of the body, so that they take no room. */
static void drop_consumed(struct http_connection *c)
{
	struct http_request *request = &c->request;
	size_t end = c->in.start + request->head_len + (request->discard ? 0 : request->body_len);

	if (c->in.parsed == c->in.len)
		c->in.parsed = c->in.len = end;
}

/* Moves a request on as far as its bytes are here; false: it needs more of them. */
static bool receive(struct http_connection *c)
{
	struct http_request *request = &c->request;

	if (request->head_len == 0 && request->reply == REPLY_NONE && !receive_head(c))
		return false;
	if (c->state != CONNECTION_RECEIVING)
		return true;
	if (request->reply != REPLY_NONE && !request->keep_alive)
	{
		set_state(c, CONNECTION_WORKING); /* the rest of it is not waited for */
		return true;
	}
	if (!(request->head.chunked ? receive_chunks(c) : receive_plain(c)))
	{
		drop_consumed(c);
		return request->reply != REPLY_NONE && !request->keep_alive;
	}
	set_state(c, CONNECTION_WORKING);
	if (request->reply == REPLY_NONE)
	{
		request->held = true;
		c->server->handlers.body(c->server->arg, request);
	}
	return true;
}

/* ---- streamed bodies ------------------------------------------------------ */

void http_stream_body(struct http_request *request)
{
	request->held = true;
	request->paused = true;
	set_state(request->connection, CONNECTION_STREAMING);
}

void http_body_start(struct http_request *request, const struct http_sink *sink, void *arg)
{
	if (request->connection->state == CONNECTION_CLOSED)
	{
		sink->end(arg, HTTP_BODY_CUT);
		return;
	}
	request->sink = sink;
	request->sink_arg = arg;
	send_continue(request);
	http_body_resume(request);
}

void http_body_resume(struct http_request *request)
{
	request->paused = false;
	if (request->connection->state != CONNECTION_STREAMING)
		return;
	touch(request->connection); /* the wait was for us */
	connection_run(request->connection);
}

/* No more of the body comes, or none that is wanted; its sink is told, and ends the reply when it likes. */
static void finish_body(struct http_connection *c, enum http_body_end how)
{
	if (how != HTTP_BODY_COMPLETE)
	{
		c->request.keep_alive = false;
		c->request.head.keep_alive = false;
		c->unread = true;
	}
	set_state(c, CONNECTION_WORKING);
	end_body(&c->request, how);
}

/* Finds the next bytes for the sink; false: there are none, either because more must come or because the body has ended. */
static bool find_run(struct http_connection *c)
{
	struct http_request *request = &c->request;
	size_t here = c->in.len - c->in.parsed;

	if (request->run > 0)
		return true;
	if (!request->head.chunked)
	{
		uint64_t left = request->head.content_length - request->body_len;

		request->run = here < left ? here : (size_t)left;
		if (left == 0)
			finish_body(c, HTTP_BODY_COMPLETE);
		return request->run > 0;
	}
	while (request->run == 0)
	{
		struct slice data;
		ssize_t used =
			http_chunked_read(&request->chunks, c->in.data + c->in.parsed, c->in.len - c->in.parsed, &data);

		if (used == 0 && request->chunks.state != HTTP_CHUNK_DONE)
			return false;
		if (used == 0 || used == HTTP_BAD)
		{
			finish_body(c, used == 0 ? HTTP_BODY_COMPLETE : HTTP_BODY_MALFORMED);
			return false;
		}
		request->run = data.len;
		c->in.parsed += (size_t)used - data.len;
	}
	return true;
}

/* Hands the sink what came; false: it must wait, for the client or for the sink. */
static bool stream_body(struct http_connection *c)
{
	struct http_request *request = &c->request;

	while (c->state == CONNECTION_STREAMING && !request->paused && find_run(c))
	{
		struct slice data = {c->in.data + c->in.parsed, request->run};
		size_t used;

		request->paused = true; /* unless it resumes from within, or takes all */
		used = request->sink->data(request->sink_arg, data);
		if (c->state != CONNECTION_STREAMING)
			break;
		request->run -= used;
		request->body_len += used;
		c->in.parsed += used;
		if (used == data.len)
			request->paused = false;
	}
	if (c->state != CONNECTION_STREAMING)
		return c->state != CONNECTION_CLOSED;
	if (c->in.parsed == c->in.len)
		c->in.parsed = c->in.len = c->in.start + request->head_len;
	if (request->paused || !c->input_ended)
		return false;
	finish_body(c, HTTP_BODY_CUT);
	return true;
}

/* ---- from one request to the next ----------------------------------------- */

static void start_lingering(struct http_connection *c)
{
	shutdown(c->fd, SHUT_WR);
	c->linger_until = now_ms() + MAX_LINGER_MS;
	set_state(c, CONNECTION_LINGERING);
}

/* The reply is out: on to the next request, or to the end of the connection. */
static void finish_request(struct http_connection *c)
{
	struct input *in = &c->in;

	if (!c->request.keep_alive)
	{
		/* Closing on what was not read would reset the connection under the reply. */
		if (!c->unread || c->input_ended)
		{
			connection_close(c);
			return;
		}
		start_lingering(c);
		return;
	}
	in->start = in->parsed;
	if (in->start == in->len)
	{
		in->start = in->len = in->parsed = 0;
		if (in->cap > MAX_IDLE_INPUT)
		{
			free(in->data);
			*in = (struct input){0};
		}
	}
	set_state(c, CONNECTION_IDLE);
}

/* Takes the connection one step on; false when it has to wait. */
static bool connection_step(struct http_connection *c)
{
	switch (c->state)
	{
		case CONNECTION_IDLE:
			if (c->in.len > c->in.start)
			{
				start_request(c);
				return true;
			}
			if (c->input_ended || c->server->draining)
				connection_close(c);
			return false;
		case CONNECTION_RECEIVING:
			if (receive(c))
				return true;
			if (c->input_ended)
				connection_close(c);
			return false;
		case CONNECTION_STREAMING:
			return stream_body(c);
		case CONNECTION_WORKING:
			if (c->request.reply != REPLY_DONE || unsent(c) > 0)
				return false;
			finish_request(c);
			return true;
		default:
			return false;
	}
}

static void set_reading(struct http_connection *c, bool reading)
{
	if (c->reading == reading)
		return;
	c->reading = reading;
	if (reading)
		event_add(&c->readable, NULL);
	else
		event_del(&c->readable);
}

/* Whether what the client sends now has to wait for a handler. */
static bool is_held_back(const struct http_connection *c)
{
	return (c->state == CONNECTION_WORKING && c->in.len == c->in.cap) ||
		   (c->state == CONNECTION_STREAMING && c->request.paused);
}

static void connection_run(struct http_connection *c)
{
	if (c->running)
		return;
	c->running = true;
	while (connection_step(c))
		;
	c->running = false;
	/* Reading was paused if the buffer filled up while a handler had the request. */
	if (c->state != CONNECTION_CLOSED && !c->input_ended && !is_held_back(c))
		set_reading(c, true);
}

/* ---- input --------------------------------------------------------------- */

/* Makes room behind what came; false: there is none, or no memory. */
static bool make_room(struct http_connection *c)
{
	struct input *in = &c->in;
	size_t cap = in->cap == 0 ? FIRST_INPUT : in->cap * 2;
	size_t least = c->state == CONNECTION_STREAMING ? STREAM_ROOM : 1;
	char *data;

	if (in->cap - in->len >= least)
		return true;
	if (in->start > 0)
	{
		memmove(in->data, in->data + in->start, in->len - in->start);
		in->len -= in->start;
		in->parsed -= in->start;
		in->start = 0;
		return true;
	}
	data = realloc(in->data, cap);
	if (data == NULL)
		return false;
	in->data = data;
	in->cap = cap;
	return true;
}

/* Reads what a lingering client still sends, for nothing. */
static void throw_away(struct http_connection *c)
{
	char scratch[16384];
	ssize_t got = transport_receive(c, scratch, sizeof(scratch));

	if (got == 0 || (got < 0 && !is_try_again()))
		connection_close(c);
	else if (got > 0 && now_ms() < c->linger_until && !c->server->draining)
		touch(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct http_connection *c = arg;
	ssize_t got;

	(void)fd;
	(void)what;
	if (c->state == CONNECTION_LINGERING)
	{
		throw_away(c);
		return;
	}
	if (is_held_back(c))
	{
		set_reading(c, false);
		return;
	}
	if (!make_room(c))
	{
		connection_close(c);
		return;
	}
	got = transport_receive(c, c->in.data + c->in.len, c->in.cap - c->in.len);
	if (got < 0)
	{
		if (!is_try_again())
			connection_close(c);
		return;
	}
	if (got == 0)
	{
		c->input_ended = true;
		set_reading(c, false);
		if (c->request.gone != NULL)
		{
			connection_close(c);
			return;
		}
	}
	c->in.len += (size_t)got;
	if (c->state == CONNECTION_STREAMING)
		touch(c);
	connection_run(c);
}

/* ---- timeouts ------------------------------------------------------------ */

static struct http_connection *first_older(struct http_server *server, enum connection_state state,
										   uint64_t limit)
{
	struct http_connection *c = server->lists[state].first;

	return c != NULL && c->since < limit ? c : NULL;
}

static void sweep(struct http_server *server)
{
	uint64_t now = now_ms();
	uint64_t idle = now - (uint64_t)server->options.idle_timeout * 1000;
	uint64_t request = now - (uint64_t)server->options.request_timeout * 1000;
	uint64_t stuck = server->draining ? now - DRAIN_STUCK_MS : idle;
	struct http_connection *c;

	while ((c = first_older(server, CONNECTION_IDLE, idle)) != NULL)
		connection_close(c);
	while ((c = first_older(server, CONNECTION_LINGERING, now - LINGER_MS)) != NULL)
		connection_close(c);
	while ((c = first_older(server, CONNECTION_RECEIVING, request)) != NULL)
	{
		if (c->request.reply == REPLY_NONE)
			refuse(c, 408, "the request did not arrive in time");
		if (c->state == CONNECTION_RECEIVING)
			connection_close(c);
	}
	while ((c = first_older(server, CONNECTION_STREAMING, request)) != NULL)
	{
		if (c->request.paused)
			touch(c);
		else
		{
			finish_body(c, HTTP_BODY_LATE);
			connection_run(c);
		}
	}
	while ((c = first_older(server, CONNECTION_WORKING, stuck)) != NULL)
	{
		/* A client that reads nothing is let go; one that waits for us is not. */
		if (unsent(c) > 0)
			connection_close(c);
		else
			touch(c);
	}
}

static void set_accepting(struct http_server *server, bool accepting)
{
	if (server->accepting == accepting)
		return;
	server->accepting = accepting;
	for (int i = 0; i < server->nlisteners; i++)
	{
		if (accepting)
			event_add(&server->listeners[i].event, NULL);
		else
			event_del(&server->listeners[i].event);
	}
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *server = arg;

	(void)fd;
	(void)what;
	sweep(server);
	if (!server->draining)
		set_accepting(server, true);
}

/* ---- accepting ----------------------------------------------------------- */

static struct http_connection *connection_new(struct http_server *server, evutil_socket_t fd)
{
	struct http_connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
	{
		close(fd);
		return NULL;
	}
	c->server = server;
	c->fd = fd;
	c->request.connection = c;
	c->state = CONNECTION_IDLE;
	c->since = now_ms();
	list_append(&server->lists[CONNECTION_IDLE], c);
	server->nconnections++;
	event_assign(&c->readable, server->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writable, server->base, fd, EV_WRITE, on_writable, c);
	set_reading(c, true);
	return c;
}

/* One client too many: it is told so at once, without waiting for what it wants. */
static void turn_away(struct http_connection *c)
{
	static const char answer[] =
		"HTTP/1.1 503 Service Unavailable\r\n"
		"Content-Type: application/json\r\n"
		"Content-Length: 69\r\n"
		"Retry-After: 1\r\n"
		"Connection: close\r\n\r\n"
		"{\"error\":{\"code\":\"OVERLOADED\",\"message\":\"too many open connections\"}}";
	struct piece piece = piece_of(answer);

	connection_send(c, &piece, 1);
	if (c->state == CONNECTION_CLOSED)
		return;
	start_lingering(c);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	struct http_server *server = listener->server;

	(void)what;
	for (int i = 0; i < ACCEPT_AT_ONCE; i++)
	{
		int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct http_connection *c;

		if (client < 0)
		{
			/* Out of descriptors or memory: the sweep tries again, spinning here would help nobody. */
			if (!is_try_again() && errno != ECONNABORTED)
			{
				log_warning("cannot accept a connection: %s", strerror(errno));
				set_accepting(server, false);
			}
			return;
		}
		if (server->nconnections >= 2 * server->options.max_connections)
		{
			close(client);
			continue;
		}
		c = connection_new(server, client);
		if (c != NULL && server->nconnections > server->options.max_connections)
			turn_away(c);
	}
}

/* ---- the server ---------------------------------------------------------- */

struct http_server *http_server_new(struct event_base *base, const struct http_options *options,
									const struct http_handlers *handlers, void *arg,
									const evutil_socket_t *listeners, int nlisteners)
{
	const struct timeval interval = {.tv_usec = SWEEP_MS * 1000};
	struct http_server *server = calloc(1, sizeof(*server));
	const int on = 1;

	if (server == NULL)
		return NULL;
	server->listeners = calloc((size_t)nlisteners, sizeof(*server->listeners));
	if (server->listeners == NULL && nlisteners > 0)
	{
		free(server);
		return NULL;
	}
	server->base = base;
	server->options = *options;
	server->handlers = *handlers;
	server->arg = arg;
	server->nlisteners = nlisteners;
	for (int i = 0; i < nlisteners; i++)
	{
		struct listener *listener = &server->listeners[i];

		*listener = (struct listener){.server = server, .fd = listeners[i]};
		/* Accepted sockets inherit it, which saves a system call for each. */
		setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		event_assign(&listener->event, base, listener->fd, EV_READ | EV_PERSIST, on_acceptable, listener);
	}
	event_assign(&server->reap, base, -1, 0, on_reap, server);
	event_assign(&server->sweep, base, -1, EV_PERSIST, on_sweep, server);
	event_add(&server->sweep, &interval);
	set_accepting(server, true);
	return server;
}

static void close_listeners(struct http_server *server)
{
	set_accepting(server, false);
	for (int i = 0; i < server->nlisteners; i++)
		close(server->listeners[i].fd);
	server->nlisteners = 0;
}

void http_server_drain(struct http_server *server, void (*drained)(void *arg), void *arg)
{
	struct http_connection *c;

	server->draining = true;
	server->drained = drained;
	server->drained_arg = arg;
	close_listeners(server);
	while ((c = server->lists[CONNECTION_IDLE].first) != NULL)
		connection_close(c);
	schedule_reap(server);
}

void http_server_free(struct http_server *server)
{
	server->drained = NULL;
	server->draining = true;
	close_listeners(server);
	for (enum connection_state state = CONNECTION_IDLE; state < CONNECTION_CLOSED; state++)
	{
		while (server->lists[state].first != NULL)
			connection_close(server->lists[state].first);
	}
	reap(server);
	event_del(&server->sweep);
	event_del(&server->reap);
	server->freeing = true;
	if (server->nconnections == 0)
		server_dispose(server);
}

/* ---- what handlers ask --------------------------------------------------- */

static struct slice resolve(const struct http_request *request, struct http_span span)
{
	const struct input *in = &request->connection->in;

	return (struct slice){in->data + in->start + span.at, span.len};
}

struct slice http_method(const struct http_request *request)
{
	return resolve(request, request->head.method);
}

/* The target without scheme and authority, which a client may send (RFC 9112, 3.2.2). */
static struct slice origin_form(const struct http_request *request)
{
	struct slice target = resolve(request, request->head.target);
	const char *slash;

	if (target.len < 7 || strncasecmp(target.bytes, "http://", 7) != 0)
		return target;
	slash = memchr(target.bytes + 7, '/', target.len - 7);
	if (slash == NULL)
		return slice_of("/");
	return (struct slice){slash, target.len - (size_t)(slash - target.bytes)};
}

struct slice http_path(const struct http_request *request)
{
	struct slice target = origin_form(request);
	const char *mark = memchr(target.bytes, '?', target.len);

	if (mark != NULL)
		target.len = (size_t)(mark - target.bytes);
	return target;
}

struct slice http_query(const struct http_request *request)
{
	struct slice target = origin_form(request);
	const char *mark = memchr(target.bytes, '?', target.len);

	if (mark == NULL)
		return (struct slice){target.bytes + target.len, 0};
	return (struct slice){mark + 1, target.len - (size_t)(mark + 1 - target.bytes)};
}

struct slice http_header(const struct http_request *request, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < request->head.nheaders; i++)
	{
		struct slice found = resolve(request, request->head.headers[i].name);

		if (found.len == len && strncasecmp(found.bytes, name, len) == 0)
			return resolve(request, request->head.headers[i].value);
	}
	return (struct slice){NULL, 0};
}

struct slice http_body(const struct http_request *request)
{
	const struct input *in = &request->connection->in;

	return (struct slice){in->data + in->start + request->head_len, request->body_len};
}
