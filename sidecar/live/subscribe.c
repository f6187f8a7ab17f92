/*
 * subscribe.c: subscriptions begin, are handed live events, are pinged (see subscribe.h, which has the length
 * of the silence before a ping).
 *
 *     WAITING --> QUEUED --> READING --> DRAINING --> FOLLOWING
 *                   ^___________________/   ^_____________/
 *
 * A subscription is put into the feed first, then reads what is below the feed's position, page after page,
 * and follows when it got there (catch_up.c).  Each page is asked for when the client has read the one
 * before.  A client that reads more slowly than messages come is no longer handed them; when it has read what
 * it was sent, the subscription goes on from where it is as if it were new.  So all that it costs is a page,
 * or two slices of live events.
 *
 * The subscription owns itself: it is freed when its reply is ended and its query is answered.
 */
#include "live/subscribe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/http.h"
#include "http/sse.h"
#include "live/params.h"
#include "live/subscription.h"

#define SLICE 16384		 /* bytes of live events in one write */
#define MAX_UNSENT 16384 /* bytes: above it a client is handed no live events */
#define PINGS_KEPT 1000 /* then one with a blank line: there are clients that keep comments until one comes */
#define SWEEP_MS 250
#define HEADERS_SIZE 512
#define MAX_QUERIES ((size_t)8 * 1024 * 1024) /* bytes, of which a feed asks each time for its own */

/* ---- what the feed calls ------------------------------------------------------- */

/* The end of the next slice: at least one event, else no more than fits. */
static unsigned slice_end(const struct feed_page *page, unsigned from, size_t begin)
{
	unsigned to = from + 1;

	while (to < page->nevents && page->events[to].end - begin <= SLICE)
		to++;
	return to;
}

static unsigned on_deliver(struct listener *listener, const struct feed_page *page, unsigned first)
{
	struct subscription *s = (struct subscription *)listener;
	unsigned at = first;

	while (at < page->nevents && http_reply_unsent(s->request) <= MAX_UNSENT)
	{
		size_t begin = at > 0 ? page->events[at - 1].end : 0;
		unsigned to = slice_end(page, at, begin);

		subscription_send(s, page->bytes + begin, page->events[to - 1].end - begin);
		at = to;
	}
	if (at < page->nevents)
		subscription_drain(s);
	return at - first;
}

static void on_go_on(struct listener *listener)
{
	subscription_go_on((struct subscription *)listener);
}

static void on_restart(struct listener *listener)
{
	subscription_restart((struct subscription *)listener);
}

static void on_end(struct listener *listener)
{
	subscription_end((struct subscription *)listener);
}

/* ---- silence ---------------------------------------------------------------------- */

/*
 * With a blank line behind it several clients make an event of a comment.  Some of the others keep comments
 * until a blank line comes, in 64 KiB at most.
 */
static void ping(struct subscription *s)
{
	subscription_send_text(s, ++s->pings % PINGS_KEPT == 0 ? SUBSCRIBE_PING "\n" : SUBSCRIBE_PING);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct subscriptions *all = arg;
	uint64_t now = clock_ms();
	struct subscription *s;

	(void)fd;
	(void)what;
	all->sweeps++;
	/* One that is touched goes to the end of the list, behind all others. */
	while ((s = TAILQ_FIRST(&all->by_silence)) != NULL && s->sweep != all->sweeps &&
		   clock_passed(now, s->sent_ms, SUBSCRIBE_SILENCE_MS))
	{
		s->sweep = all->sweeps;
		/* Where bytes wait for the client there is no silence. */
		if (http_reply_unsent(s->request) == 0)
			ping(s);
		else
			subscription_touch(s);
	}
}

/* ---- starting ----------------------------------------------------------------------- */

static void on_gone(void *arg)
{
	http_reply_abort(subscription_retire(arg));
}

static void refuse(const struct subscriptions *all, struct http_request *request, int status,
				   const char *problem)
{
	char headers[HEADERS_SIZE];
	const struct http_reply reply = {
		.status = status, .content_type = "text/plain; charset=utf-8", .headers = headers};
	struct piece piece = piece_of(problem);

	snprintf(headers, sizeof(headers), "%s%s", all->headers, status == 503 ? "Retry-After: 1\r\n" : "");
	http_reply(request, &reply, &piece, 1);
}

