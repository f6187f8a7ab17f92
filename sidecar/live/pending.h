/*
 * subscribe_pending: subscriptions whose token can't be checked yet, as Postgres is away.
 *
 * A 503 would end a browser's EventSource for good.  So the reply begins, and nothing but pings is sent until
 * Postgres has said whose token it is.
 */
#ifndef MILLRACE_SUBSCRIBE_PENDING_H
#define MILLRACE_SUBSCRIBE_PENDING_H

#include <event2/event.h>
#include <stdbool.h>

#include "access/auth.h"
#include "http/http.h"

#define SUBSCRIBE_PENDING_MAX 1000 /* a worker */

struct subscribe_pending;

/* One per worker; `auth` and `headers`, lines of every reply, stay the caller's.  NULL: out of memory. */
struct subscribe_pending *subscribe_pending_new(struct event_base *base, struct auth *auth,
												const char *headers);
/* Ends the replies, and takes no more.  Each is still told of, when Postgres has answered or was given up. */
void subscribe_pending_end(struct subscribe_pending *all);
/* None may be left. */
void subscribe_pending_free(struct subscribe_pending *all);

/*
 * What became of it.  `request` and `error` NULL: the reply has ended, as its client or the server has.  Else
 * the caller goes on with the reply, which has begun, or ends it.
 */
typedef void (*subscribe_pending_done)(void *arg, struct http_request *request, const struct error *error,
									   const struct grant *grant);

/*
 * Begins the reply; `done` is called once, perhaps at once.  False: there are too many, and nothing was
 * begun.
 */
bool subscribe_pending_add(struct subscribe_pending *all, struct http_request *request,
						   const struct claim *claim, subscribe_pending_done done, void *arg);

#endif
