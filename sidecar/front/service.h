/*
 * service: the public HTTP side of one worker: http -> rpc -> methods -> db.
 *
 * One per worker, used from that worker's thread only.  `shared` is the one struct that all
 * workers see; its members are atomics, or see to their own locking.
 */
#ifndef MILLRACE_SERVICE_H
#define MILLRACE_SERVICE_H

#include <event2/event.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "live/wakes.h"
#include "access/quota.h"

struct config;
struct directory;
struct http_client;
struct places;
struct service;
struct subscriber;
struct tls;

struct subscriptions_summary;

struct shared
{
	/*
	 * Raised whenever a namespace, a token or a limit changed here; workers then forget what they know of
	 * them.
	 */
	_Atomic unsigned long token_generation;
	struct feed_wakes wakes;
	struct quotas quotas;
	struct directory *directory; /* NULL: there is none */
	bool pooled;				 /* sessions with the database are lent for single transactions */
	struct tls *tls;			 /* NULL: the listener speaks plain HTTP */
};

/* Takes ownership of the nonblocking listening sockets (closed by service_drain or service_free). */
struct service *service_new(struct event_base *base, const struct config *config, struct places *places,
							struct shared *shared, const evutil_socket_t *listeners, int nlisteners);
/*
 * Stops accepting, finishes what is in flight, closes idle connections; calls `drained` once, when no
 * connection is left.
 */
void service_drain(struct service *service, void (*drained)(void *arg), void *arg);
void service_free(struct service *service);

struct service_visitor
{
	void (*client)(void *arg, const struct http_client *client);
	void (*subscriber)(void *arg, const struct subscriber *subscriber);
};

/* What sys.stats and sys.connections tell of the process, before the first request; it stays. */
struct process_view;
void service_set_process(struct service *service, const struct process_view *process);
void service_walk(const struct service *service, const struct service_visitor *visitor, void *arg);

/* How the worker's subscriptions are; from its own thread. */
void service_summarise(const struct service *service, struct subscriptions_summary *summary);
/* The path of a route as counted in stats (statuses: front/request_log.h); NULL: none has that number. */
const char *service_route_name(unsigned route);

#endif
