/*
 * service.c: the public HTTP side of a worker: routes, and what becomes of a request on a protected path.
 *
 * What is known of a request, its route and whose it is, is found out once and kept in a struct exchange,
 * which ends with the request.  A token is read when the head is in, and checked with Postgres when the body
 * is; then the method is looked at, and the route starts it.  The parts of a reply of /rpc are passed to the
 * socket as it drains.  The service itself goes when it was freed and its last exchange ended.
 */
#include "front/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "access/auth.h"
#include "base/clock.h"
#include "base/config.h"
#include "front/cors.h"
#include "db/db.h"
#include "bulk/export.h"
#include "live/feed.h"
#include "front/hosts.h"
#include "http/http.h"
#include "bulk/import.h"
#include "base/log.h"
#include "methods/methods.h"
#include "base/pool.h"
#include "rpc/rpc.h"
#include "base/stats.h"
#include "live/subscribe.h"
#include "live/pending.h"
#include "base/version.h"

struct service
{
	struct http_server *http;
	struct auth *auth;
	struct methods methods;
	struct rpc rpc;
	struct feeds *feeds;
	struct subscriptions *subscriptions;
	struct subscribe_pending *pending;
	struct import_limits import_limits;
	size_t max_exports; /* running at a time */
	uint64_t slow_ms;
	uint64_t log_second;   /* the last one in which a request was logged, */
	unsigned log_lines;	   /* how many were, */
	unsigned log_left_out; /* and how many were not */
	struct cors *cors;	   /* of /rpc; NULL = off */
	bool without_tokens;   /* test mode: */
	const char *allowed_hosts;
	unsigned exchanges; /* and subscriptions that are pending */
	struct pool spare_exchanges;
	bool freed;
};

struct exchange
{
	struct service *service;
	const struct route *route; /* NULL: there is nothing at its path */
	struct http_request *request;
	const char *cors;		 /* header lines of every reply of a protected path; NULL = none */
	struct claim claim;		 /* .name empty: none was read */
	struct quota *quota;	 /* of the namespace; NULL: it has no limits */
	struct rpc_request *rpc; /* while its reply is streamed */
	bool streaming;
};

struct route
{
	const char *path;
	void (*headers)(struct exchange *exchange);
	void (*body)(struct exchange *exchange);
	/* Of a protected path: */
	const char *method;
	void (*start)(struct exchange *exchange); /* when the token opens the namespace */
	const char *cors;						  /* NULL = the service's */
	bool lasts;								  /* as long as its client likes: never slow */
};

static const struct route *find_route(const struct http_request *request);
static void rpc_begin(struct exchange *exchange);
static void subscribe_begin(struct exchange *exchange);
static bool pend(struct exchange *exchange);

/* ---- simple replies --------------------------------------------------------- */

static void reply_text(struct http_request *request, int status, const char *headers, const char *text)
{
	const struct http_reply reply = {.status = status, .headers = headers};
	struct piece piece = piece_of(text);

	http_reply(request, &reply, &piece, 1);
}

/* Joins header lines, either of which may be NULL. */
static const char *join_headers(char *out, size_t cap, const char *a, const char *b)
{
	snprintf(out, cap, "%s%s", a != NULL ? a : "", b != NULL ? b : "");
	return out;
}

static void reply_wrong_method(struct http_request *request, const char *allow, const char *more)
{
	struct error error;
	struct slice method = http_method(request);
	char headers[1024];

	error_set(&error, ERROR_INVALID_REQUEST, "method %.*s is not allowed here",
			  (int)(method.len < 40 ? method.len : 40), method.bytes);
	http_reply_error(request, &error, 405, join_headers(headers, sizeof(headers), allow, more));
}

static bool is_get(struct http_request *request)
{
	struct slice method = http_method(request);

	return slice_is(method, "GET") || slice_is(method, "HEAD");
}

