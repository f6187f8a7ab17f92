/*
 * request.c: a request comes in: its head, then its body as a whole.
 */
#include <string.h>

#include "http/internal.h"

#define LOW_WATER ((size_t)256 * 1024) /* unsent bytes at which a streamed reply goes on */

/* ---- requests ------------------------------------------------------------ */

void request_start(struct http_connection *c)
{
	struct http_request *request = &c->request;

	request->connection = c;
	http_head_start(&request->head);
	request->chunks = (struct http_chunked){0};
	request->head_len = request->body_len = 0;
	request->reply = REPLY_NONE;
	request->held = request->discard = request->unseen = request->wants_continue = false;
	request->keep_alive = true;
	request->low_water = LOW_WATER;
	request->drained = NULL;
	request->gone = NULL;
	request->context = NULL;
	request->sink = NULL;
	request->run = 0;
	c->in.parsed = c->in.start;
	connection_set_state(c, CONNECTION_RECEIVING);
	request_begin_outcome(request);
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

	c->requests++;
	request->wants_continue =
		request->head.expects_continue &&
		(request->head.chunked || request->head.content_length > c->in.len - c->in.parsed);
	c->server->handlers.headers(c->server->arg, request);
	if (request->reply != REPLY_NONE)
		return;
	if (c->state == CONNECTION_STREAMING)
		c->server->handlers.body(c->server->arg, request);
	else if (!request->head.chunked && request->head.content_length > c->server->options.max_body)
		request_refuse(c, 413, describe_status(413));
	else
		request_send_continue(request);
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
		request_refuse(c, request->head.status, describe_status(request->head.status));
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
			request_refuse(c, 400, "malformed chunked body");
			return false;
		}
		if (used == 0)
			return false;
		c->in.parsed += (size_t)used;
		take_body(c, data);
		if (!request->discard && request->chunks.chunk_left > c->server->options.max_body - request->body_len)
		{
			request_refuse(c, 413, describe_status(413));
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

bool request_receive(struct http_connection *c)
{
	struct http_request *request = &c->request;

	if (request->head_len == 0 && request->reply == REPLY_NONE && !receive_head(c))
		return false;
	if (c->state != CONNECTION_RECEIVING)
		return true;
	if (request->reply != REPLY_NONE && !request->keep_alive)
	{
		connection_set_state(c, CONNECTION_WORKING); /* the rest of it is not waited for */
		return true;
	}
	if (!(request->head.chunked ? receive_chunks(c) : receive_plain(c)))
	{
		drop_consumed(c);
		return request->reply != REPLY_NONE && !request->keep_alive;
	}
	connection_set_state(c, CONNECTION_WORKING);
	if (request->reply == REPLY_NONE)
	{
		request->started = c->since;
		request->held = true;
		c->server->handlers.body(c->server->arg, request);
	}
	return true;
}

void connection_refuse(struct http_connection *c, int status, const char *message)
{
	request_start(c);
	c->request.unseen = true;
	request_refuse(c, status, message);
}
