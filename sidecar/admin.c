/*
 * admin: the second listener; see admin.h.
 */
#include "admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define MAX_HOST 256

struct admin
{
	struct evhttp *http;
	bool (*ready)(void *arg);
	void *arg;
};

static void reply(struct evhttp_request *request, int status, const char *word)
{
	struct evbuffer *body = evbuffer_new();

	if (body != NULL)
		evbuffer_add_printf(body, "{\"status\":\"%s\"}", word);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
	evhttp_send_reply(request, status, status == 200 ? "OK" : "Service Unavailable", body);
	if (body != NULL)
		evbuffer_free(body);
}

static void on_live(struct evhttp_request *request, void *arg)
{
	(void)arg;
	reply(request, 200, "live");
}

static void on_ready(struct evhttp_request *request, void *arg)
{
	const struct admin *admin = arg;
	bool ready = admin->ready(admin->arg);

	reply(request, ready ? 200 : 503, ready ? "ready" : "not ready");
}

/* Splits "host:port" or "[host]:port"; false when it is neither. */
static bool split_address(const char *address, char host[MAX_HOST], int *port)
{
	const char *colon = strrchr(address, ':');
	size_t len = colon ? (size_t)(colon - address) : 0;
	char *end;
	long number;

	if (colon == NULL || len >= MAX_HOST)
		return false;
	if (len >= 2 && address[0] == '[' && address[len - 1] == ']')
		snprintf(host, MAX_HOST, "%.*s", (int)len - 2, address + 1);
	else
		snprintf(host, MAX_HOST, "%.*s", (int)len, address);
	number = strtol(colon + 1, &end, 10);
	*port = (int)number;
	return end != colon + 1 && *end == '\0' && number >= 0 && number <= 65535 && host[0] != '\0';
}

static void log_address(struct evhttp_bound_socket *bound, const char *host)
{
	struct sockaddr_storage address;
	ev_socklen_t len = sizeof(address);
	int port = 0;

	if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len) == 0)
		port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
												   : ((struct sockaddr_in *)&address)->sin_port);
	log_info("admin listener (/live, /ready) on http://%s%s%s:%d", strchr(host, ':') ? "[" : "", host,
			 strchr(host, ':') ? "]" : "", port);
}

struct admin *admin_new(struct event_base *base, const char *address, bool (*ready)(void *arg), void *arg,
						struct buf *error)
{
	struct admin *admin = calloc(1, sizeof(*admin));
	struct evhttp_bound_socket *bound;
	char host[MAX_HOST];
	int port;

	if (!split_address(address, host, &port))
	{
		buf_printf(error, "--admin-listen %s: is not host:port", address);
		free(admin);
		return NULL;
	}
	if (admin == NULL || (admin->http = evhttp_new(base)) == NULL)
	{
		buf_add_str(error, "out of memory");
		free(admin);
		return NULL;
	}
	admin->ready = ready;
	admin->arg = arg;
	bound = evhttp_bind_socket_with_handle(admin->http, host, (ev_uint16_t)port);
	if (bound == NULL)
	{
		buf_printf(error, "--admin-listen %s: could not listen: %s", address, strerror(errno));
		admin_free(admin);
		return NULL;
	}
	evhttp_set_allowed_methods(admin->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_timeout(admin->http, 30);
	evhttp_set_cb(admin->http, "/live", on_live, admin);
	evhttp_set_cb(admin->http, "/ready", on_ready, admin);
	log_address(bound, host);
	return admin;
}

void admin_free(struct admin *admin)
{
	if (admin == NULL)
		return;
	if (admin->http != NULL)
		evhttp_free(admin->http);
	free(admin);
}
