/*
 * admin: the second listener; see admin.h.
 */
#include "admin/admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/internal.h"
#include "base/buf.h"
#include "front/hosts.h"
#include "base/log.h"
#include "serve/worker.h"

#define MAX_HOST 256

struct route
{
	const char *path;
	void (*handle)(struct admin *admin, struct evhttp_request *request);
};

/* ---- replies ------------------------------------------------------------- */

void admin_reply(struct evhttp_request *request, int status, const char *content_type, struct evbuffer *body)
{
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", content_type);
	evhttp_send_reply(request, status, NULL, body); /* NULL: libevent knows the phrase */
}

void admin_refuse(struct evhttp_request *request, int status, const char *format, ...)
{
	struct evbuffer *body = evbuffer_new();
	va_list args;

	va_start(args, format);
	if (body != NULL)
	{
		evbuffer_add_vprintf(body, format, args);
		evbuffer_add(body, "\n", 1);
	}
	va_end(args);
	admin_reply(request, status, "text/plain; charset=utf-8", body);
	if (body != NULL)
		evbuffer_free(body);
}

void admin_reply_bytes(struct evhttp_request *request, const char *content_type, const struct buf *bytes)
{
	struct evbuffer *body = evbuffer_new();

	if (body == NULL || evbuffer_add(body, bytes->data, bytes->len) != 0)
		admin_refuse(request, 500, "out of memory");
	else
		admin_reply(request, 200, content_type, body);
	if (body != NULL)
		evbuffer_free(body);
}

bool admin_query(struct evhttp_request *request, struct evkeyvalq *query)
{
	const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));

	if (evhttp_parse_query_str(text != NULL ? text : "", query) == 0)
		return true;
	admin_refuse(request, 400, "the query is malformed");
	return false;
}

void admin_forget(struct evhttp_request *request)
{
	/* One whose client went away meanwhile is nobody's else. */
	if (evhttp_request_get_connection(request) == NULL)
		evhttp_request_free(request);
}

static void reply_status(struct evhttp_request *request, int status, const char *word)
{
	struct evbuffer *body = evbuffer_new();

	if (body != NULL)
		evbuffer_add_printf(body, "{\"status\":\"%s\"}", word);
	admin_reply(request, status, "application/json", body);
	if (body != NULL)
		evbuffer_free(body);
}

/* ---- routes -------------------------------------------------------------- */

static void on_live(struct admin *admin, struct evhttp_request *request)
{
	(void)admin;
	reply_status(request, 200, "live");
}

static void on_ready(struct admin *admin, struct evhttp_request *request)
{
	bool reads = !admin->draining, writes = reads && !admin_disk_is_full(admin);
	struct evkeyvalq query;
	const char *asked;
	bool ready;

	if (!admin_query(request, &query))
		return;
	for (unsigned i = 0; i < admin->nworkers; i++)
	{
		writes = writes && worker_ready(admin->workers[i]);
		reads = reads && worker_readable(admin->workers[i]);
	}
	asked = evhttp_find_header(&query, "for");
	ready = asked != NULL && strcmp(asked, "reads") == 0 ? reads : writes;
	reply_status(request, ready ? 200 : 503, ready ? "ready" : reads ? "reads only" : "not ready");
	evhttp_clear_headers(&query);
}

static const struct route routes[] = {
	{"/live", on_live},
	{"/ready", on_ready},
	{"/metrics", admin_metrics},
	{"/debug/connections", admin_connections},
	{"/debug/pprof/allocs", admin_pprof_allocs},
	{"/debug/pprof/heap", admin_pprof_heap},
	{"/debug/pprof/profile", admin_pprof_profile},
};

static void on_request(struct evhttp_request *request, void *arg)
{
	const struct admin *admin = arg;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
	const char *host = evhttp_find_header(evhttp_request_get_input_headers(request), "Host");

	if (host != NULL && !hosts_allow(admin->allowed_hosts, slice_of(host)))
	{
		admin_refuse(request, 403, HOSTS_REFUSAL, 100, host);
		return;
	}
	for (size_t i = 0; path != NULL && i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		if (strcmp(path, routes[i].path) == 0)
		{
			routes[i].handle(arg, request);
			return;
		}
	}
	admin_refuse(request, 404, "there is nothing here");
}

/* ---- life ---------------------------------------------------------------- */

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
	union
	{
		struct sockaddr any;
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
	} address = {0};
	ev_socklen_t len = sizeof(address);
	int port = 0;

	if (getsockname(evhttp_bound_socket_get_fd(bound), &address.any, &len) == 0)
		port = ntohs(address.any.sa_family == AF_INET6 ? address.ipv6.sin6_port : address.ipv4.sin_port);
	log_info("admin listener on http://%s%s%s:%d", strchr(host, ':') ? "[" : "", host,
			 strchr(host, ':') ? "]" : "", port);
}

struct admin *admin_new(struct event_base *base, const char *address, struct worker *const *workers,
						unsigned nworkers, struct buf *error)
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
	admin->base = base;
	admin->workers = workers;
	admin->nworkers = nworkers;
	bound = evhttp_bind_socket_with_handle(admin->http, host, (ev_uint16_t)port);
	if (bound == NULL)
	{
		buf_printf(error, "--admin-listen %s: could not listen: %s", address, strerror(errno));
		admin_free(admin);
		return NULL;
	}
	evhttp_set_allowed_methods(admin->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_timeout(admin->http, 30);
	evhttp_set_gencb(admin->http, on_request, admin);
	log_address(bound, host);
	return admin;
}

void admin_tell_of(struct admin *admin, const struct embedded *embedded, const struct tls *tls)
{
	admin->embedded = embedded;
	admin->tls = tls;
}

void admin_allow_hosts(struct admin *admin, const char *allowed)
{
	admin->allowed_hosts = allowed;
}

void admin_drain(struct admin *admin)
{
	if (admin != NULL)
		admin->draining = true;
}

void admin_free(struct admin *admin)
{
	if (admin == NULL)
		return;
	admin_connections_end(admin);
	admin_pprof_end(admin);
	admin_metrics_end(admin);
	if (admin->http != NULL)
		evhttp_free(admin->http);
	free(admin);
}
