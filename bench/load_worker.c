/*
 * load_worker.c: a worker's connection, and the answers that it reads.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static struct addrinfo *address;
static char host[256], port[16] = "80";
static char head[1024]; /* what all requests begin with */
static size_t head_len;
static int epoll_fd;

/* Takes host and port out of --url, and finds their address. */
static void parse_url(void)
{
	const char *rest = options.url;
	size_t len;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	int error;

	if (strncmp(rest, "http://", 7) != 0)
		fail("--url must begin with http://");
	rest += 7;
	len = strcspn(rest, ":/");
	if (len == 0 || len >= sizeof(host))
		fail("--url has no host: %s", options.url);
	memcpy(host, rest, len);
	rest += len;
	if (*rest == ':')
	{
		len = strspn(++rest, "0123456789");
		if (len == 0 || len >= sizeof(port))
			fail("--url has a bad port: %s", options.url);
		memcpy(port, rest, len);
		port[len] = '\0';
	}
	error = getaddrinfo(host, port, &hints, &address);
	if (error != 0)
		fail("%s: %s", host, gai_strerror(error));
}

void worker_connect(struct worker *worker)
{
	int one = 1;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = worker};

	worker->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (worker->fd < 0)
		fail("socket: %s", strerror(errno));
	if (connect(worker->fd, address->ai_addr, address->ai_addrlen) != 0)
		fail("cannot connect to %s: %s", options.url, strerror(errno));
	setsockopt(worker->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, worker->fd, &event) != 0)
		fail("epoll_ctl: %s", strerror(errno));
}

/* Writes the part of the head that all requests have, once. */
static void prepare_head(void)
{
	head_len = (size_t)snprintf(head, sizeof(head),
								"POST /rpc HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
								"%s%.200s%sContent-Length: ",
								host, *options.token ? "Authorization: Bearer " : "", options.token,
								*options.token ? "\r\n" : "");
}

void workers_prepare(int epoll)
{
	epoll_fd = epoll;
	parse_url();
	prepare_head();
	requests_prepare();
}

/* Writes a whole request with this body into worker->out. */
static void worker_prepare(struct worker *worker, const char *body, int length)
{
	char *out = worker->out;

	if (out == NULL)
		out = worker->out = allocate(request_room() + 1536);
	memcpy(out, head, head_len);
	out += head_len;
	out += sprintf(out, "%d\r\n\r\n", length);
	memcpy(out, body, (size_t)length);
	worker->out_len = (size_t)(out + length - worker->out);
	worker->out_sent = 0;
	worker->in_len = 0;
	worker->kind = BODY_UNKNOWN;
}

/* Sends what is left of the request; false when the connection is lost. */
static bool worker_send(struct worker *worker)
{
	while (worker->out_sent < worker->out_len)
	{
		ssize_t sent = send(worker->fd, worker->out + worker->out_sent, worker->out_len - worker->out_sent,
							MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		worker->out_sent += (size_t)sent;
	}
	return true;
}

bool worker_begin(struct worker *worker)
{
	static char *body;

	if (body == NULL)
		body = allocate(request_room());
	worker_prepare(worker, body, request_write(worker, body));
	worker->began = now();
	return worker_send(worker);
}

/* The value of a header line; NULL when it is another header's. */
static const char *header_value(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncasecmp(line, name, len) == 0 ? line + len + strspn(line + len, " \t") : NULL;
}

/* Looks at a head that has just become complete: `end` is where the last line ends. */
static void worker_parse_head(struct worker *worker, char *end)
{
	char *line = worker->in;
	const char *value;

	end[1] = '\0'; /* behind the \r */
	if (strncmp(line, "HTTP/1.", 7) != 0)
		fail("not an HTTP answer: %.60s", line);
	worker->status = atoi(line + strlen("HTTP/1.1 "));
	if (worker->status < 100 || worker->status >= 600)
		fail("not an HTTP answer: %.60s", line);
	worker->body = (size_t)(end - worker->in) + 4;
	worker->kind = BODY_SIZED;
	worker->length = 0;
	while ((line = strchr(line, '\n')) != NULL)
	{
		line++;
		if ((value = header_value(line, "Content-Length:")) != NULL)
			worker->length = (size_t)strtoull(value, NULL, 10);
		else if ((value = header_value(line, "Transfer-Encoding:")) != NULL &&
				 strncasecmp(value, "chunked", 7) == 0)
		{
			worker->kind = BODY_CHUNKED;
			worker->length = worker->body;
			return;
		}
	}
}

/* Whether the last chunk has come. */
static bool chunks_complete(struct worker *worker)
{
	for (;;)
	{
		char *line = worker->in + worker->length;
		char *end;
		size_t size;

		if (worker->length >= worker->in_len)
			return false;
		end = memmem(line, worker->in_len - worker->length, "\r\n", 2);
		if (end == NULL)
			return false;
		size = (size_t)strtoull(line, NULL, 16);
		if (size > worker->in_len) /* more than has come, and no overflow below */
			return false;
		if (size == 0)
			return worker->in_len - (size_t)(end - worker->in) >= 4;
		worker->length = (size_t)(end - worker->in) + 2 + size + 2;
	}
}

static bool answer_complete(struct worker *worker)
{
	if (worker->kind == BODY_UNKNOWN)
	{
		char *end = memmem(worker->in, worker->in_len, "\r\n\r\n", 4);

		if (end == NULL)
			return false;
		worker_parse_head(worker, end);
	}
	if (worker->kind == BODY_CHUNKED)
		return chunks_complete(worker);
	return worker->in_len - worker->body >= worker->length;
}

int worker_receive(struct worker *worker)
{
	ssize_t received;

	if (worker->in_cap - worker->in_len < 4096)
	{
		worker->in_cap = worker->in_cap == 0 ? 65536 : worker->in_cap * 2;
		worker->in = realloc(worker->in, worker->in_cap + 1);
		if (worker->in == NULL)
			fail("out of memory");
	}
	received = recv(worker->fd, worker->in + worker->in_len, worker->in_cap - worker->in_len, 0);
	if (received < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (received <= 0)
		return -1;
	worker->in_len += (size_t)received;
	worker->in[worker->in_len] = '\0';
	return answer_complete(worker) ? 1 : 0;
}

void worker_reconnect(struct worker *worker)
{
	do
	{
		count_error(0, "the connection was lost");
		close(worker->fd);
		worker_connect(worker);
	} while (!worker_begin(worker));
}

void ask_version(struct worker *worker, char *version, size_t size)
{
	static const char body[] = "[\"sys.version\"]";
	int verdict;
	char *text, *quote;

	worker_prepare(worker, body, (int)sizeof(body) - 1);
	if (!worker_send(worker))
		fail("the server closed the connection");
	while ((verdict = worker_receive(worker)) == 0)
		;
	if (verdict < 0)
		fail("the server closed the connection");
	text = worker->in + worker->body;
	if (worker->status != 200)
		fail("sys.version: status %d: %s", worker->status, text);
	text += strspn(text, "\"");
	quote = strchr(text, '"');
	snprintf(version, size, "%.*s", quote == NULL ? 0 : (int)(quote - text), text);
}
