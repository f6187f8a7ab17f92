/*
 * request.c: a request comes in, and what handlers ask about it.
 */
#include <string.h>
#include <strings.h>

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

void request_end_body(struct http_request *request, enum http_body_end how)
{
	const struct http_sink *sink = request->sink;

	request->sink = NULL;
	if (sink != NULL)
		sink->end(request->sink_arg, how);
}

/* ---- streamed bodies ------------------------------------------------------ */

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

/* ---- what handlers ask --------------------------------------------------- */

static struct slice resolve(const struct http_request *request, struct http_span span)
{
	const struct input *in = &request->connection->in;

	if (span.len == 0)
		return slice_of(""); /* there may be no input yet */
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
	size_t at = 7;

	if (target.len >= 8 && strncasecmp(target.bytes, "https://", 8) == 0)
		at = 8;
	else if (target.len < 7 || strncasecmp(target.bytes, "http://", 7) != 0)
		return target;
	while (at < target.len && target.bytes[at] != '/' && target.bytes[at] != '?')
		at++;
	return (struct slice){target.bytes + at, target.len - at};
}

struct slice http_path(const struct http_request *request)
{
	struct slice target = origin_form(request);
	const char *mark = memchr(target.bytes, '?', target.len);

	if (mark != NULL)
		target.len = (size_t)(mark - target.bytes);
	return target.len == 0 && request->head.target.len > 0 ? slice_of("/") : target;
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

void http_set_context(struct http_request *request, void *context)
{
	request->context = context;
}

void *http_context(const struct http_request *request)
{
	return request->context;
}

struct slice http_body(const struct http_request *request)
{
	const struct input *in = &request->connection->in;

	return (struct slice){in->data + in->start + request->head_len, request->body_len};
}
