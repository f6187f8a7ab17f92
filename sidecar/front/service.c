/*
 * service.c: the public HTTP side of a worker: its routes, and the way of a request on a protected path (see
 * service.h and internal.h).
 *
 * What is known of a request, its route and whose it is, is found out once and kept in a struct exchange,
 * which ends with the request.  A token is read when the head is in, and checked with Postgres when the body
 * is; then the method is looked at, and the route starts it.  The service itself goes when it was freed and
 * its last exchange ended.
 */
#include "front/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "front/cors.h"
#include "db/db.h"
#include "bulk/export.h"
#include "live/feed.h"
#include "front/hosts.h"
#include "front/internal.h"
#include "http/etag.h"
#include "http/http.h"
#include "front/page.h"
#include "places/places.h"
#include "base/stats.h"
#include "live/subscribe.h"
#include "live/pending.h"
#include "base/version.h"

/* ---- simple replies --------------------------------------------------------- */

static void reply_wrong_method(struct http_request *request, const char *allow, const char *more)
{
	struct error error;
	struct slice method = http_method(request);
	char headers[1024];

	error_set(&error, ERROR_INVALID_REQUEST, "method %.*s is not allowed here",
			  (int)(method.len < 40 ? method.len : 40), method.bytes);
	http_reply_error(request, &error, 405, front_join_headers(headers, sizeof(headers), allow, more));
}

static bool is_get(struct http_request *request)
{
	struct slice method = http_method(request);

	return slice_is(method, "GET") || slice_is(method, "HEAD");
}

static void answer_get(struct http_request *request, const char *text)
{
	if (is_get(request))
		front_reply_text(request, 200, NULL, text);
	else
		reply_wrong_method(request, "Allow: GET, HEAD\r\n", NULL);
}

static void health_body(struct exchange *exchange)
{
	answer_get(exchange->request, "{\"status\":\"ok\"}");
}

static void version_body(struct exchange *exchange)
{
	answer_get(exchange->request, "{\"version\":\"" MILLRACE_VERSION "\"}");
}

/* The document of the methods, for those who make clients. */
static void document_body(struct exchange *exchange)
{
	struct slice document = methods_document(&exchange->service->methods);
	const struct http_reply reply = {.status = 200, .headers = exchange->cors, .compress = true};
	struct piece piece = {.bytes = document.bytes, .len = document.len};
	char etag[HTTP_ETAG_LEN + 1];
	struct error error;

	if (!is_get(exchange->request))
		reply_wrong_method(exchange->request, "Allow: GET, HEAD\r\n", exchange->cors);
	else if (document.bytes == NULL)
	{
		error_set(&error, ERROR_INTERNAL_ERROR, "out of memory");
		exchange_fail(exchange, &error, 500);
	}
	else
	{
		http_etag_make(document, etag);
		http_reply_tagged(exchange->request, &reply, etag, &piece);
	}
}

static void not_found(struct http_request *request)
{
	struct error error;
	struct slice path = http_path(request);

	error_set(&error, ERROR_NOT_FOUND, "there is nothing at %.*s", (int)(path.len < 200 ? path.len : 200),
			  path.bytes);
	http_reply_error(request, &error, 404, NULL);
}

static void page_body(struct exchange *exchange)
{
	struct http_request *request = exchange->request;

	if (!is_get(request))
		reply_wrong_method(request, "Allow: GET, HEAD\r\n", NULL);
	else if (!page_reply(request))
		not_found(request);
}

/* ---- protected paths ------------------------------------------------------- */

static void on_authorised(void *arg, const struct error *error, const struct grant *grant)
{
	struct exchange *exchange = arg;
	struct http_request *request = exchange->request;
	const char *method = exchange->route->method;
	struct error refusal;

	exchange->grant = *grant;
	if (error->code == ERROR_BACKEND_UNAVAILABLE && route_subscribe_pend(exchange))
		return;
	if (error->code != ERROR_NONE)
		exchange_fail(exchange, error, error_status(error->code));
	else if (!slice_is(http_method(request), method))
	{
		struct error wrong;
		char allow[40];
		char headers[1024];

		error_set(&wrong, ERROR_INVALID_REQUEST, "only %s is allowed here", method);
		snprintf(allow, sizeof(allow), "Allow: %s\r\n", method);
		http_reply_error(request, &wrong, 405,
						 front_join_headers(headers, sizeof(headers), allow, exchange->cors));
	}
	else if (!exchange_is_granted(exchange, &refusal))
		exchange_fail(exchange, &refusal, error_status(refusal.code));
	else
		exchange->route->start(exchange);
}

static void protected_body(struct exchange *exchange)
{
	struct service *service = exchange->service;

	const struct place *place = places_of(service->places, exchange->claim.name);

	if ((place != NULL && db_readable(place->db)) || !route_subscribe_pend(exchange))
		auth_check(service->auth, &exchange->claim, on_authorised, exchange);
}

/* ---- import, export ----------------------------------------------------------- */

static void protected_headers(struct exchange *exchange)
{
	exchange_read_claim(exchange);
}