static void answer_get(struct http_request *request, const char *text)
{
	if (is_get(request))
		reply_text(request, 200, NULL, text);
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

static void not_found(struct http_request *request)
{
	struct error error;
	struct slice path = http_path(request);

	error_set(&error, ERROR_NOT_FOUND, "there is nothing at %.*s", (int)(path.len < 200 ? path.len : 200),
			  path.bytes);
	http_reply_error(request, &error, 404, NULL);
}

/* ---- exchanges ------------------------------------------------------------- */

static void dispose(struct service *service)
{
	if (service->auth != NULL)
		auth_free(service->auth);
	consumers_free(service->methods.consumers);
	subscribe_pending_free(service->pending);
	subscriptions_free(service->subscriptions);
	feeds_free(service->feeds);
	pool_empty(&service->spare_exchanges);
	rpc_free(&service->rpc);
	cors_free(service->cors);
	free(service);
}

/* Header lines of a reply of /rpc; NULL: none. */
static const char *cors_of(const struct service *service, const struct http_request *request)
{
	if (service->cors == NULL)
		return NULL;
	return cors_headers(service->cors, http_header(request, "Origin"));
}

/* Finds the route of a request, which keeps the exchange.  NULL: out of memory. */
static struct exchange *exchange_new(struct service *service, struct http_request *request)
{
	struct exchange *exchange = pool_take(&service->spare_exchanges, sizeof(*exchange));

	if (exchange == NULL)
		return NULL;
	exchange->service = service;
	exchange->route = find_route(request);
	exchange->request = request;
	exchange->cors = exchange->route != NULL && exchange->route->cors != NULL ? exchange->route->cors
																			  : cors_of(service, request);
	exchange->claim.name[0] = '\0';
	exchange->quota = NULL;
	exchange->rpc = NULL;
	exchange->streaming = false;
	service->exchanges++;
	http_set_context(request, exchange);
	return exchange;
}

static void leave(struct service *service)
{
	service->exchanges--;
	if (service->freed && service->exchanges == 0)
		dispose(service);
}

/* The last call about a request, from within whatever ended its reply. */
static void on_ended(void *arg, void *context)
{
	struct service *service = arg;

	pool_give(&service->spare_exchanges, context);
	leave(service);
}

static void exchange_fail(struct exchange *exchange, const struct error *error, int status)
{
	if (status >= 500)
		http_note(exchange->request, slice_of(error->message));
	http_reply_error(exchange->request, error, status, exchange->cors);
}

/* ---- /rpc ------------------------------------------------------------------ */

static void on_drained(void *arg, bool gone)
{
	struct exchange *exchange = arg;

	if (!gone)
	{
		rpc_resume(exchange->rpc);
		return;
	}
	rpc_cancel(exchange->rpc);
	http_reply_abort(exchange->request);
}

/* A part of a reply that does not come whole. */
static void stream_part(struct exchange *exchange, struct rpc_reply *reply)
{
	struct http_request *request = exchange->request;

	if (!exchange->streaming)
	{
		const struct http_reply head = {.status = reply->status, .headers = exchange->cors};

		http_reply_start(request, &head);
		exchange->streaming = true;
	}
	http_reply_part(request, reply->pieces, reply->npieces);
	if (reply->more)
	{
		exchange->rpc = reply->request;
		http_reply_when_drained(request, on_drained, exchange);
	}
	else if (reply->broken)
		http_reply_abort(request);
	else
		http_reply_end(request);
}

/* The client of a request that waits, as it may for long. */
static void on_rpc_gone(void *arg)
{
	struct exchange *exchange = arg;

	rpc_abandon(exchange->rpc);
}

static void on_rpc_reply(void *arg, struct rpc_reply *reply)
{
	struct exchange *exchange = arg;
	struct http_request *request = exchange->request;
	char headers[1024];
	struct http_reply head = {.status = reply->status, .headers = exchange->cors};

	if (reply->waiting)
	{
		exchange->rpc = reply->request;
		http_reply_when_gone(request, on_rpc_gone, exchange);
		return;
	}
	if (reply->failures.len > 0)
		http_note(request, reply->failures);
	if (exchange->streaming || reply->more)
	{
		stream_part(exchange, reply);
		return;
	}
	if (reply->retry_after > 0)
	{
		char retry[40];

		snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", reply->retry_after);
		head.headers = join_headers(headers, sizeof(headers), retry, head.headers);
	}
	http_reply(request, &head, reply->pieces, reply->npieces);
}

/* Each call of /rpc asks for itself. */
static bool is_within_quota(const struct exchange *exchange, struct error *error)
{
	return exchange->quota == NULL || exchange->route->start == rpc_begin ||
		   quota_grants(exchange->quota, 0, error);
}

static void on_authorised(void *arg, const struct error *error, struct quota *quota)
{
	struct exchange *exchange = arg;
	struct http_request *request = exchange->request;
	const char *method = exchange->route->method;
	struct error refusal;

	exchange->quota = quota;
	if (error->code == ERROR_BACKEND_UNAVAILABLE && pend(exchange))
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
		http_reply_error(request, &wrong, 405, join_headers(headers, sizeof(headers), allow, exchange->cors));
	}
	else if (!is_within_quota(exchange, &refusal))
		exchange_fail(exchange, &refusal, error_status(refusal.code));
	else
		exchange->route->start(exchange);
}

