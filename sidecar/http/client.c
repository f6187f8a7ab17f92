/*
 * client.c: one HTTP/1.1 request, and its reply (see client.h).
 *
 * It knows what our server sends and what a proxy in front of it may make of that: a body in chunks, of a
 * length, or up to the end of the connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/client_internal.h"
#include "net/transport.h"

#define MAX_HEAD 65536
#define RECEIVE_BYTES 65536

/* ---- connecting ------------------------------------------------------------------- */

static bool open_socket(struct cli_http *http, const char *url, const struct cli_address *address)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *found, *at;
	int reason = getaddrinfo(address->host, address->port, &hints, &found);

	if (reason != 0)
		return cli_http_fail(http, "cannot find %s: %s", url, gai_strerror(reason));
	for (at = found; at != NULL && http->fd < 0; at = at->ai_next)
	{
		http->fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
		if (http->fd < 0 || connect(http->fd, at->ai_addr, at->ai_addrlen) == 0)
			continue;
		reason = errno;
		close(http->fd);
		http->fd = -1;
	}
	freeaddrinfo(found);
	return http->fd >= 0 || cli_http_fail(http, "cannot connect to %s: %s", url, strerror(reason));
}

bool cli_http_connect(struct cli_http *http, const char *url, const char *ca_file)
{
	struct cli_address address, proxy;

	http->fd = -1;
	if (!cli_http_parse_url(http, url, &address) || !cli_proxy_find(http, &address, &proxy))
		return false;
	if (!(http->proxy[0] == '\0' ? open_socket(http, url, &address) : open_socket(http, http->proxy, &proxy)))
		return false;
	if (address.tls && ((http->proxy[0] != '\0' && !cli_proxy_tunnel(http, &address)) ||
						!cli_tls_start(http, url, address.host, ca_file)))
		return false;
	fcntl(http->fd, F_SETFL, O_NONBLOCK);
	return true;
}

void cli_http_close(struct cli_http *http)
{
	cli_tls_end(http);
	if (http->fd >= 0)
		close(http->fd);
	http->fd = -1;
	buf_free(&http->head);
}

/* ---- the request ------------------------------------------------------------------ */

void cli_http_escape(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++)
	{
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			strchr("-._~", c) != NULL)
			buf_add(out, &c, 1);
		else
			buf_printf(out, "%%%02X", c);
	}
}

ssize_t cli_http_send(struct cli_http *http, const void *bytes, size_t len)
{
	if (http->ssl != NULL)
		return cli_tls_send(http, bytes, len);
	return send(http->fd, bytes, len, MSG_NOSIGNAL);
}

void cli_http_wait(const struct cli_http *http, short events)
{
	struct pollfd polled = {.fd = http->fd, .events = events};

	poll(&polled, 1, -1);
}

bool cli_http_request(struct cli_http *http, const struct cli_request *request)
{
	bool whole_url = http->proxy[0] != '\0' && http->ssl == NULL;
	struct buf head = {0};
	size_t sent = 0;

	buf_printf(&head, "%s %s%s%s%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", request->method,
			   whole_url ? "http://" : "", whole_url ? http->host : "", http->base, request->target,
			   http->host);
	if (whole_url && http->proxy_login[0] != '\0')
		buf_printf(&head, "Proxy-Authorization: Basic %s\r\n", http->proxy_login);
	if (request->token != NULL)
		buf_printf(&head, "Authorization: Bearer %s\r\n", request->token);
	buf_add_str(&head, request->headers);
	buf_add_str(&head, "\r\n");
	while (!head.failed && sent < head.len)
	{
		ssize_t n = cli_http_send(http, head.data + sent, head.len - sent);

		if (n < 0 && !transport_must_wait())
			break;
		if (n < 0)
			cli_http_wait(http, POLLOUT);
		sent += n > 0 ? (size_t)n : 0;
	}
	if (head.failed || sent < head.len)
		cli_http_fail(http, "cannot send the request: %s", strerror(errno));
	else
		http->error[0] = '\0';
	buf_free(&head);
	return http->error[0] == '\0';
}

/* ---- the reply --------------------------------------------------------------------- */

/* The value of a header when `line` is that header, else NULL. */
static const char *header_value(const char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return NULL;
	return line + len + 1 + strspn(line + len + 1, " \t");
}

