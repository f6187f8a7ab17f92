/*
 * release.c: the end of a request when its reply has ended; and of a connection, and of a server.
 */
#include <stdlib.h>

#include "http/internal.h"

void server_dispose(struct http_server *server)
{
	buf_free(&server->head);
	compress_free(&server->compress);
	free(server->listeners);
	free(server);
}

void connection_free(struct http_connection *c)
{
	TAILQ_REMOVE(&c->server->lists[c->state], c, link);
	if (c->ready)
		TAILQ_REMOVE(&c->server->ready, c, ready_link);
	c->server->nconnections--;
	stats_set(&c->server->options.stats->connections, c->server->nconnections);
	request_end_context(&c->request);
	free(c->request.note);
	memory_free_input(c);
	free(c);
}

/* The rest of a streamed body is of no use any more: it is thrown away, or not even read. */
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
	connection_set_state(c, CONNECTION_RECEIVING);
}

void request_release(struct http_request *request)
{
	struct http_connection *c = request->connection;
	struct http_server *server = c->server;

	compress_end(request);
	request_tell_done(request);
	request_end_context(request);
	request->held = false;
	request->reply = REPLY_DONE;
	request->sink = NULL;
	request->drained = NULL;
	request->gone = NULL;
	if (c->state != CONNECTION_CLOSED)
	{
		if (c->state == CONNECTION_STREAMING)
			stop_streaming(c);
		connection_wake(c);
		return;
	}
	if (!server->freeing)
	{
		server_schedule_reap(server);
		return;
	}
	connection_free(c);
	if (server->nconnections == 0)
		server_dispose(server);
}
