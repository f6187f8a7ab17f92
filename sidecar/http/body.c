/*
 * body.c: a body that is taken as it comes; see http.h.
 */
#include "http/internal.h"

void request_end_body(struct http_request *request, enum http_body_end how)
{
	const struct http_sink *sink = request->sink;

	request->sink = NULL;
	if (sink != NULL)
		sink->end(request->sink_arg, how);
}

void http_stream_body(struct http_request *request)
{
	request->held = true;
	request->paused = true;
	connection_set_state(request->connection, CONNECTION_STREAMING);
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
	request_send_continue(request);
	http_body_resume(request);
}

void http_body_resume(struct http_request *request)
{
	request->paused = false;
	if (request->connection->state != CONNECTION_STREAMING)
		return;
	connection_touch(request->connection); /* the wait was for us */
	connection_wake(request->connection);
}

void request_finish_body(struct http_connection *c, enum http_body_end how)
{
	if (how != HTTP_BODY_COMPLETE)
	{
		c->request.keep_alive = false;
		c->request.head.keep_alive = false;
		c->unread = true;
	}
	connection_set_state(c, CONNECTION_WORKING);
	request_end_body(&c->request, how);
}

/*
 * Finds the next bytes for the sink; false: there are none, either because more must come or because the body
 * has ended.
 */
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
		{
			request_finish_body(c, HTTP_BODY_COMPLETE);
			return false;
		}
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
			request_finish_body(c, used == 0 ? HTTP_BODY_COMPLETE : HTTP_BODY_MALFORMED);
			return false;
		}
		request->run = data.len;
		c->in.parsed += (size_t)used - data.len;
	}
	return true;
}

bool request_stream_body(struct http_connection *c)
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
	request_finish_body(c, HTTP_BODY_CUT);
	return true;
}
