/*
 * connection.c: a connection's way from one request to the next, and its input.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/internal.h"

#define STREAM_ROOM 32768 /* bytes that are free at least before a streamed body is read on */
#define MAX_LINGER_MS 30000

/* ---- from one request to the next ----------------------------------------- */

/* Shuts our side, and waits for the client to shut its own. */
static void linger(struct http_connection *c)
{
	transport_shut(&c->transport);
	memory_free_input(c);
	c->linger_until = clock_ms() + MAX_LINGER_MS;
	connection_set_state(c, CONNECTION_LINGERING);
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
		linger(c);
		return;
	}
	in->start = in->parsed;
	if (in->start == in->len)
	{
		in->start = in->len = in->parsed = 0;
		memory_trim_input(c);
	}
	connection_set_state(c, CONNECTION_IDLE);
}

void connection_turn_away(struct http_connection *c)
{
	connection_refuse(c, 503, "too many open connections");
}

/* Takes the connection one step on; false when it has to wait. */
static bool connection_step(struct http_connection *c)
{
	switch (c->state)
	{
		case CONNECTION_IDLE:
			if (c->in.len > c->in.start)
			{
				request_start(c);
				return true;
			}
			if (c->input_ended || c->server->draining)
				connection_close(c);
			return false;
		case CONNECTION_SURPLUS:
			if (c->in.len > 0)
			{
				connection_turn_away(c);
				return true;
			}
			if (c->input_ended)
				connection_close(c);
			return false;
		case CONNECTION_RECEIVING:
			if (request_receive(c))
				return true;
			if (c->input_ended)
				connection_close(c);
			return false;
		case CONNECTION_STREAMING:
			return request_stream_body(c);
		case CONNECTION_WORKING:
			if (c->request.reply != REPLY_DONE || connection_unsent(c) > 0)
				return false;
			finish_request(c);
			return true;
		default:
			return false;
	}
}

/* Sees to it that what TLS holds of the input is received, too. */
static void read_pending(struct http_connection *c)
{
	if (c->reading && transport_has_pending(&c->transport))
		event_active(&c->readable, EV_READ, 0);
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
	read_pending(c);
}

/* Whether what the client sends now has to wait for a handler. */
static bool is_held_back(const struct http_connection *c)
{
	return (c->state == CONNECTION_WORKING && c->in.len == c->in.cap) ||
		   (c->state == CONNECTION_STREAMING && c->request.paused);
}

/* It is on the list of the ready meanwhile, so what its own steps wake does not run it once more. */
void connection_run(struct http_connection *c)
{
	while (connection_step(c))
		;
	TAILQ_REMOVE(&c->server->ready, c, ready_link);
	c->ready = false;
	if (c->state == CONNECTION_CLOSED)
		return;
	/* Reading was paused if the buffer filled up while a handler had the request. */
	if (!c->input_ended && !is_held_back(c))
		set_reading(c, true);
	read_pending(c);
}

/*
 * For a connection whose bytes came just now: it goes on before the other events of this loop turn, one of
 * which may send what the handlers have gathered in it.  A request that misses that waits for a whole commit
 * more.
 */
static void run_at_once(struct http_connection *c)
{
	if (!c->ready)
	{
		c->ready = true;
		TAILQ_INSERT_HEAD(&c->server->ready, c, ready_link);
	}
	connection_run(c);
}

/* ---- TLS ------------------------------------------------------------------- */

static void shake_hands(struct http_connection *c)
{
	switch (transport_handshake(&c->transport))
	{
		case TRANSPORT_DONE:
			connection_set_state(c, CONNECTION_IDLE);
			break;
		case TRANSPORT_WAITS:
			if (c->transport.wants_write)
				event_add(&c->writable, NULL);
			break;
		case TRANSPORT_CLEAR:
			/* The client took this for a port without TLS; it is told so in clear, which it understands. */
			connection_refuse(c, 400, "this port speaks https, not http");
			break;
		case TRANSPORT_BROKEN:
			connection_close(c);
			break;
	}
}

/* ---- input --------------------------------------------------------------- */

/*
 * Makes room behind what came; false: there is no memory, or not for this request, which was answered then.
 */
static bool make_room(struct http_connection *c)
{
	struct input *in = &c->in;
	size_t least = c->state == CONNECTION_STREAMING ? STREAM_ROOM : 1;

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
	if (c->state == CONNECTION_RECEIVING && c->request.reply == REPLY_NONE && !memory_allows_growth(c))
	{
		request_refuse(c, 503, "too many bytes of requests are waiting");
		return false;
	}
	if (memory_grow_input(c))
		return true;
	connection_close(c);
	return false;
}

/* Reads what a lingering client still sends, for nothing. */
static void throw_away(struct http_connection *c)
{
	char scratch[16384];
	ssize_t got = transport_discard(&c->transport, scratch, sizeof(scratch));

	if (got == 0 || (got < 0 && !transport_must_wait()))
		connection_close(c);
	else if (got > 0 && clock_ms() < c->linger_until && !c->server->draining)
		connection_touch(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct http_connection *c = arg;
	ssize_t got;

	(void)fd;
	(void)what;
	if (c->state == CONNECTION_HANDSHAKING)
		shake_hands(c);
	if (c->state == CONNECTION_HANDSHAKING || c->state == CONNECTION_CLOSED)
		return;
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
		return;
	got = transport_receive(&c->transport, c->in.data + c->in.len, c->in.cap - c->in.len);
	if (got < 0)
	{
		if (!transport_must_wait())
			connection_close(c);
		else if (c->transport.wants_write)
			event_add(&c->writable, NULL);
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
		connection_touch(c);
	run_at_once(c);
}

/* ---- a new one ------------------------------------------------------------- */

struct http_connection *connection_new(struct http_server *server, evutil_socket_t fd)
{
	struct http_connection *c = calloc(1, sizeof(*c));

	if (c != NULL)
		c->transport = (struct transport){.fd = fd, .stats = server->options.stats};
	if (c == NULL ||
		(server->options.tls != NULL && !transport_start_tls(&c->transport, server->options.tls)))
	{
		close(fd);
		free(c);
		return NULL;
	}
	c->server = server;
	c->request.connection = c;
	c->state = server->options.tls != NULL ? CONNECTION_HANDSHAKING : CONNECTION_IDLE;
	c->since = c->accepted = clock_ms();
	TAILQ_INSERT_TAIL(&server->lists[c->state], c, link);
	server->nconnections++;
	stats_set(&server->options.stats->connections, server->nconnections);
	stats_add(&server->options.stats->accepted, 1);
	event_assign(&c->readable, server->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writable, server->base, fd, EV_WRITE, connection_on_writable, c);
	set_reading(c, true);
	return c;
}
