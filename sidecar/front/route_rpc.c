/*
 * route_rpc.c: /rpc: calls go to rpc, the parts of their reply to the socket as it drains (see internal.h).
 */
#include "front/internal.h"

#include <stdio.h>
#include <strings.h>

#include "base/errors.h"
#include "base/idempotency.h"
#include "base/trace.h"
#include "front/cors.h"

#define GZIP_PAGE 262144 /* bytes: it is compressed in one go, while others wait */

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
		const struct http_reply head = {.status = reply->status, .headers = exchange->cors, .compress = true};

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
	struct http_reply head = {.status = reply->status, .headers = exchange->cors, .compress = true};

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
		head.headers = front_join_headers(headers, sizeof(headers), retry, head.headers);
	}
	http_reply(request, &head, reply->pieces, reply->npieces);
}

void route_rpc_headers(struct exchange *exchange)
{
	char headers[1024];

	if (exchange->service->cors != NULL && exchange_is_preflight(exchange))
		front_reply_text(exchange->request, 204,
						 front_join_headers(headers, sizeof(headers), exchange->cors, CORS_PREFLIGHT_RPC),
						 "");
	else
		exchange_read_claim(exchange);
}

/* False: *error says what is wrong with the request's key. */
static bool read_key(const struct exchange *exchange, struct rpc_caller *caller, struct error *error)
{
	struct slice header;
	char key[IDEMPOTENCY_MAX_KEY];
	size_t len;

	if (!http_header_once(exchange->request, "Idempotency-Key", &header))
	{
		error_set(error, ERROR_INVALID_REQUEST, "a request has one Idempotency-Key, not two");
		return false;
	}
	if (header.bytes == NULL)
		return true;
	len = idempotency_read(header, key);
	if (len == 0)
		error_set(
			error, ERROR_INVALID_REQUEST,
			"Idempotency-Key must be 1 to %d bytes of printable ASCII, or a quoted string of them, not %.*s",
			IDEMPOTENCY_MAX_KEY, (int)(header.len < 80 ? header.len : 80), header.bytes);
	else if (idempotency_request(caller->namespace_name, (struct slice){key, len}, &caller->key))
		caller->has_key = true;
	else
		error_set(error, ERROR_INTERNAL_ERROR, "%s", IDEMPOTENCY_NO_SHA1);
	return caller->has_key;
}

void route_rpc_start(struct exchange *exchange)
{
	struct rpc_caller caller = {.namespace_name = exchange->claim.name,
								.place = exchange->grant.place,
								.quota = exchange->grant.quota,
								.rights = exchange->grant.rights,
								.page_bytes = http_accepts_gzip(exchange->request) ? GZIP_PAGE : 0};
	struct slice coding = http_header(exchange->request, "Content-Encoding");
	struct error error;

	if (coding.len > 0 && !(coding.len == 8 && strncasecmp(coding.bytes, "identity", 8) == 0))
	{
		error_set(&error, ERROR_INVALID_REQUEST, "no Content-Encoding is understood here, as %.*s is",
				  (int)(coding.len < 40 ? coding.len : 40), coding.bytes);
		exchange_fail(exchange, &error, 415);
		return;
	}
	if (exchange->service->trace_metadata)
		caller.trace = request_trace(exchange->request).parent;
	if (!read_key(exchange, &caller, &error))
	{
		exchange_fail(exchange, &error, error_status(error.code));
		return;
	}
	rpc_start(&exchange->service->rpc, &caller, http_body(exchange->request), on_rpc_reply, exchange);
}
