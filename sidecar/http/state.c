/*
 * state.c: a connection's state, and the server's lists that it is on: that of its state, and that of those
 * that are ready.
 */
#include "base/clock.h"
#include "http/internal.h"

void connection_set_state(struct http_connection *c, enum connection_state state)
{
	TAILQ_REMOVE(&c->server->lists[c->state], c, link);
	c->state = state;
	c->since = clock_ms();
	TAILQ_INSERT_TAIL(&c->server->lists[state], c, link);
}

void connection_touch(struct http_connection *c)
{
	connection_set_state(c, c->state);
}

void connection_wake(struct http_connection *c)
{
	struct http_server *server = c->server;

	if (c->ready)
		return;
	if (!server->turn_due)
		event_active(&server->turn, EV_TIMEOUT, 0);
	server->turn_due = true;
	c->ready = true;
	TAILQ_INSERT_TAIL(&server->ready, c, ready_link);
}

void server_schedule_reap(struct http_server *server)
{
	if (!server->freeing)
		event_active(&server->reap, EV_TIMEOUT, 0);
}

void connection_close(struct http_connection *c)
{
	if (c->state == CONNECTION_CLOSED)
		return;
	event_del(&c->readable);
	event_del(&c->writable);
	transport_close(&c->transport, connection_unsent(c) == 0 && c->request.reply != REPLY_STREAMING);
	if (c->out != NULL)
		evbuffer_free(c->out);
	c->out = NULL;
	c->server->out_held -= c->out_held;
	c->out_held = 0;
	connection_set_state(c, CONNECTION_CLOSED);
	server_schedule_reap(c->server);
}