/*
 * What can be said before the body is in: a preflight's answer, or that there is no token.  False: it was
 * said.
 */
static bool read_claim(struct exchange *exchange)
{
	struct http_request *request = exchange->request;
	const struct credentials credentials = {.query = http_query(request),
											.authorization = http_header(request, "Authorization")};
	struct error error;

	if (auth_read(exchange->service->auth, &credentials, &exchange->claim, &error))
		return true;
	exchange->claim.name[0] = '\0';
	exchange_fail(exchange, &error, error_status(error.code));
	return false;
}

static bool is_preflight(struct http_request *request)
{
	return slice_is(http_method(request), "OPTIONS") &&
		   http_header(request, "Access-Control-Request-Method").bytes != NULL;
}

static void rpc_headers(struct exchange *exchange)
{
	char headers[1024];

	if (exchange->service->cors != NULL && is_preflight(exchange->request))
		reply_text(exchange->request, 204,
				   join_headers(headers, sizeof(headers), exchange->cors,
								CORS_PREFLIGHT("POST", "Authorization, Content-Type, X-Request-Id")),
				   "");
	else
		read_claim(exchange);
}

static void protected_body(struct exchange *exchange)
{
	struct service *service = exchange->service;

	if (db_readable(service->methods.db) || !pend(exchange))
		auth_check(service->auth, &exchange->claim, on_authorised, exchange);
}

static void rpc_begin(struct exchange *exchange)
{
	const struct rpc_caller caller = {.namespace_name = exchange->claim.name, .quota = exchange->quota};
	struct slice coding = http_header(exchange->request, "Content-Encoding");
	struct error error;

	if (coding.len > 0 && !(coding.len == 8 && strncasecmp(coding.bytes, "identity", 8) == 0))
	{
		error_set(&error, ERROR_INVALID_REQUEST, "no Content-Encoding is understood here, as %.*s is",
				  (int)(coding.len < 40 ? coding.len : 40), coding.bytes);
		exchange_fail(exchange, &error, 415);
		return;
	}
	rpc_start(&exchange->service->rpc, &caller, http_body(exchange->request), on_rpc_reply, exchange);
}

/* ---- import, export, subscribe ------------------------------------------------ */

static void protected_headers(struct exchange *exchange)
{
	read_claim(exchange);
}

static void subscribe_headers(struct exchange *exchange)
{
	if (is_preflight(exchange->request))
		reply_text(exchange->request, 204,
				   SUBSCRIBE_HEADERS CORS_PREFLIGHT(
					   "GET", "Authorization, Cache-Control, Last-Event-ID, X-Request-Id"),
				   "");
	else
		read_claim(exchange);
}

static void import_headers(struct exchange *exchange)
{
	if (read_claim(exchange))
		http_stream_body(exchange->request);
}

static void import_begin(struct exchange *exchange)
{
	const struct service *service = exchange->service;

	import_start(service->methods.db, exchange->claim.name, &service->import_limits, exchange->request);
}

static void export_begin(struct exchange *exchange)
{
	const struct service *service = exchange->service;

	export_start(service->methods.db, exchange->claim.name, service->max_exports, exchange->request);
}

static void go_on_pending(struct exchange *exchange, const struct error *error)
{
	struct error refusal;

	if (error->code == ERROR_NONE && !is_within_quota(exchange, &refusal))
		error = &refusal;
	if (error->code == ERROR_NONE)
	{
		subscribe_go_on(exchange->service->subscriptions, exchange->request, &exchange->claim);
		return;
	}
	http_note(exchange->request, slice_of(error->message));
	http_reply_end(exchange->request);
}

/* Of a subscription that was pending; see live/pending.h. */
static void on_pending(void *arg, struct http_request *request, const struct error *error,
					   struct quota *quota)
{
	struct exchange *exchange = request != NULL ? http_context(request) : NULL;

	if (exchange != NULL)
	{
		exchange->quota = quota;
		go_on_pending(exchange, error);
	}
	leave(arg);
}

/* Postgres can't be asked about the token.  True: the exchange is dealt with all the same. */
static bool pend(struct exchange *exchange)
{
	struct service *service = exchange->service;
	struct http_request *request = exchange->request;

	if (exchange->route->start != subscribe_begin || !slice_is(http_method(request), exchange->route->method))
		return false;
	if (!subscribe_is_well_formed(request))
	{
		subscribe_begin(exchange);
		return true;
	}
	service->exchanges++; /* which may last longer than the request */
	if (subscribe_pending_add(service->pending, request, &exchange->claim, on_pending, service))
		return true;
	service->exchanges--;
	return false;
}