static void import_headers(struct exchange *exchange)
{
	if (exchange_read_claim(exchange))
		http_stream_body(exchange->request);
}

static void import_begin(struct exchange *exchange)
{
	const struct service *service = exchange->service;
	const struct import_target target = {.namespace_name = exchange->claim.name,
										 .redacted = (exchange->grant.rights & RIGHT_REMOVE) != 0};

	import_start(service->places, exchange->grant.place, &target, &service->import_limits, exchange->request);
}

static void export_begin(struct exchange *exchange)
{
	const struct service *service = exchange->service;

	export_start(service->places, exchange->grant.place, exchange->claim.name, service->max_exports,
				 exchange->request);
}

/* ---- routes ------------------------------------------------------------------ */

static const struct route routes[] = {
	{"/rpc", route_rpc_headers, protected_body, "POST", RIGHT_NONE, route_rpc_start, NULL, false, true},
	{"/subscribe", route_subscribe_headers, protected_body, "GET", RIGHT_READ, route_subscribe_start,
	 CORS_ANY_ORIGIN, true, false},
	{"/import", import_headers, protected_body, "POST", RIGHT_APPEND, import_begin, NULL, true, false},
	{"/export", protected_headers, protected_body, "GET", RIGHT_READ, export_begin, NULL, true, false},
	{.path = "/health", .body = health_body},
	{.path = "/version", .body = version_body},
	{.path = "/openrpc.json", .body = document_body},
	{.path = "/ui", .body = page_body},
};

static const struct route *find_route(const struct service *service, const struct http_request *request)
{
	struct slice path = http_path(request);

	if (page_has(path))
		path = slice_of(service->has_page ? "/ui" : "");

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		if (slice_is(path, routes[i].path))
			return &routes[i];
	}
	return NULL;
}

/* Without tokens it is only where a request comes from that can tell a page of another site. */
static bool is_foreign(const struct service *service, const struct http_request *request, struct error *error)
{
	struct slice host = http_header(request, "Host");
	struct slice origin = http_header(request, "Origin");

	if (!hosts_allow(service->allowed_hosts, host))
		error_set(error, ERROR_AUTH_UNAUTHORIZED, HOSTS_REFUSAL, (int)(host.len < 100 ? host.len : 100),
				  host.bytes);
	else if (origin.bytes != NULL && !hosts_are_one(origin, host) && !cors_allows(service->cors, origin))
		error_set(
			error, ERROR_AUTH_UNAUTHORIZED,
			"in test mode pages of other sites are refused unless --cors-origin names them; Origin is %.*s",
			(int)(origin.len < 100 ? origin.len : 100), origin.bytes);
	else
		return false;
	return true;
}

static void on_headers(void *arg, struct http_request *request)
{
	struct service *service = arg;
	struct exchange *exchange = exchange_new(service, request, find_route(service, request));
	struct error error;

	if (exchange == NULL)
	{
		error_set(&error, ERROR_INTERNAL_ERROR, "out of memory");
		http_reply_error(request, &error, 500, NULL);
	}
	else if (service->without_tokens && is_foreign(service, request, &error))
		http_reply_error(request, &error, 403, NULL);
	else if (exchange->route == NULL)
		not_found(request);
	else if (exchange->route->headers != NULL)
		exchange->route->headers(exchange);
}

/* A page must be able to read why it was refused. */
static void on_refuse(void *arg, struct http_request *request, int status, const char *message)
{
	const struct exchange *exchange = http_context(request);
	enum error_code code = status == 413   ? ERROR_PAYLOAD_TOO_LARGE
						   : status == 503 ? ERROR_OVERLOADED
										   : ERROR_INVALID_REQUEST;
	struct error error;

	if (exchange == NULL) /* its head is not all in, or not understood */
		exchange = exchange_new(arg, request, find_route(arg, request));
	error_set(&error, code, "%s", message);
	http_reply_error(request, &error, status, exchange != NULL ? exchange->cors : NULL);
}

static unsigned on_error(void *arg, const struct error *error, struct buf *body)
{
	(void)arg;
	error_write_body(body, error);
	return error_retry_after(error);
}

static void on_body(void *arg, struct http_request *request)
{
	struct exchange *exchange = http_context(request);

	(void)arg;
	exchange->route->body(exchange);
}

/* ---- the end of requests -------------------------------------------------------- */

#define N_ROUTES (sizeof(routes) / sizeof(routes[0]))
#define OTHER_ROUTE (STATS_ROUTES - 1)

_Static_assert(N_ROUTES <= OTHER_ROUTE, "STATS_ROUTES");

const char *service_route_name(unsigned route)
{
	if (route < N_ROUTES)
		return routes[route].path;
	return route == OTHER_ROUTE ? "other" : NULL;
}

