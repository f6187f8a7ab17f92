/*
 * internal: what the files of front share; only they include it.
 *
 *     service.c          the routes, and what becomes of a request
 *     exchange.c         what is known of a request
 *     route_rpc.c        /rpc
 *     route_subscribe.c  /subscribe, also while the token can't be checked
 *     consume.c          calls of consumer.next that wait are woken by the feeds
 *     request_log.c      what is counted and logged of requests
 */
#ifndef MILLRACE_FRONT_INTERNAL_H
#define MILLRACE_FRONT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "access/auth.h"
#include "base/pool.h"
#include "bulk/import.h"
#include "front/request_log.h"
#include "http/http.h"
#include "methods/methods.h"
#include "rpc/rpc.h"

struct service
{
	struct http_server *http;
	struct places *places;
	struct auth *auth;
	struct methods methods;
	struct rpc rpc;
	struct feeds *feeds;
	struct consumers_hooks consumers_hooks;
	struct subscriptions *subscriptions;
	struct subscribe_pending *pending;
	struct import_limits import_limits;
	size_t max_exports; /* running at a time */
	uint64_t slow_ms;
	struct request_log log;
	struct cors *cors;	 /* of /rpc; NULL = off */
	bool trace_metadata; /* traceparent goes into messages */
	bool without_tokens; /* test mode: */
	const char *allowed_hosts;
	bool has_page;
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
	struct grant grant;		 /* what the token gives */
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
	enum right right;						  /* that the token must have; its calls ask for theirs */
	void (*start)(struct exchange *exchange); /* when the token opens the namespace */
	const char *cors;						  /* NULL = the service's */
	bool lasts;								  /* as long as its client likes: never slow */
	bool has_calls;							  /* which ask for the quota themselves, and are logged */
};

/* ---- exchange.c ------------------------------------------------------------- */

/* Begins the exchange of a request, which keeps it; `route` NULL: there is none.  NULL: out of memory. */
struct exchange *exchange_new(struct service *service, struct http_request *request,
							  const struct route *route);
/* One exchange less; with the last one a service that was freed goes. */
void service_leave(struct service *service);
/* Frees what a service has, all of which may be NULL. */
void service_dispose(struct service *service);
/* Replies with an error, which is noted for the log when the fault is not the client's. */
void exchange_fail(struct exchange *exchange, const struct error *error, int status);
/* Reads whose request it is.  False: there is no token, which was replied. */
bool exchange_read_claim(struct exchange *exchange);
/*
 * Whether the token has the right that the route needs; takes one request out of the namespace's quota,
 * unless its calls do.  False: *error says why not.
 */
bool exchange_is_granted(const struct exchange *exchange, struct error *error);
/* Whether a browser asks what a page may do. */
bool exchange_is_preflight(const struct exchange *exchange);
void front_reply_text(struct http_request *request, int status, const char *headers, const char *text);
/* Joins header lines, either of which may be NULL. */
const char *front_join_headers(char *out, size_t cap, const char *a, const char *b);

/* ---- route_rpc.c ------------------------------------------------------------ */

void route_rpc_headers(struct exchange *exchange);
void route_rpc_start(struct exchange *exchange);

/* ---- route_subscribe.c ------------------------------------------------------ */

void route_subscribe_headers(struct exchange *exchange);
void route_subscribe_start(struct exchange *exchange);
/*
 * When Postgres can't be asked about the token: begins the reply of a subscription, which waits for the
 * answer.  False: it is no subscription, or too many wait, and nothing was replied.
 */
bool route_subscribe_pend(struct exchange *exchange);

/* ---- consume.c --------------------------------------------------------------- */

/*
 * Lets calls of consumer.next that wait be woken by commits; service->methods.consumers NULL: out of memory.
 */
void front_connect_consumers(struct service *service, struct event_base *base);

#endif
