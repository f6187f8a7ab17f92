/*
 * route_subscribe.c: /subscribe, whose reply begins even while its token can't be checked (see internal.h and
 * live/pending.h).
 */
#include "front/internal.h"

#include "base/errors.h"
#include "front/cors.h"
#include "live/pending.h"
#include "live/subscribe.h"

void route_subscribe_headers(struct exchange *exchange)
{
	if (exchange_is_preflight(exchange))
		front_reply_text(exchange->request, 204, CORS_ANY_ORIGIN CORS_PREFLIGHT_SUBSCRIBE, "");
	else
		exchange_read_claim(exchange);
}

void route_subscribe_start(struct exchange *exchange)
{
	subscribe_start(exchange->service->subscriptions, exchange->request, &exchange->claim);
}

static void go_on_pending(struct exchange *exchange, const struct error *error)
{
	struct error refusal;

	if (error->code == ERROR_NONE && !exchange_is_granted(exchange, &refusal))
		error = &refusal;
	if (error->code == ERROR_NONE)
	{
		subscribe_go_on(exchange->service->subscriptions, exchange->request, &exchange->claim);
		return;
	}
	http_note(exchange->request, slice_of(error->message));
	http_reply_end(exchange->request);
}

static void on_pending(void *arg, struct http_request *request, const struct error *error,
					   const struct grant *grant)
{
	struct exchange *exchange = request != NULL ? http_context(request) : NULL;

	if (exchange != NULL)
	{
		exchange->grant = *grant;
		go_on_pending(exchange, error);
	}
	service_leave(arg);
}

bool route_subscribe_pend(struct exchange *exchange)
{
	struct service *service = exchange->service;
	struct http_request *request = exchange->request;

	if (exchange->route->start != route_subscribe_start ||
		!slice_is(http_method(request), exchange->route->method))
		return false;
	if (!subscribe_is_well_formed(request))
	{
		route_subscribe_start(exchange);
		return true;
	}
	service->exchanges++; /* which may last longer than the request */
	if (subscribe_pending_add(service->pending, request, &exchange->claim, on_pending, service))
		return true;
	service->exchanges--;
	return false;
}
