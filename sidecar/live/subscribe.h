/*
 * subscribe: GET /subscribe (README.md, "Subscriptions"): messages as server-sent events, from any position
 * on and for ever.
 *
 *     subscribe.c  subscriptions begin, are handed live events, are pinged
 *     catch_up.c   they read what was before
 *     refusal.c    their queries may be refused
 *     head.c       their place compared with the last position there is
 *     params.c     what the request asks for
 *     pending.c    those whose token can't be checked yet
 *
 * One struct subscriptions per worker.  It owns the subscriptions, which end with their client, with
 * their namespace, or with the server.
 */
#ifndef MILLRACE_SUBSCRIBE_H
#define MILLRACE_SUBSCRIBE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/http.h"

/*
 * What a reply of /subscribe sends when it has had nothing to send for so long: there are clients that wait
 * for 10 s.
 */
#define SUBSCRIBE_PING ": ping\n"
#define SUBSCRIBE_SILENCE_MS 8000

#define SUBSCRIPTION_STATES 5

struct claim;
struct feeds;
struct places;
struct subscriptions;

/* `headers` are lines of every reply, errors included, and stay the caller's.  NULL: out of memory. */
struct subscriptions *subscriptions_new(struct event_base *base, struct places *places, struct feeds *feeds,
										const char *headers);
/* Ends them all, and those that are asked for later at once. */
void subscriptions_end(struct subscriptions *all);
/* None may be left, and no query of theirs may be in flight. */
void subscriptions_free(struct subscriptions *all);

struct subscriber
{
	const char *state;
	const char *namespace_name;
	const char *source; /* "all", "category", "stream" or "query" */
	const char *name;	/* of the category or stream, or the query's JSON */
	uint64_t age_ms;
	uint64_t bytes_out; /* of events */
	int64_t next;		/* the position that it waits for: of a stream its own, else the global one */
	struct http_client client;
};

void subscriptions_walk(const struct subscriptions *all,
						void (*visit)(void *arg, const struct subscriber *subscriber), void *arg);

/* Counts those of each state, and the one that is farthest behind. */
struct subscriptions_summary
{
	uint64_t states[SUBSCRIPTION_STATES];
	/*
	 * Global positions between what it has dealt with and the newest that its feed knows; 0 while it
	 * follows.
	 */
	uint64_t max_lag;
};

extern const char *const subscription_state_names[SUBSCRIPTION_STATES];
void subscriptions_summarise(const struct subscriptions *all, struct subscriptions_summary *summary);

/* Answers the request, which may go where the claim says. */
void subscribe_start(struct subscriptions *all, struct http_request *request, const struct claim *claim);

/*
 * The same in two steps, between which comments may be sent.  The request is to be well-formed, or it is
 * answered by subscribe_start.
 */
bool subscribe_is_well_formed(struct http_request *request);
void subscribe_reply_start(struct http_request *request, const char *headers);
void subscribe_go_on(struct subscriptions *all, struct http_request *request, const struct claim *claim);

#endif