static struct subscription *subscription_new(struct subscriptions *all, struct http_request *request,
											 const struct claim *claim, const struct subscribe_params *params)
{
	static const struct feed_user user = {
		.go_on = on_go_on, .deliver = on_deliver, .restart = on_restart, .end = on_end};
	struct subscription *s = calloc(1, sizeof(*s) + params->text.len);
	bool by_stream = params->filter.source == FEED_STREAM;

	if (s == NULL)
		return NULL;
	s->all = all;
	s->request = request;
	s->state = SUBSCRIPTION_WAITING;
	s->begun_ms = clock_ms();
	memcpy(s->namespace_name, claim->name, sizeof(s->namespace_name));
	memcpy(s->name, params->text.data, params->text.len);
	s->after = by_stream ? params->after : -1;
	s->listener = (struct listener){
		.user = &user,
		.filter = params->filter,
		.next = params->position > 0 ? params->position : 0,
	};
	s->listener.filter.name = s->name;
	if (params->filter.types != NULL)
		s->listener.filter.types = s->name + (params->filter.types - params->text.data);
	if (params->filter.correlation != NULL)
		s->listener.filter.correlation = s->name + (params->filter.correlation - params->text.data);
	s->listener.filter.chunked = http_reply_is_chunked(request);
	/* Last-Event-ID wins over position. */
	if (params->after >= 0)
		s->listener.next = by_stream ? 0 : params->after + 1;
	s->listener.first = s->listener.next;
	s->has_ids = params->filter.ids || params->after >= 0;
	s->knows_reset = s->has_ids || params->filter.messages;
	s->wants_head = params->head;
	s->strict = params->strict;
	s->seen = params->seen;
	s->min_position = params->min_position;
	if (feed_attach(all->feeds, claim->name, claim->hash, &s->listener))
	{
		all->queries += subscription_query_size(s);
		return s;
	}
	free(s);
	return NULL;
}

/* A category ends before the first dash, so one with a dash is a stream that was meant. */
static void warn_of_dash(struct subscription *s)
{
	const struct feed_filter *filter = &s->listener.filter;

	if (filter->source != FEED_CATEGORY || strchr(filter->name, '-') == NULL)
		return;
	log_warning(
		"a subscription of namespace %s gets nothing: no category has a dash in its name, as \"%.100s\" has",
		s->namespace_name, filter->name);
	subscription_send_text(
		s, ": no category has a dash in its name, nothing will come; stream= takes a stream's name\n");
}

void subscribe_reply_start(struct http_request *request, const char *headers)
{
	char lines[HEADERS_SIZE];
	const struct http_reply head = {.status = 200, .content_type = "text/event-stream", .headers = lines};

	snprintf(lines, sizeof(lines), SSE_HEADERS "%s", headers);
	http_reply_start(request, &head);
}

/* Its reply has begun. */
static void start(struct subscription *s)
{
	static const struct timeval interval = {.tv_usec = SWEEP_MS * 1000L};
	struct subscriptions *all = s->all;

	if (TAILQ_EMPTY(&all->by_silence))
		event_add(&all->sweep, &interval);
	TAILQ_INSERT_TAIL(&all->by_silence, s, in_silence);
	/* A blank line behind `retry` would make an event of it in httpx-sse; so it belongs to the first one. */
	subscription_send_text(s, s->has_ids ? ": ready\n\nretry: 1000\n" : ": ready\n\n");
	warn_of_dash(s);
	http_reply_low_water(s->request, 0);
	http_reply_when_gone(s->request, on_gone, s);
	if (feed_position(&s->listener) > 0)
		subscription_go_on(s);
}

static bool read_params(struct http_request *request, struct subscribe_params *params, char problem[200])
{
	return subscribe_params_read(params, http_query(request), http_header(request, "Last-Event-ID"), problem);
}

bool subscribe_is_well_formed(struct http_request *request)
{
	struct subscribe_params params;
	char problem[200];
	bool ok = read_params(request, &params, problem);

	buf_free(&params.text);
	return ok;
}

static struct subscription *subscribe(struct subscriptions *all, struct http_request *request,
									  const struct claim *claim, int *status, char problem[200])
{
	struct subscribe_params params;
	struct subscription *s = NULL;

	*status = 400;
	if (read_params(request, &params, problem))
	{
		*status = 503;
		snprintf(problem, 200, "%s",
				 all->ending				   ? "the server is stopping"
				 : all->queries >= MAX_QUERIES ? "too many queries are subscribed to"
											   : "out of memory");
		if (!all->ending && all->queries < MAX_QUERIES)
			s = subscription_new(all, request, claim, &params);
	}
	buf_free(&params.text);
	return s;
}

static void answer(struct subscriptions *all, struct http_request *request, const struct claim *claim)
{
	char problem[200];
	int status;
	struct subscription *s = subscribe(all, request, claim, &status, problem);

	if (s == NULL)
	{
		refuse(all, request, status, problem);
		return;
	}
	subscribe_reply_start(request, all->headers);
	start(s);
}