static void subscribe_begin(struct exchange *exchange)
{
	subscribe_start(exchange->service->subscriptions, exchange->request, &exchange->claim);
}

/* ---- routes ------------------------------------------------------------------ */

static const struct route routes[] = {
	{"/rpc", rpc_headers, protected_body, "POST", rpc_begin, NULL, false},
	{"/subscribe", subscribe_headers, protected_body, "GET", subscribe_begin, SUBSCRIBE_HEADERS, true},
	{"/import", import_headers, protected_body, "POST", import_begin, NULL, true},
	{"/export", protected_headers, protected_body, "GET", export_begin, NULL, true},
	{"/health", NULL, health_body, NULL, NULL, NULL, false},
	{"/version", NULL, version_body, NULL, NULL, NULL, false},
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
	struct exchange *exchange = exchange_new(service, request);
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
		exchange = exchange_new(arg, request);
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

/* ---- what became of requests ---------------------------------------------------- */

#define N_ROUTES (sizeof(routes) / sizeof(routes[0]))
#define OTHER_ROUTE (STATS_ROUTES - 1)
#define OTHER_STATUS (STATS_STATUSES - 1)
#define LOG_LINES_MAX 100 /* about requests, in a second */

_Static_assert(N_ROUTES <= OTHER_ROUTE, "STATS_ROUTES");

/* The most frequent first. */
static const char *const status_names[] = {"200", "204", "409", "503", "500", "400", "401", "403", "404",
										   "405", "408", "413", "415", "417", "429", "431", "501", "505"};

#define N_STATUSES (sizeof(status_names) / sizeof(status_names[0]))

_Static_assert(N_STATUSES <= OTHER_STATUS, "STATS_STATUSES");

const char *service_route_name(unsigned route)
{
	if (route < N_ROUTES)
		return routes[route].path;
	return route == OTHER_ROUTE ? "other" : NULL;
}

const char *service_status_name(unsigned status)
{
	if (status < N_STATUSES)
		return status_names[status];
	return status == OTHER_STATUS ? "other" : NULL;
}

static size_t status_index(int status)
{
	const char name[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
						 (char)('0' + status % 10), '\0'};

	for (size_t i = 0; i < N_STATUSES; i++)
	{
		if (memcmp(status_names[i], name, sizeof(name)) == 0)
			return i;
	}
	return OTHER_STATUS;
}

/* A server that is failing has better things to do than to say so ten thousand times a second. */
static bool may_log(struct service *service)
{
	uint64_t second = clock_ms() / 1000;

	if (second != service->log_second)
	{
		if (service->log_left_out > 0)
			log_warning("%u more requests failed or were slow within a second", service->log_left_out);
		service->log_second = second;
		service->log_lines = service->log_left_out = 0;
	}
	if (service->log_lines < LOG_LINES_MAX)
	{
		service->log_lines++;
		return true;
	}
	service->log_left_out++;
	return false;
}

struct log_line
{
	struct log_field fields[LOG_MAX_FIELDS];
	unsigned n;
};

static void add_field(struct log_line *line, const char *name, struct slice value, bool is_number)
{
	if (value.len > 0)
		line->fields[line->n++] = (struct log_field){name, value, is_number};
}

static struct slice print_number(char text[24], uint64_t number)
{
	return (struct slice){text, (size_t)snprintf(text, 24, "%" PRIu64, number)};
}

/*
 * What was asked for is read from the request once more, as it is told of few.  The path alone: there may be
 * a token behind the question mark.
 */
static void log_request(enum log_level level, const char *what, struct http_request *request,
						const struct http_outcome *outcome)
{
	const struct exchange *exchange = http_context(request); /* NULL: out of memory */
	struct rpc_description asked = {.calls = 0};
	struct log_line line = {.n = 0};
	struct http_client client;
	char status[24], ms[24], calls[24];

	http_request_describe(request, &client);
	if (exchange != NULL && exchange->route != NULL && exchange->route->start == rpc_begin)
		rpc_describe(http_body(request), &asked);
	add_field(&line, "id", outcome->id, false);
	add_field(&line, "method", http_method(request), false);
	add_field(&line, "path", http_path(request), false);
	add_field(&line, "status", print_number(status, (uint64_t)outcome->status), true);
	add_field(&line, "ms", print_number(ms, outcome->ms), true);
	add_field(&line, "namespace", slice_of(exchange != NULL ? exchange->claim.name : ""), false);
	add_field(&line, "rpc", asked.method, false);
	if (asked.calls > 0)
		add_field(&line, "calls", print_number(calls, asked.calls), true);
	add_field(&line, "stream", asked.name, false);
	add_field(&line, "peer", slice_of(client.peer), false);
	log_event(level, line.fields, line.n, "%s%s%s", what, outcome->note != NULL ? ": " : "",
			  outcome->note != NULL ? outcome->note : "");
}

static void on_done(void *arg, struct http_request *request, const struct http_outcome *outcome)
{
	struct service *service = arg;
	const struct exchange *exchange = http_context(request);
	const struct route *route = exchange != NULL ? exchange->route : NULL;
	size_t index = route != NULL ? (size_t)(route - routes) : OTHER_ROUTE;
	bool failed = outcome->status >= 500 || outcome->note != NULL;
	bool slow = outcome->ms >= service->slow_ms && (route == NULL || !route->lasts);

	stats_add(&service->methods.stats->requests[index][status_index(outcome->status)], 1);
	if (log_is_debug() && !failed && !slow)
		log_request(LOG_LEVEL_DEBUG, "request", request, outcome);
	else if ((failed || slow) && (log_is_debug() || may_log(service)))
		log_request(outcome->status == 500 ? LOG_LEVEL_ERROR
					: failed			   ? LOG_LEVEL_WARNING
										   : LOG_LEVEL_INFO,
					failed ? "request failed" : "slow request", request, outcome);
}

void service_summarise(const struct service *service, struct subscriptions_summary *summary)
{
	subscriptions_summarise(service->subscriptions, summary);
}

/* ---- life -------------------------------------------------------------------- */

static const struct http_handlers handlers = {
	.headers = on_headers,
	.body = on_body,
	.refuse = on_refuse,
	.error = on_error,
	.done = on_done,
	.ended = on_ended,
};

struct service *service_new(struct event_base *base, const struct config *config, struct db *db,
							struct shared *shared, const evutil_socket_t *listeners, int nlisteners)
{
	const struct http_options options = {
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
		.stats = db_stats(db),
	};
	const struct feeds_options feeds_options = {
		.wakes = &shared->wakes,
		.generation = &shared->token_generation,
		.check_tokens = !config->test_mode,
	};
	struct service *service = calloc(1, sizeof(*service));

	if (service == NULL)
		return NULL;
	service->methods.db = db;
	service->rpc.methods = &service->methods;
	service->rpc.max_gathered = (size_t)config->buffer_bytes;
	service->methods.stats = db_stats(db);
	service->slow_ms = (uint64_t)config->log_slow;
	service->without_tokens = config->test_mode;
	service->allowed_hosts = config->allowed_hosts;
	service->import_limits.max_line = (size_t)config->max_body;
	service->import_limits.max_discarded = (size_t)config->max_body;
	service->import_limits.base = base;
	service->import_limits.max_running = (size_t)config->max_imports;
	service->max_exports = (size_t)config->max_exports;
	service->methods.token_generation = &shared->token_generation;
	service->methods.consumers = consumers_new(base, &service->methods);
	service->feeds = feeds_new(base, db, &feeds_options);
	if (service->feeds != NULL)
		service->subscriptions = subscriptions_new(base, db, service->feeds);
	service->auth = auth_new(db, &shared->quotas, &shared->token_generation, config->test_mode);
	if (service->auth != NULL)
		service->pending = subscribe_pending_new(base, service->auth);
	if (service->methods.consumers != NULL && service->subscriptions != NULL && service->pending != NULL &&
		(config->cors_origin == NULL || config->cors_origin[0] == '\0' ||
		 (service->cors = cors_new(config->cors_origin)) != NULL))
		service->http = http_server_new(base, &options, &handlers, service, listeners, nlisteners);
	if (service->http != NULL)
		return service;
	dispose(service);
	return NULL;
}

void service_drain(struct service *service, void (*drained)(void *arg), void *arg)
{
	http_server_drain(service->http, drained, arg);
	consumers_end(service->methods.consumers);
	subscribe_pending_end(service->pending);
	subscriptions_end(service->subscriptions);
}

void service_free(struct service *service)
{
	service->freed = true;
	service->exchanges++; /* keeps it until we are through */
	http_server_free(service->http);
	leave(service);
}

void service_walk(const struct service *service, const struct service_visitor *visitor, void *arg)
{
	http_server_walk(service->http, visitor->client, arg);
	subscriptions_walk(service->subscriptions, visitor->subscriber, arg);
}