static void on_done(void *arg, struct http_request *request, const struct http_outcome *outcome)
{
	struct service *service = arg;
	const struct exchange *exchange = http_context(request); /* NULL: out of memory */
	const struct route *route = exchange != NULL ? exchange->route : NULL;
	size_t index = route != NULL ? (size_t)(route - routes) : OTHER_ROUTE;
	const struct request_log_entry entry = {
		.namespace_name = exchange != NULL ? exchange->claim.name : "",
		.has_calls = route != NULL && route->has_calls,
		.slow = outcome->ms >= service->slow_ms && (route == NULL || !route->lasts),
	};

	stats_add(&service->methods.stats->requests[index][request_status_index(outcome->status)], 1);
	request_log_add(&service->log, &entry, request, outcome);
}

/* The last call about a request, from within the call that ended its reply. */
static void on_ended(void *arg, void *context)
{
	struct service *service = arg;

	pool_give(&service->spare_exchanges, context);
	service_leave(service);
}

void service_summarise(const struct service *service, struct subscriptions_summary *summary)
{
	subscriptions_summarise(service->subscriptions, summary);
}

/* ---- life -------------------------------------------------------------------- */

static struct http_options http_options_of(const struct config *config, const struct shared *shared,
										   struct places *places)
{
	return (struct http_options){
		.max_header = (size_t)config->max_header,
		.max_body = (size_t)config->max_body,
		.request_timeout = (unsigned)config->request_timeout,
		.idle_timeout = (unsigned)config->idle_timeout,
		.max_connections = (unsigned)config->max_connections,
		.max_turned_away = 64, /* of OF_WORKER in serve/descriptors.c */
		.max_held = (size_t)config->buffer_bytes,
		.tls = shared->tls,
		.content_type = "application/json",
		.slow_ms = (unsigned)config->log_slow,
		.stats = db_stats(places_own(places)->db),
	};
}

static void set_limits(struct service *service, const struct config *config)
{
	service->rpc.max_gathered = (size_t)config->buffer_bytes;
	service->slow_ms = (uint64_t)config->log_slow;
	service->trace_metadata = config->trace_metadata;
	service->without_tokens = config->test_mode;
	service->allowed_hosts = config->allowed_hosts;
	service->has_page = strcmp(config->ui, "on") == 0;
	service->import_limits.max_line = (size_t)config->max_body;
	service->import_limits.max_discarded = (size_t)config->max_body;
	service->import_limits.max_running = (size_t)config->max_imports;
	service->max_exports = (size_t)config->max_exports;
}

/* Makes what the service passes requests to.  False: out of memory. */
static bool make_parts(struct service *service, struct event_base *base, const struct config *config,
					   struct shared *shared)
{
	const struct feeds_options feeds_options = {
		.wakes = &shared->wakes,
		.generation = &shared->token_generation,
		.check_tokens = !config->test_mode,
	};
	bool has_cors = config->cors_origin != NULL && config->cors_origin[0] != '\0';

	service->feeds = feeds_new(base, service->places, &feeds_options);
	if (service->feeds != NULL)
		front_connect_consumers(service, base);
	if (service->feeds != NULL)
		service->subscriptions = subscriptions_new(base, service->places, service->feeds, CORS_ANY_ORIGIN);
	service->auth = auth_new(service->places, &shared->quotas, &shared->token_generation, config->test_mode);
	if (service->auth != NULL)
		service->pending = subscribe_pending_new(base, service->auth, CORS_ANY_ORIGIN);
	if (has_cors)
		service->cors = cors_new(config->cors_origin);
	return service->methods.consumers != NULL && service->subscriptions != NULL && service->pending != NULL &&
		   (!has_cors || service->cors != NULL);
}

struct service *service_new(struct event_base *base, const struct config *config, struct places *places,
							struct shared *shared, const evutil_socket_t *listeners, int nlisteners)
{
	static const struct http_handlers handlers = {.headers = on_headers,
												  .body = on_body,
												  .refuse = on_refuse,
												  .error = on_error,
												  .done = on_done,
												  .ended = on_ended};
	const struct http_options options = http_options_of(config, shared, places);
	struct service *service = calloc(1, sizeof(*service));

	if (service == NULL)
		return NULL;
	service->places = service->methods.places = places;
	service->methods.stats = options.stats;
	service->methods.token_generation = &shared->token_generation;
	service->rpc.methods = &service->methods;
	service->import_limits.base = base;
	set_limits(service, config);
	if (make_parts(service, base, config, shared))
		service->http = http_server_new(base, &options, &handlers, service, listeners, nlisteners);
	if (service->http != NULL)
		return service;
	service_dispose(service);
	return NULL;
}

void service_drain(struct service *service, void (*drained)(void *arg), void *arg)
{
	http_server_drain(service->http, drained, arg);
	places_drain(service->places);
	consumers_end(service->methods.consumers);
	subscribe_pending_end(service->pending);
	subscriptions_end(service->subscriptions);
}

void service_free(struct service *service)
{
	service->freed = true;
	service->exchanges++; /* keeps it until the end of this function */
	http_server_free(service->http);
	service_leave(service);
}

void service_set_process(struct service *service, const struct process_view *process)
{
	service->methods.process = process;
}

void service_walk(const struct service *service, const struct service_visitor *visitor, void *arg)
{
	http_server_walk(service->http, visitor->client, arg);
	subscriptions_walk(service->subscriptions, visitor->subscriber, arg);
}
