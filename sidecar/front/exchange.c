/*
 * exchange.c: what is known of a request, its route and whose it is, from its head on until it has ended (see
 * internal.h).
 */
#include "front/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "access/quota.h"
#include "db/db.h"
#include "front/cors.h"
#include "live/feed.h"
#include "live/pending.h"
#include "live/subscribe.h"

void front_reply_text(struct http_request *request, int status, const char *headers, const char *text)
{
	const struct http_reply reply = {.status = status, .headers = headers};
	struct piece piece = piece_of(text);

	http_reply(request, &reply, &piece, 1);
}

const char *front_join_headers(char *out, size_t cap, const char *a, const char *b)
{
	snprintf(out, cap, "%s%s", a != NULL ? a : "", b != NULL ? b : "");
	return out;
}

void service_dispose(struct service *service)
{
	if (service->auth != NULL)
		auth_free(service->auth);
	consumers_free(service->methods.consumers);
	methods_free(&service->methods);
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

struct exchange *exchange_new(struct service *service, struct http_request *request,
							  const struct route *route)
{
	struct exchange *exchange = pool_take(&service->spare_exchanges, sizeof(*exchange));

	if (exchange == NULL)
		return NULL;
	exchange->service = service;
	exchange->route = route;
	exchange->request = request;
	exchange->cors = route != NULL && route->cors != NULL ? route->cors : cors_of(service, request);
	exchange->claim.name[0] = '\0';
	exchange->grant = (struct grant){0};
	exchange->rpc = NULL;
	exchange->streaming = false;
	service->exchanges++;
	http_set_context(request, exchange);
	return exchange;
}

void service_leave(struct service *service)
{
	service->exchanges--;
	if (service->freed && service->exchanges == 0)
		service_dispose(service);
}

void exchange_fail(struct exchange *exchange, const struct error *error, int status)
{
	if (status >= 500)
		http_note(exchange->request, slice_of(error->message));
	http_reply_error(exchange->request, error, status, exchange->cors);
}

bool exchange_is_granted(const struct exchange *exchange, struct error *error)
{
	const struct route *route = exchange->route;
	struct quota *quota = exchange->grant.quota;

	if ((exchange->grant.rights & route->right) != route->right)
	{
		right_missing(error, route->path, route->right);
		return false;
	}
	return quota == NULL || route->has_calls || quota_grants(quota, 0, error);
}

bool exchange_read_claim(struct exchange *exchange)
{
	struct http_request *request = exchange->request;
	struct credentials credentials = {.query = http_query(request)};
	struct error error;

	if (!http_header_once(request, "Authorization", &credentials.authorization))
		error_set(&error, ERROR_INVALID_REQUEST, "a request has one Authorization, not two");
	else if (auth_read(exchange->service->auth, &credentials, &exchange->claim, &error))
		return true;
	exchange->claim.name[0] = '\0';
	exchange_fail(exchange, &error, error_status(error.code));
	return false;
}

bool exchange_is_preflight(const struct exchange *exchange)
{
	return slice_is(http_method(exchange->request), "OPTIONS") &&
		   http_header(exchange->request, "Access-Control-Request-Method").bytes != NULL;
}
