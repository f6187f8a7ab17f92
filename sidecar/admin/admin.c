/*
 * admin: the second listener; see admin.h.
 */
#include "admin/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/internal.h"
#include "base/stats.h"
#include "base/url_query.h"
#include "front/hosts.h"
#include "serve/worker.h"

struct route
{
	const char *path;
	void (*handle)(struct admin *admin, struct http_request *request);
};

/* ---- routes -------------------------------------------------------------- */

static void reply_status(struct http_request *request, int status, const char *word)
{
	const struct http_reply reply = {.status = status};
	struct piece pieces[] = {piece_of("{\"status\":\""), piece_of(word), piece_of("\"}")};

	http_reply(request, &reply, pieces, 3);
}

static void on_live(struct admin *admin, struct http_request *request)
{
	(void)admin;
	reply_status(request, 200, "live");
}

/* What of the server is there, all workers together. */
struct readiness
{
	bool appends, reads;
	bool standby; /* reads go to one */
};

static struct readiness look(const struct admin *admin)
{
	struct readiness there = {!admin->draining && !admin_disk_is_full(admin), !admin->draining, true};

	for (unsigned i = 0; i < admin->inquirer.nworkers; i++)
	{
		const struct worker *worker = admin->inquirer.workers[i];

		there.appends = there.appends && worker_ready(worker);
		there.reads = there.reads && worker_readable(worker);
		there.standby = there.standby && worker_reads_from_standby(worker);
	}
	return there;
}

/* The parameter `for` names what is asked for, reads or appends; without it, it is both. */
static bool is_wanted(const struct http_request *request, const struct readiness *there)
{
	struct buf asked = {0};
	bool given = url_query_find(http_query(request), "for", &asked);
	struct slice what = {given ? asked.data : "", asked.len};
	bool ready = slice_is(what, "reads")	 ? there->reads
				 : slice_is(what, "appends") ? there->appends
											 : there->appends && there->reads;

	buf_free(&asked);
	return ready;
}

static void on_ready(struct admin *admin, struct http_request *request)
{
	const struct readiness there = look(admin);
	bool ready = is_wanted(request, &there);
	const struct http_reply reply = {.status = ready ? 200 : 503};
	const char *word = ready		   ? "ready"
					   : there.reads   ? "reads only"
					   : there.appends ? "appends only"
									   : "not ready";
	const char *place = !there.reads ? "null" : there.standby ? "\"standby\"" : "\"primary\"";
	char text[120];
	struct piece body;

	snprintf(text, sizeof(text), "{\"status\":\"%s\",\"appends\":%s,\"reads\":%s,\"readsFrom\":%s}", word,
			 there.appends ? "true" : "false", there.reads ? "true" : "false", place);
	body = piece_of(text);
	http_reply(request, &reply, &body, 1);
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

static const struct route *find_route(const struct http_request *request)
{
	struct slice path = http_path(request);

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		if (slice_is(path, routes[i].path))
			return &routes[i];
	}
	return NULL;
}

static void on_headers(void *arg, struct http_request *request)
{
	const struct admin *admin = arg;
	struct slice method = http_method(request);
	struct slice host = http_header(request, "Host");
	const struct route *route;

	if (!hosts_allow(admin->allowed_hosts, host))
		admin_refuse(request, 403, HOSTS_REFUSAL, (int)(host.len < 100 ? host.len : 100), host.bytes);
	else if (!slice_is(method, "GET") && !slice_is(method, "HEAD"))
		admin_refuse(request, 405, "method %.*s is not allowed here",
					 (int)(method.len < 40 ? method.len : 40), method.bytes);
	else if ((route = find_route(request)) == NULL)
		admin_refuse(request, 404, "there is nothing here");
	else
		http_set_context(request, (void *)route);
}

static void on_body(void *arg, struct http_request *request)
{
	const struct route *route = http_context(request);

	route->handle(arg, request);
}

/* A request's context is its route, which stays. */
static void on_ended(void *arg, void *context)
{
	(void)arg;
	(void)context;
}

static void on_refuse(void *arg, struct http_request *request, int status, const char *message)
{
	(void)arg;
	admin_refuse(request, status, "%s", message);
}

/* ---- life ---------------------------------------------------------------- */

/* Scrapers and probes are few; the connections are of OF_PROCESS in serve/descriptors.c. */
static const struct http_options limits = {
	.max_header = 65536,
	.max_body = 4096, /* it means nothing here */
	.request_timeout = 30,
	.idle_timeout = 30,
	.max_connections = 24,
	.max_turned_away = 16,
	.max_held = (size_t)64 * 1024 * 1024,
	.content_type = "application/json",
};

struct admin *admin_new(struct event_base *base, evutil_socket_t listener, struct worker *const *workers,
						unsigned nworkers)
{
	static const struct http_handlers handlers = {
		.headers = on_headers, .body = on_body, .refuse = on_refuse, .ended = on_ended};
	struct admin *admin = calloc(1, sizeof(*admin));
	struct http_options options = limits;

	if (admin != NULL)
		options.stats = admin->stats = stats_new();
	if (options.stats != NULL)
		admin->http = http_server_new(base, &options, &handlers, admin, &listener, 1);
	if (options.stats == NULL || admin->http == NULL)
	{
		evutil_closesocket(listener);
		admin_free(admin);
		return NULL;
	}
	admin->inquirer.base = base;
	admin->inquirer.workers = workers;
	admin->inquirer.nworkers = nworkers;
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
	/* First: then no request begins anything, and what is replied to those that wait goes nowhere. */
	if (admin->http != NULL)
		http_server_free(admin->http);
	inquiry_end_all(&admin->inquirer);
	free(admin->stats);
	free(admin);
}
