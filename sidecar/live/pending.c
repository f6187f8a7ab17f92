/*
 * subscribe_pending: see pending.h.
 *
 * One lives until Postgres has answered about its token, also when its client is gone before: the question
 * can't be taken back.
 */
#include "live/pending.h"

#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/errors.h"
#include "live/subscribe.h"

#define TICK_S 1 /* between two questions that fail at once */

struct pending
{
	TAILQ_ENTRY(pending) link;
	struct subscribe_pending *all;
	struct http_request *request; /* NULL: the reply has ended */
	struct claim claim;
	subscribe_pending_done done;
	void *arg;
	uint64_t sent_ms;
	bool asking;
};

TAILQ_HEAD(pending_list, pending);

struct subscribe_pending
{
	struct auth *auth;
	const char *headers; /* lines of every reply */
	struct event tick;
	struct pending_list list;
	unsigned count;
	bool ending;
};

static void finish(struct pending *one, const struct error *error, const struct grant *grant)
{
	struct subscribe_pending *all = one->all;
	subscribe_pending_done done = one->done;
	struct http_request *request = one->request;
	void *arg = one->arg;

	TAILQ_REMOVE(&all->list, one, link);
	if (--all->count == 0)
		event_del(&all->tick);
	free(one);
	done(arg, request, error, grant);
}

static void on_answer(void *arg, const struct error *error, const struct grant *grant)
{
	struct pending *one = arg;
	bool again = error->code == ERROR_BACKEND_UNAVAILABLE || error->code == ERROR_OVERLOADED;

	one->asking = false;
	if (one->request == NULL)
		finish(one, NULL, NULL);
	else if (!again)
		finish(one, error, grant);
}

static void ask(struct pending *one)
{
	one->asking = true;
	auth_check(one->all->auth, &one->claim, on_answer, one);
}

static void end_reply(struct pending *one, void (*end)(struct http_request *request))
{
	struct http_request *request = one->request;

	one->request = NULL;
	if (!one->asking)
		finish(one, NULL, NULL);
	end(request);
}

static void on_gone(void *arg)
{
	end_reply(arg, http_reply_abort);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct subscribe_pending *all = arg;
	struct pending *one, *next;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	for (one = TAILQ_FIRST(&all->list); one != NULL; one = next)
	{
		next = TAILQ_NEXT(one, link);
		if (one->request != NULL && clock_passed(now, one->sent_ms, SUBSCRIBE_SILENCE_MS))
		{
			struct piece ping = piece_of(SUBSCRIBE_PING);

			one->sent_ms = now;
			http_reply_part(one->request, &ping, 1);
		}
		if (!one->asking)
			ask(one); /* its answer may come at once, and end it */
	}
}

struct subscribe_pending *subscribe_pending_new(struct event_base *base, struct auth *auth,
												const char *headers)
{
	struct subscribe_pending *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return NULL;
	all->auth = auth;
	all->headers = headers;
	TAILQ_INIT(&all->list);
	event_assign(&all->tick, base, -1, EV_PERSIST, on_tick, all);
	return all;
}

void subscribe_pending_end(struct subscribe_pending *all)
{
	struct pending *next;

	all->ending = true;
	for (struct pending *one = TAILQ_FIRST(&all->list); one != NULL; one = next)
	{
		next = TAILQ_NEXT(one, link);
		if (one->request != NULL)
			end_reply(one, http_reply_end);
	}
}

void subscribe_pending_free(struct subscribe_pending *all)
{
	if (all == NULL)
		return;
	event_del(&all->tick);
	free(all);
}

bool subscribe_pending_add(struct subscribe_pending *all, struct http_request *request,
						   const struct claim *claim, subscribe_pending_done done, void *arg)
{
	static const struct timeval interval = {.tv_sec = TICK_S};
	struct pending *one = all->ending || all->count >= SUBSCRIBE_PENDING_MAX ? NULL : calloc(1, sizeof(*one));

	if (one == NULL)
		return false;
	*one = (struct pending){
		.all = all, .request = request, .claim = *claim, .done = done, .arg = arg, .sent_ms = clock_ms()};
	if (all->count++ == 0)
		event_add(&all->tick, &interval);
	TAILQ_INSERT_TAIL(&all->list, one, link);
	subscribe_reply_start(request, all->headers);
	http_reply_when_gone(request, on_gone, one);
	ask(one);
	return true;
}
