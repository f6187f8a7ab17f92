/*
 * outcome.c: how requests ended: their ids, and what the handlers are told.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/internal.h"
#include "base/log.h"

/* The client's own id, or else the one that we made. */
static struct slice request_id(const struct http_request *request)
{
	struct slice own = http_header(request, "X-Request-Id");

	return http_id_is_sane(own) ? own : slice_of(request->made_id);
}

void request_begin_outcome(struct http_request *request)
{
	request->started = request->connection->since;
	request->status = 0;
	request->made_id[0] = '\0';
}

/* Whether the handlers are told how it ended. */
static bool is_told(const struct http_request *request)
{
	return request->connection->server->handlers.done != NULL && !request->unseen;
}

void request_write_id(struct http_request *request, struct buf *head)
{
	struct slice id = request_id(request);

	if (id.len == 0 && is_told(request) &&
		(request->status >= 400 || request->note != NULL || log_is_debug() ||
		 clock_passed(clock_ms(), request->started, request->connection->server->options.slow_ms)))
	{
		http_id_make(request->made_id);
		id = slice_of(request->made_id);
	}
	if (id.len == 0)
		return;
	buf_add_str(head, "X-Request-Id: ");
	buf_add(head, id.bytes, id.len);
	buf_add_str(head, "\r\n");
}

void request_tell_done(struct http_request *request)
{
	struct http_server *server = request->connection->server;
	const struct http_outcome outcome = {
		.status = request->status,
		.ms = clock_span(request->started, clock_ms()),
		.id = request_id(request),
		.note = request->note,
	};

	if (is_told(request))
		server->handlers.done(server->arg, request, &outcome);
	free(request->note);
	request->note = NULL;
}

void request_end_context(struct http_request *request)
{
	struct http_server *server = request->connection->server;
	void *context = request->context;

	request->context = NULL;
	if (context != NULL)
		server->handlers.ended(server->arg, context);
}

void http_note(struct http_request *request, struct slice text)
{
	free(request->note);
	request->note = strndup(text.bytes, text.len);
}
