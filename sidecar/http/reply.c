/*
 * reply.c: replies, whole or in parts.
 */
#include <stdio.h>

#include "http/internal.h"
#include "base/log.h"
#include "http/etag.h"

#define MAX_DISCARD 65536 /* bytes of an unwanted body that are read to keep the connection */

/* ---- replies ------------------------------------------------------------- */

static const char *reason_phrase(int status)
{
	switch (status)
	{
		case 200:
			return "OK";
		case 204:
			return "No Content";
		case 304:
			return "Not Modified";
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
		case 429:
			return "Too Many Requests";
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

/* RFC 9110, 6.4.1: a reply of such a status has no body, and so nothing that describes one. */
static bool has_body(int status)
{
	return status != 204 && status != 304;
}

/* How much of the body is still to come; UINT64_MAX when that is not known. */
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

void request_send_continue(struct http_request *request)
{
	struct piece piece = piece_of("HTTP/1.1 100 Continue\r\n\r\n");

	if (request->wants_continue)
		connection_send(request->connection, &piece, 1);
	request->wants_continue = false;
}

/* Writes the head into server->head; length < 0 is a reply of unknown length, `coding` may be NULL. */
static struct piece write_head(struct http_request *request, const struct http_reply *reply, int64_t length,
							   const char *coding)
{
	struct buf *head = &request->connection->server->head;
	const struct http_options *options = &request->connection->server->options;
	bool old = request->head.minor_version == 0;

	request->status = reply->status;
	buf_clear(head);
	buf_add_str(head, "HTTP/1.1 ");
	buf_add_decimal(head, (uint64_t)reply->status);
	buf_add_str(head, " ");
	buf_add_str(head, reason_phrase(reply->status));
	buf_add_str(head, "\r\n");
	buf_add(head, request->connection->server->date, HTTP_DATE_LEN);
	if (reply->status == 401)
		buf_add_str(head, "WWW-Authenticate: Bearer realm=\"millrace\"\r\n");
	request_write_id(request, head);
	if (has_body(reply->status))
	{
		buf_add_str(head, "Content-Type: ");
		buf_add_str(head, reply->content_type != NULL ? reply->content_type : options->content_type);
		buf_add_str(head, "\r\n");
		if (length >= 0)
		{
			buf_add_str(head, "Content-Length: ");
			buf_add_decimal(head, (uint64_t)length);
			buf_add_str(head, "\r\n");
		}
		else if (!old)
			buf_add_str(head, "Transfer-Encoding: chunked\r\n");
	}
	if (coding != NULL)
		buf_add_str(head, coding);
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
						  unsigned npieces, int64_t length, const char *coding)
{
	struct http_connection *c = request->connection;
	struct piece all[HTTP_MAX_PIECES + 1];

	all[0] = write_head(request, reply, length, coding);
	for (unsigned i = 0; i < npieces; i++)
		all[i + 1] = pieces[i];
	if (c->server->head.failed)
		connection_close(c);
	connection_send(c, all, npieces + 1);
}

void http_reply(struct http_request *request, const struct http_reply *reply, struct piece *pieces,
				unsigned npieces)
{
	int64_t length = (int64_t)pieces_length(pieces, npieces);
	const char *coding;
	struct piece compressed;

	if (npieces > HTTP_MAX_PIECES || request->reply != REPLY_NONE)
	{
		log_bug("a reply of %u pieces in state %d", npieces, (int)request->reply);
		pieces_release(pieces, npieces);
		return;
	}
	decide_keep_alive(request);
	coding = compress_begin(request, reply, length);
	if (request->compressor != NULL)
	{
		compressed = compress_pieces(request, pieces, npieces, true);
		length = (int64_t)compressed.len;
		pieces = &compressed;
		npieces = 1;
	}
	if (slice_is(http_method(request), "HEAD") || !has_body(reply->status))
	{
		pieces_release(pieces, npieces);
		npieces = 0;
	}
	send_head_and(request, reply, pieces, npieces, length, coding);
	request_release(request);
}

void http_reply_tagged(struct http_request *request, const struct http_reply *reply, const char *etag,
					   struct piece *piece)
{
	struct http_reply tagged = *reply;
	char headers[1200];

	snprintf(headers, sizeof(headers), "ETag: %s\r\nCache-Control: no-cache\r\n%s", etag,
			 reply->headers != NULL ? reply->headers : "");
	tagged.headers = headers;
	if (http_etag_matches(http_header(request, "If-None-Match"), etag))
		tagged.status = 304;
	http_reply(request, &tagged, piece, 1);
}

void http_reply_start(struct http_request *request, const struct http_reply *reply)
{
	if (request->connection->state == CONNECTION_STREAMING)
	{
		/* Whether the body will be read to its end shows later. */
		request_send_continue(request);
		request->keep_alive = request->head.keep_alive && !request->connection->server->draining;
	}
	else
		decide_keep_alive(request);
	/* Without chunks only the end of the connection can tell the end of the reply. */
	if (request->head.minor_version == 0)
		request->keep_alive = false;
	request->reply = REPLY_STREAMING;
	send_head_and(request, reply, NULL, 0, -1, compress_begin(request, reply, -1));
}

/* A part as it goes out. */
static void send_part(struct http_request *request, struct piece *pieces, unsigned npieces)
{
	struct piece all[HTTP_MAX_PIECES + 2];
	size_t length = pieces_length(pieces, npieces);
	char size[24];

	if (length == 0)
	{
		pieces_release(pieces, npieces);
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

void http_reply_part(struct http_request *request, struct piece *pieces, unsigned npieces)
{
	struct piece compressed;

	if (npieces > HTTP_MAX_PIECES)
		pieces_release(pieces, npieces);
	else if (request->compressor == NULL)
		send_part(request, pieces, npieces);
	else
	{
		compressed = compress_pieces(request, pieces, npieces, false);
		send_part(request, &compressed, 1);
	}
}

void http_reply_end(struct http_request *request)
{
	struct piece end = piece_of("0\r\n\r\n");
	struct piece compressed;

	if (request->compressor != NULL)
	{
		compressed = compress_pieces(request, NULL, 0, true);
		send_part(request, &compressed, 1);
	}

	if (request->head.minor_version > 0)
		connection_send(request->connection, &end, 1);
	request_release(request);
}

void http_reply_abort(struct http_request *request)
{
	/* Without its last chunk a reply is visibly cut; HTTP/1.0 has only the reset to show it. */
	if (request->head.minor_version == 0 && request->connection->state != CONNECTION_CLOSED)
	{
		transport_reset(&request->connection->transport);
		connection_close(request->connection);
	}
	request->keep_alive = false;
	request_release(request);
}

void http_reply_raw(struct http_request *request, struct piece *pieces, unsigned npieces)
{
	if (npieces > HTTP_MAX_PIECES)
		pieces_release(pieces, npieces);
	else
		connection_send(request->connection, pieces, npieces);
}

bool http_reply_is_chunked(const struct http_request *request)
{
	return request->head.minor_version > 0;
}

size_t http_reply_unsent(const struct http_request *request)
{
	return connection_unsent(request->connection);
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
	connection_tell_drained(request->connection);
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
		server_schedule_reap(c->server);
	else if (c->input_ended)
		connection_close(c);
}

void http_reply_error(struct http_request *request, const struct error *error, int status,
					  const char *headers)
{
	struct http_reply reply = {.status = status, .headers = headers};
	char with_retry[1100];
	struct http_server *server = request->connection->server;
	struct buf body = {0};
	struct piece piece;
	unsigned retry_after = server->handlers.error(server->arg, error, &body);

	if (retry_after > 0)
	{
		snprintf(with_retry, sizeof(with_retry), "Retry-After: %u\r\n%s", retry_after,
				 headers != NULL ? headers : "");
		reply.headers = with_retry;
	}
	piece = (struct piece){.bytes = body.data, .len = body.len};
	http_reply(request, &reply, &piece, 1);
	buf_free(&body);
}

void request_refuse(struct http_connection *c, int status, const char *message)
{
	struct http_server *server = c->server;

	/* A head that was not understood says nothing about how to answer; one that is too large does. */
	if (c->request.head_len == 0 && status != 431)
	{
		c->request.head.minor_version = 1;
		c->request.head.method.len = c->request.head.target.len = c->request.head.nheaders = 0;
	}
	c->request.head.keep_alive = false;
	c->unread = true;
	server->handlers.refuse(server->arg, &c->request, status, message);
}
