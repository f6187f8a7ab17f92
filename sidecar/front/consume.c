/*
 * consume.c: calls of consumer.next that wait (methods/waiting.c) are woken by what wakes the feeds
 * (live/feeds.c).
 */
#include "front/internal.h"
#include "live/feed.h"

static void set_waiting(void *arg, bool waiting)
{
	const struct service *service = arg;

	feeds_set_waiting(service->feeds, waiting);
}

static bool are_told(void *arg, const char *namespace_name)
{
	const struct service *service = arg;

	return feeds_are_told(service->feeds, namespace_name);
}

static void settled(void *arg, const char *namespace_name)
{
	const struct service *service = arg;

	feeds_ring(service->feeds, namespace_name);
}

static void on_wake(void *arg, uint64_t namespaces)
{
	const struct service *service = arg;

	consumers_wake(service->methods.consumers, namespaces);
}

void front_connect_consumers(struct service *service, struct event_base *base)
{
	service->consumers_hooks = (struct consumers_hooks){.bit = feeds_bit,
														.set_waiting = set_waiting,
														.are_told = are_told,
														.settled = settled,
														.arg = service};
	service->methods.consumers = consumers_new(base, &service->methods, &service->consumers_hooks);
	feeds_on_wake(service->feeds, on_wake, service);
}