static void on_checked(struct subscriptions *all, struct http_request *request, const struct claim *claim,
					   const struct error *error)
{
	if (error != NULL)
		refuse(all, request, error_status(error->code), error->message);
	else
		answer(all, request, claim);
}

void subscribe_start(struct subscriptions *all, struct http_request *request, const struct claim *claim)
{
	struct subscribe_params params;
	char problem[200];
	bool asked = read_params(request, &params, problem) &&
				 (params.filter.source == FEED_QUERY || params.min_position > 0) &&
				 subscription_check(all, request, claim, &params, on_checked);

	buf_free(&params.text);
	if (!asked)
		answer(all, request, claim);
}

void subscribe_go_on(struct subscriptions *all, struct http_request *request, const struct claim *claim)
{
	char problem[200];
	int status;
	struct subscription *s = subscribe(all, request, claim, &status, problem);

	if (s == NULL)
		http_reply_end(request);
	else
		start(s);
}

/* ---- how they are ----------------------------------------------------------------------- */

const char *const subscription_state_names[SUBSCRIPTION_STATES] = {
	[SUBSCRIPTION_WAITING] = "waiting",		[SUBSCRIPTION_QUEUED] = "queued",
	[SUBSCRIPTION_READING] = "reading",		[SUBSCRIPTION_DRAINING] = "draining",
	[SUBSCRIPTION_FOLLOWING] = "following",
};

_Static_assert(SUBSCRIPTION_ENDED == SUBSCRIPTION_STATES, "SUBSCRIPTION_STATES");

static void describe(const struct subscription *s, struct subscriber *subscriber)
{
	static const char *const sources[] = {
		[FEED_ALL] = "all", [FEED_CATEGORY] = "category", [FEED_STREAM] = "stream", [FEED_QUERY] = "query"};

	*subscriber = (struct subscriber){
		.state = subscription_state_names[s->state],
		.namespace_name = s->namespace_name,
		.source = sources[s->listener.filter.source],
		.name = s->name,
		.age_ms = clock_span(s->begun_ms, clock_ms()),
		.bytes_out = s->bytes_out,
		.next = s->listener.next,
	};
	http_request_describe(s->request, &subscriber->client);
}

void subscriptions_walk(const struct subscriptions *all,
						void (*visit)(void *arg, const struct subscriber *subscriber), void *arg)
{
	for (const struct subscription *s = TAILQ_FIRST(&all->by_silence); s != NULL;
		 s = TAILQ_NEXT(s, in_silence))
	{
		struct subscriber subscriber;

		describe(s, &subscriber);
		visit(arg, &subscriber);
	}
}

static uint64_t lag(const struct subscription *s)
{
	int64_t reached = s->listener.complete_below;

	if (s->state == SUBSCRIPTION_FOLLOWING)
		return 0;
	if (s->listener.filter.source != FEED_STREAM && s->listener.next > reached)
		reached = s->listener.next;
	return feed_position(&s->listener) > reached ? (uint64_t)(feed_position(&s->listener) - reached) : 0;
}

void subscriptions_summarise(const struct subscriptions *all, struct subscriptions_summary *summary)
{
	*summary = (struct subscriptions_summary){.max_lag = 0};
	for (const struct subscription *s = TAILQ_FIRST(&all->by_silence); s != NULL;
		 s = TAILQ_NEXT(s, in_silence))
	{
		summary->states[s->state]++;
		if (lag(s) > summary->max_lag)
			summary->max_lag = lag(s);
	}
}

/* ---- life ------------------------------------------------------------------------------ */

struct subscriptions *subscriptions_new(struct event_base *base, struct places *places, struct feeds *feeds,
										const char *headers)
{
	struct subscriptions *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return NULL;
	all->places = places;
	all->feeds = feeds;
	all->headers = headers;
	TAILQ_INIT(&all->queue);
	TAILQ_INIT(&all->by_silence);
	event_assign(&all->sweep, base, -1, EV_PERSIST, on_sweep, all);
	return all;
}

void subscriptions_end(struct subscriptions *all)
{
	all->ending = true;
	/* The analyzer can't know that `all` is the subscription's, from whose list it is taken. */
	while (!TAILQ_EMPTY(&all->by_silence))
		subscription_end(TAILQ_FIRST(&all->by_silence)); /* NOLINT(clang-analyzer-unix.Malloc) */
}

void subscriptions_free(struct subscriptions *all)
{
	if (all == NULL)
		return;
	event_del(&all->sweep);
	free(all);
}
