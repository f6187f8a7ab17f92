/*
 * server.c: the HTTP server itself (see http.h, and internal.h for its other files).
 */
#include "http/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/internal.h"
#include "base/log.h"

#define LINGER_MS 2000		/* without a byte from the client */
#define SURPLUS_MS 1000		/* the same of one that is to be turned away */
#define DRAIN_STUCK_MS 5000 /* without a byte taken by the client, while the server drains */
#define SWEEP_MS 250
#define ACCEPT_AT_ONCE 64
#define SPARE_IDLE_MS 1000 /* a connection that is idle for that long may be closed for a new one */
#define WARN_AGAIN_MS 60000

/* ---- freeing --------------------------------------------------------------- */

/* Frees what is closed, but for what a handler has; that one is told that the client is gone. */
static void reap(struct http_server *server)
{
	struct http_connection *c = TAILQ_FIRST(&server->lists[CONNECTION_CLOSED]);

	while (c != NULL)
	{
		struct http_connection *next = TAILQ_NEXT(c, link);
		void (*drained)(void *arg, bool gone) = c->request.drained;

		void (*gone)(void *arg) = c->request.gone;

		c->request.drained = NULL;
		c->request.gone = NULL;
		if (drained != NULL)
			drained(c->request.drained_arg, true);
		if (gone != NULL)
			gone(c->request.gone_arg);
		request_end_body(&c->request, HTTP_BODY_CUT);
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

/* ---- turns ----------------------------------------------------------------- */

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *server = arg;
	struct http_connection *c;

	(void)fd;
	(void)what;
	server->turn_due = false;
	while ((c = TAILQ_FIRST(&server->ready)) != NULL)
		connection_run(c);
}

/* ---- timeouts ------------------------------------------------------------ */

static struct http_connection *first_older(struct http_server *server, enum connection_state state,
										   uint64_t now, uint64_t length)
{
	struct http_connection *c = TAILQ_FIRST(&server->lists[state]);

	return c != NULL && clock_passed(now, c->since, length) ? c : NULL;
}

/*
 * The next of them that this sweep has not looked at.  What is touched goes to the end of its list, behind
 * all others.
 */
static struct http_connection *next_older(struct http_server *server, enum connection_state state,
										  uint64_t now, uint64_t length)
{
	struct http_connection *c = first_older(server, state, now, length);

	if (c == NULL || c->sweep == server->sweeps)
		return NULL;
	c->sweep = server->sweeps;
	return c;
}

static void sweep(struct http_server *server)
{
	uint64_t now = clock_ms();
	uint64_t idle = (uint64_t)server->options.idle_timeout * 1000;
	uint64_t request = (uint64_t)server->options.request_timeout * 1000;
	uint64_t stuck = server->draining ? DRAIN_STUCK_MS : idle;
	struct http_connection *c;

	server->sweeps++;
	while ((c = next_older(server, CONNECTION_HANDSHAKING, now, request)) != NULL)
		connection_close(c);
	while ((c = next_older(server, CONNECTION_IDLE, now, idle)) != NULL)
		connection_close(c);
	while ((c = next_older(server, CONNECTION_SURPLUS, now, SURPLUS_MS)) != NULL)
		connection_turn_away(c);
	while ((c = next_older(server, CONNECTION_LINGERING, now, LINGER_MS)) != NULL)
		connection_close(c);
	while ((c = next_older(server, CONNECTION_RECEIVING, now, request)) != NULL)
	{
		if (c->request.reply != REPLY_NONE)
		{
			connection_close(c);
			continue;
		}
		request_refuse(c, 408, "the request did not arrive in time");
		if (c->state != CONNECTION_CLOSED)
			connection_touch(c); /* its turn takes it on */
	}
	while ((c = next_older(server, CONNECTION_STREAMING, now, request)) != NULL)
	{
		if (c->request.paused)
			connection_touch(c);
		else
		{
			request_finish_body(c, HTTP_BODY_LATE);
			connection_wake(c);
		}
	}
	while ((c = next_older(server, CONNECTION_WORKING, now, stuck)) != NULL)
	{
		/* A client that reads nothing is let go; one that waits for us is not. */
		if (connection_unsent(c) > 0)
			connection_close(c);
		else
			connection_touch(c);
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

/* Formats the time for replies, in the form of RFC 9110, 5.6.7, in English whatever the locale. */
static void keep_date(struct http_server *server)
{
	static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
									   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t now = clock_calendar().tv_sec;
	struct tm tm;

	if (now == server->date_second || gmtime_r(&now, &tm) == NULL)
		return;
	server->date_second = now;
	snprintf(server->date, sizeof(server->date), "Date: %s, %02u %s %04u %02u:%02u:%02u GMT\r\n",
			 days[tm.tm_wday], (unsigned)tm.tm_mday % 100, months[tm.tm_mon],
			 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
			 (unsigned)tm.tm_sec % 100);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *server = arg;

	(void)fd;
	(void)what;
	keep_date(server);
	sweep(server);
	if (!server->draining)
		set_accepting(server, true);
}

/* ---- accepting ----------------------------------------------------------- */

/*
 * One client too many.  Many a client takes an answer that comes before it has asked for a broken connection,
 * so its first bytes are waited for, but not for long.  With TLS the answer would cost a handshake, which is
 * more than the words are worth.
 */
static void turn_away(struct http_connection *c)
{
	stats_add(&c->server->options.stats->turned_away, 1);
	if (c->state == CONNECTION_HANDSHAKING)
		connection_close(c);
	else
		connection_set_state(c, CONNECTION_SURPLUS);
}

/*
 * Makes room for a new client by closing the connection that has been idle for longest; false: none is
 * idle.
 */
static bool close_oldest_idle(struct http_server *server)
{
	struct http_connection *c = first_older(server, CONNECTION_IDLE, clock_ms(), SPARE_IDLE_MS);

	if (c != NULL)
		connection_close(c);
	return c != NULL;
}

/* Out of descriptors or memory: the sweep tries again, since to try at once would only spin. */
static void pause_accepting(struct http_server *server)
{
	int why = errno;
	uint64_t now = clock_ms();

	if (now >= server->warn_from)
	{
		log_warning("cannot accept connections: %s", strerror(why));
		server->warn_from = now + WARN_AGAIN_MS;
	}
	set_accepting(server, false);
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
			if (!transport_must_wait() && errno != ECONNABORTED)
				pause_accepting(server);
			return;
		}
		if (server->nconnections >= server->options.max_connections + server->options.max_turned_away)
		{
			stats_add(&server->options.stats->turned_away, 1);
			close(client);
			continue;
		}
		c = connection_new(server, client);
		if (c != NULL && server->nconnections > server->options.max_connections && !close_oldest_idle(server))
			turn_away(c);
	}
}

/* ---- the server ---------------------------------------------------------- */

struct http_server *http_server_new(struct event_base *base, const struct http_options *options,
									const struct http_handlers *handlers, void *arg,
									const evutil_socket_t *listeners, int nlisteners)
{
	const struct timeval interval = {.tv_usec = SWEEP_MS * 1000L};
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
	for (int state = 0; state < CONNECTION_STATES; state++)
		TAILQ_INIT(&server->lists[state]);
	keep_date(server);
	for (int i = 0; i < nlisteners; i++)
	{
		struct listener *listener = &server->listeners[i];

		*listener = (struct listener){.server = server, .fd = listeners[i]};
		/* Accepted sockets inherit it, which saves a system call for each. */
		setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		event_assign(&listener->event, base, listener->fd, EV_READ | EV_PERSIST, on_acceptable, listener);
	}
	TAILQ_INIT(&server->ready);
	event_assign(&server->turn, base, -1, 0, on_turn, server);
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
	while ((c = TAILQ_FIRST(&server->lists[CONNECTION_HANDSHAKING])) != NULL)
		connection_close(c);
	while ((c = TAILQ_FIRST(&server->lists[CONNECTION_SURPLUS])) != NULL)
		connection_close(c);
	while ((c = TAILQ_FIRST(&server->lists[CONNECTION_IDLE])) != NULL)
		connection_close(c);
	server_schedule_reap(server);
}

void http_server_free(struct http_server *server)
{
	server->drained = NULL;
	server->draining = true;
	server->handlers.done = NULL; /* what it is told with may be freed before the last request */
	close_listeners(server);
	for (enum connection_state state = 0; state < CONNECTION_CLOSED; state++)
	{
		while (!TAILQ_EMPTY(&server->lists[state]))
			connection_close(TAILQ_FIRST(&server->lists[state]));
	}
	reap(server);
	event_del(&server->sweep);
	event_del(&server->reap);
	event_del(&server->turn);
	server->freeing = true;
	if (server->nconnections == 0)
		server_dispose(server);
}