/* Reads the complete head, NUL-terminated. */
static bool read_head(struct cli_http *http, char *head)
{
	const char *value;
	char *line, *rest;

	if (sscanf(head, "HTTP/1.%*1[01] %3d", &http->status) != 1)
		return cli_http_fail(http, "the server does not speak HTTP");
	http->chunked = http->has_length = http->gzip = false;
	for (line = strtok_r(head, "\r\n", &rest); line != NULL; line = strtok_r(NULL, "\r\n", &rest))
	{
		if ((value = header_value(line, "Content-Length")) != NULL)
		{
			http->left = strtoull(value, NULL, 10);
			http->has_length = true;
		}
		else if ((value = header_value(line, "Transfer-Encoding")) != NULL)
			http->chunked = strcasecmp(value, "chunked") == 0;
		else if ((value = header_value(line, "Content-Encoding")) != NULL)
			http->gzip = strcasecmp(value, "gzip") == 0;
	}
	return true;
}

/* Takes bytes of the head; returns how many, or -1. */
static ssize_t take_head(struct cli_http *http, struct slice bytes)
{
	size_t before = http->head.len;
	char *end;

	buf_add(&http->head, bytes.bytes, bytes.len);
	buf_add(&http->head, "", 1);
	end = http->head.failed ? NULL : strstr(http->head.data, "\r\n\r\n");
	if (end == NULL)
	{
		if (http->head.failed || http->head.len > MAX_HEAD)
		{
			cli_http_fail(http, "the reply's headers are too long");
			return -1;
		}
		buf_truncate(&http->head, http->head.len - 1);
		return (ssize_t)bytes.len;
	}
	end[2] = '\0';
	if (!read_head(http, http->head.data))
		return -1;
	buf_clear(&http->head);
	if (http->status < 200) /* 100 Continue: the reply is still to come */
		http->status = 0;
	return end + 4 - http->head.data - (ssize_t)before;
}

static enum cli_http_state take_plain(struct cli_http *http, struct slice bytes)
{
	if (http->has_length && bytes.len > http->left)
		bytes.len = (size_t)http->left;
	http->left -= http->has_length ? bytes.len : 0;
	if (bytes.len > 0 && !http->data(http->arg, bytes))
		return CLI_HTTP_FAILED;
	return http->has_length && http->left == 0 ? CLI_HTTP_END : CLI_HTTP_MORE;
}

static enum cli_http_state take_chunks(struct cli_http *http, struct slice bytes)
{
	size_t used = 0;

	while (used < bytes.len && http->chunks.state != HTTP_CHUNK_DONE)
	{
		struct slice data;
		ssize_t n = http_chunked_read(&http->chunks, bytes.bytes + used, bytes.len - used, &data);

		if (n == HTTP_BAD)
		{
			cli_http_fail(http, "the reply is malformed");
			return CLI_HTTP_FAILED;
		}
		used += (size_t)n;
		if (data.len > 0 && !http->data(http->arg, data))
			return CLI_HTTP_FAILED;
	}
	return http->chunks.state == HTTP_CHUNK_DONE ? CLI_HTTP_END : CLI_HTTP_MORE;
}

static enum cli_http_state take(struct cli_http *http, struct slice bytes)
{
	while (http->status == 0 && bytes.len > 0)
	{
		ssize_t used = take_head(http, bytes);

		if (used < 0)
			return CLI_HTTP_FAILED;
		bytes.bytes += used;
		bytes.len -= (size_t)used;
	}
	if (http->status == 0)
		return CLI_HTTP_MORE;
	return http->chunked ? take_chunks(http, bytes) : take_plain(http, bytes);
}

static ssize_t receive_some(struct cli_http *http, void *bytes, size_t len)
{
	if (http->ssl != NULL)
		return cli_tls_receive(http, bytes, len);
	return recv(http->fd, bytes, len, 0);
}

enum cli_http_state cli_http_receive(struct cli_http *http)
{
	static char bytes[RECEIVE_BYTES];
	enum cli_http_state state = CLI_HTTP_MORE;
	ssize_t got;

	http->error[0] = '\0';
	/* To the end of it: the socket does not tell of what TLS holds already. */
	while (state == CLI_HTTP_MORE && (got = receive_some(http, bytes, sizeof(bytes))) > 0)
		state = take(http, (struct slice){bytes, (size_t)got});
	if (state != CLI_HTTP_MORE || (got < 0 && transport_must_wait()))
		return state;
	if (got == 0 && http->status != 0 && !http->chunked && !http->has_length)
		return CLI_HTTP_END;
	if (got < 0)
		cli_http_fail(http, "the connection to the server broke: %s", strerror(errno));
	else
		cli_http_fail(http, "the server closed the connection before its reply was complete");
	return CLI_HTTP_FAILED;
}
