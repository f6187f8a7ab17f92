/*
 * subscribe.c: the states of a subscription (see subscribe.h).
 *
 *     WAITING --> QUEUED --> READING --> DRAINING --> FOLLOWING
 *                   ^___________________/   ^_____________/
 *
 * It is put into the feed first, then reads what is below the feed's position, page after page, and follows
 * when it got there.  Each page is asked for when the client has read the one before.  A client that reads
 * more slowly than messages come is no longer handed them; when it has read what it was sent, the
 * subscription goes on from where it is as if it were new.  So all that it costs is a page, or two slices of
 * live events.
 *
 * Before it reads, one that may be above everything there is asks for the head; so does each when the
 * database was away.  And before it follows, one whose client wants to hear that it has caught up.
 *
 * Memory: pages are large for who reads fast, small for who does not, and small for all while clients hold
 * many of them.  The subscription owns itself: it is freed when its reply is ended and its query is answered.
 */
#include "live/subscribe.h"

#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "access/auth.h"
#include "base/clock.h"
#include "db/calls.h"
#include "live/feed.h"
#include "http/http.h"
#include "base/log.h"
#include "http/sse.h"
#include "live/head.h"
#include "live/params.h"

#define SMALL_PAGE 16384
#define LARGE_PAGE 131072
#define MAX_HELD ((size_t)8 * 1024 * 1024) /* bytes of pages under way for which they may be large */
#define SLICE 16384						   /* bytes of live events in one write */
#define MAX_UNSENT 16384				   /* bytes: above it a client is handed no live events */
#define READS_AT_ONCE 2					   /* pages; the rest of the lane is for others */
#define PINGS_KEPT                                                                                           \
	1000 /* then one with a blank line, as there are clients that keep comments until one comes */
#define SWEEP_MS 250

/* The states; the comments say which list of struct subscriptions they are on, all are on `by_silence`. */
enum subscription_state
{
	SUBSCRIPTION_WAITING,	/* the feed says when to go on */
	SUBSCRIPTION_QUEUED,	/* `queue`: for its turn to read what was before */
	SUBSCRIPTION_READING,	/* Postgres has its query */
	SUBSCRIPTION_DRAINING,	/* the client has not read what was sent */
	SUBSCRIPTION_FOLLOWING, /* the feed hands it what comes */
	SUBSCRIPTION_ENDED,		/* on no list; only its query's answer is awaited */
};

/* What the last page said. */
enum past
{
	PAST_MORE,
	PAST_UNDECIDED, /* there is a message that may still commit, or that the feed has yet to come to */
	PAST_READ,
};

struct subscription
{
	struct listener listener; /* first: the feed gets it and we cast */
	struct subscriptions *all;
	struct http_request *request; /* NULL when ended */
	enum subscription_state state;
	enum past past;
	TAILQ_ENTRY(subscription) in_queue, in_silence;
	uint64_t sent_ms, begun_ms;
	uint64_t sweep; /* the last one that looked at it: each does so once, or it may never end */
	uint64_t bytes_out;
	int64_t after;	 /* a stream's: only messages above this global position; -1: any */
	int64_t below;	 /* of the page that was asked for: the feed's position at that time */
	size_t page;	 /* bytes of the page that is under way, 0: none */
	bool reads_fast; /* its client's socket took the last page whole */
	bool placed;	 /* it is known not to be above the head */
	bool stale;		 /* the feed began anew while Postgres had its query */
	unsigned pings;
	bool has_ids; /* its events bear ids, or its client came with one */
	bool knows_reset;
	bool wants_head; /* its client wants to hear when it has caught up, */
	enum
	{
		HEAD_UNKNOWN,
		HEAD_KNOWN,
		HEAD_TOLD,
	} head_state;
	int64_t head; /* with this position, the last one when it first had read everything */
	char namespace_name[MAX_NAMESPACE_NAME + 1];
	char name[]; /* of the filter; behind it its types and its correlation */
};

TAILQ_HEAD(subscription_list, subscription);

struct subscriptions
{
	struct db *db;
	struct feeds *feeds;
	struct event sweep;
	uint64_t sweeps;
	bool ending;
	unsigned reading;
	size_t held; /* bytes of pages under way */
	struct subscription_list queue, by_silence;
};

static void go_on(struct subscription *s);
static void on_head(void *arg, struct db_reply *reply);
static void on_reached(void *arg, struct db_reply *reply);
static void read_queued(struct subscriptions *all);
static bool has_reached_head(const struct subscription *s);

/* ---- states ------------------------------------------------------------------ */

static void set_state(struct subscription *s, enum subscription_state state)
{
	struct subscriptions *all = s->all;

	if (s->state == SUBSCRIPTION_QUEUED)
		TAILQ_REMOVE(&all->queue, s, in_queue);
	if (s->state == SUBSCRIPTION_READING)
		all->reading--;
	s->state = state;
	if (state == SUBSCRIPTION_QUEUED)
		TAILQ_INSERT_TAIL(&all->queue, s, in_queue);
	if (state == SUBSCRIPTION_READING)
		all->reading++;
	if (state == SUBSCRIPTION_WAITING)
		feed_wait(&s->listener);
}

/* Something was sent: its silence begins anew. */
static void touch(struct subscription *s)
{
	TAILQ_REMOVE(&s->all->by_silence, s, in_silence);
	s->sent_ms = clock_ms();
	TAILQ_INSERT_TAIL(&s->all->by_silence, s, in_silence);
}

static void hold_page(struct subscription *s, size_t bytes)
{
	s->all->held = s->all->held - s->page + bytes;
	s->page = bytes;
}

/* Takes it out of everything and returns its request, whose reply the caller ends. */
static struct http_request *retire(struct subscription *s)
{
	struct subscriptions *all = s->all;
	struct http_request *request = s->request;
	bool reading = s->state == SUBSCRIPTION_READING;

	feed_detach(&s->listener);
	hold_page(s, 0);
	set_state(s, SUBSCRIPTION_ENDED);
	all->reading += reading; /* its query is still in flight */
	TAILQ_REMOVE(&all->by_silence, s, in_silence);
	if (TAILQ_EMPTY(&all->by_silence))
		event_del(&all->sweep);
	s->request = NULL;
	if (!reading)
		free(s);
	return request;
}

/* As the last thing: ending the reply may begin the connection's next request. */
static void end(struct subscription *s)
{
	http_reply_end(retire(s));
}

static void on_gone(void *arg)
{
	http_reply_abort(retire(arg));
}

/* ---- sending ------------------------------------------------------------------- */

static void on_drained(void *arg, bool gone)
{
	struct subscription *s = arg;

	/* on_gone hears of that, too. */
	if (gone)
		return;
	hold_page(s, 0);
	go_on(s);
}

/* Goes on when the client has read all. */
static void drain(struct subscription *s)
{
	set_state(s, SUBSCRIPTION_DRAINING);
	http_reply_when_drained(s->request, on_drained, s);
}

static void send_bytes(struct subscription *s, const char *bytes, size_t len)
{
	struct piece piece = {.bytes = bytes, .len = len};

	s->bytes_out += len;
	http_reply_raw(s->request, &piece, 1);
	touch(s);
}

static void send_text(struct subscription *s, const char *text)
{
	struct piece piece = piece_of(text);

	s->bytes_out += piece.len;
	http_reply_part(s->request, &piece, 1);
	touch(s);
}

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

		send_bytes(s, page->bytes + begin, page->events[to - 1].end - begin);
		at = to;
	}
	if (at < page->nevents)
		drain(s);
	return at - first;
}

/* ---- reading what was before ---------------------------------------------------- */

static void free_bytes(void *bytes)
{
	free(bytes);
}

/* Sends the events of a page.  False: out of memory, nothing was sent. */
static bool send_page(struct subscription *s, struct slice body)
{
	struct buf framed = {0};
	struct piece piece;

	if (body.len == 0)
		return true;
	sse_add_text(&framed, body, s->listener.filter.chunked);
	if (framed.failed)
	{
		buf_free(&framed);
		return false;
	}
	piece =
		(struct piece){.bytes = framed.data, .len = framed.len, .release = free_bytes, .owner = framed.data};
	s->bytes_out += framed.len;
	http_reply_raw(s->request, &piece, 1);
	touch(s);
	s->reads_fast = http_reply_unsent(s->request) == 0;
	return true;
}

static enum past read_past(const char *state)
{
	if (strcmp(state, POKES_DONE) == 0)
		return PAST_READ;
	return strcmp(state, POKES_WAITING) == 0 ? PAST_UNDECIDED : PAST_MORE;
}

static void take_page(struct subscription *s, const struct db_reply *reply)
{
	const struct db_pokes page = db_pokes_of(reply);
	bool was_undecided = s->past == PAST_UNDECIDED;

	if (!send_page(s, page.body))
	{
		hold_page(s, 0);
		set_state(s, SUBSCRIPTION_WAITING);
		return;
	}
	if (page.next > s->listener.next)
		s->listener.next = page.next;
	s->past = read_past(page.state);
	if (s->past == PAST_READ)
		s->listener.complete_below = s->below > s->after ? s->below : s->after + 1;
	if (s->past == PAST_READ && s->head_state == HEAD_KNOWN && !has_reached_head(s))
		s->past = PAST_UNDECIDED;
	/* What this one waited for is decided, so perhaps is what the others wait for. */
	if (was_undecided && s->past != PAST_UNDECIDED)
		feed_stir(&s->listener);
	drain(s);
}

/* False: it is asked again when the feed says so. */
static bool is_usable(struct subscription *s, const struct db_reply *reply)
{
	bool stale = s->stale;

	s->stale = false;
	return reply->status == DB_OK && !stale && feed_is_sure(&s->listener);
}

/* Hands what Postgres answered to `take`, unless the subscription has ended meanwhile or must ask again. */
static void on_answer(struct subscription *s, const struct db_reply *reply,
					  void (*take)(struct subscription *s, const struct db_reply *reply))
{
	struct subscriptions *all = s->all;

	if (s->state == SUBSCRIPTION_ENDED)
	{
		all->reading--;
		free(s);
	}
	else if (is_usable(s, reply))
		take(s, reply);
	else
	{
		/* The feed has the same troubles, and knows what to do about them. */
		hold_page(s, 0);
		set_state(s, SUBSCRIPTION_WAITING);
	}
	read_queued(all);
}

static void on_page(void *arg, struct db_reply *reply)
{
	on_answer(arg, reply, take_page);
}

static bool ask_page(struct subscription *s)
{
	const struct feed_filter *filter = &s->listener.filter;
	struct buf types = {0};
	bool asked;
	struct db_read_pokes in = {
		.namespace_name = s->namespace_name,
		.stream = filter->source == FEED_STREAM ? filter->name : NULL,
		.category = filter->source == FEED_CATEGORY ? filter->name : NULL,
		.position = s->listener.next,
		.below = s->below,
		.member = filter->member,
		.size = filter->size,
		.ids = filter->ids,
		.messages = filter->messages,
		.max_bytes = (int64_t)s->page,
		.global_position = s->after + 1,
		.correlation = filter->correlation,
	};

	if (filter->types != NULL)
	{
		subscribe_params_write_types(&types, filter->types);
		in.types = types.data;
	}
	asked = !types.failed && db_read_pokes(s->all->db, &in, on_page, s);
	buf_free(&types);
	return asked;
}

static struct subscribe_place place_of(const struct subscription *s)
{
	return (struct subscribe_place){
		.by_stream = s->listener.filter.source == FEED_STREAM, .next = s->listener.next, .after = s->after};
}

static bool ask_head(struct subscription *s)
{
	const struct db_subscribe_head in = {
		.namespace_name = s->namespace_name,
		.stream = s->listener.filter.source == FEED_STREAM ? s->listener.filter.name : NULL,
	};

	return db_subscribe_head(s->all->db, &in, on_head, s);
}

/* Whether it has everything, and only lacks what to tell its client. */
static bool must_learn_head(const struct subscription *s)
{
	return s->wants_head && s->past == PAST_READ && s->head_state == HEAD_UNKNOWN;
}

/* Asks for the head or for a page, whichever comes first. */
static bool ask(struct subscription *s)
{
	struct subscribe_place place = place_of(s);

	s->below = feed_position(&s->listener);
	if (s->below == 0)
		return false;
	s->placed = s->placed || !subscribe_head_is_suspect(&place, s->below);
	if (!s->placed)
		return ask_head(s);
	if (must_learn_head(s))
		return db_head(s->all->db, s->namespace_name, on_reached, s);
	if (s->head_state == HEAD_TOLD)
		s->head_state = HEAD_UNKNOWN; /* there is more to catch up with */
	hold_page(s, s->reads_fast && s->all->held < MAX_HELD ? LARGE_PAGE : SMALL_PAGE);
	return ask_page(s);
}

/* Those whose turn it is. */
static void read_queued(struct subscriptions *all)
{
	struct subscription *s;

	while (all->reading < READS_AT_ONCE && (s = TAILQ_FIRST(&all->queue)) != NULL)
	{
		set_state(s, SUBSCRIPTION_READING);
		if (ask(s))
			continue;
		hold_page(s, 0);
		set_state(s, SUBSCRIPTION_WAITING);
	}
}

/* ---- the head ------------------------------------------------------------------ */

/*
 * Who does not know the event `reset` would take it for a message.  It waits for the position that it asked
 * for, unless it was handed messages already.
 */
static void take_head(struct subscription *s, const struct db_reply *reply)
{
	const struct db_heads heads = db_heads_of(reply);
	struct subscribe_place place = place_of(s);
	struct subscribe_place below;
	struct subscribe_head head;
	char text[SUBSCRIBE_HEAD_TEXT];

	s->placed = true;
	set_state(s, SUBSCRIPTION_QUEUED);
	if (!subscribe_head_judge(&heads, &place, &head, &below))
		return;
	log_warning("a subscription of namespace %s at position %" PRId64 " is above the head %" PRId64,
				s->namespace_name, head.position, head.head);
	if (s->knows_reset)
		subscribe_head_write_reset(&head, s->has_ids, text);
	else
		subscribe_head_write_comment(&head, text);
	send_text(s, text);
	if (!s->knows_reset && s->listener.next == s->listener.first)
		return;
	s->listener.next = below.next;
	s->after = below.after;
	if (s->listener.first > below.next)
		s->listener.first = below.next;
}

static void on_head(void *arg, struct db_reply *reply)
{
	on_answer(arg, reply, take_head);
}

/*
 * Whether all that there was when it first had read everything is dealt with; the feed may not have got there
 * yet.
 */
static bool has_reached_head(const struct subscription *s)
{
	return s->listener.complete_below > s->head || s->head == INT64_MAX;
}

static void take_reached(struct subscription *s, const struct db_reply *reply)
{
	s->head = db_head_of(reply);
	s->head_state = HEAD_KNOWN;
	if (has_reached_head(s))
	{
		go_on(s);
		return;
	}
	s->past = PAST_UNDECIDED;
	set_state(s, SUBSCRIPTION_WAITING);
}

static void on_reached(void *arg, struct db_reply *reply)
{
	on_answer(arg, reply, take_reached);
}

static void tell_head(struct subscription *s)
{
	char text[SUBSCRIBE_HEAD_TEXT];

	if (s->head_state != HEAD_KNOWN)
		return;
	subscribe_head_write_reached(s->head, text);
	send_text(s, text);
	s->head_state = HEAD_TOLD;
}

/* From any state in which nothing is under way. */
static void go_on(struct subscription *s)
{
	if (s->past == PAST_UNDECIDED && s->state == SUBSCRIPTION_DRAINING)
		set_state(s, SUBSCRIPTION_WAITING);
	else if (s->past == PAST_READ && !must_learn_head(s) && feed_follow(&s->listener))
	{
		set_state(s, SUBSCRIPTION_FOLLOWING);
		tell_head(s);
	}
	else
	{
		set_state(s, SUBSCRIPTION_QUEUED);
		read_queued(s->all);
	}
}

static void on_go_on(struct listener *listener)
{
	go_on((struct subscription *)listener);
}

static void on_restart(struct listener *listener)
{
	struct subscription *s = (struct subscription *)listener;

	s->past = PAST_MORE;
	s->placed = false;
	s->head_state = HEAD_UNKNOWN;
	s->stale = s->state == SUBSCRIPTION_READING;
	if (s->state == SUBSCRIPTION_FOLLOWING)
		set_state(s, SUBSCRIPTION_WAITING);
}

static void on_end(struct listener *listener)
{
	end((struct subscription *)listener);
}

/* ---- silence ---------------------------------------------------------------------- */

/*
 * With a blank line behind it several clients make an event of a comment.  Some of the others keep comments
 * until a blank line comes, in 64 KiB at most.
 */
static void ping(struct subscription *s)
{
	send_text(s, ++s->pings % PINGS_KEPT == 0 ? SUBSCRIBE_PING "\n" : SUBSCRIBE_PING);
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
		/* Who has not read what it was sent has no silence. */
		if (http_reply_unsent(s->request) == 0)
			ping(s);
		else
			touch(s);
	}
}

/* ---- starting ----------------------------------------------------------------------- */

static void refuse(struct http_request *request, int status, const char *problem)
{
	const struct http_reply reply = {.status = status,
									 .content_type = "text/plain; charset=utf-8",
									 .headers = status == 503 ? SUBSCRIBE_HEADERS "Retry-After: 1\r\n"
															  : SUBSCRIBE_HEADERS};
	struct piece piece = piece_of(problem);

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
	if (feed_attach(all->feeds, claim->name, claim->hash, &s->listener))
		return s;
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
	send_text(s, ": no category has a dash in its name, nothing will come; stream= takes a stream's name\n");
}

void subscribe_reply_start(struct http_request *request)
{
	static const struct http_reply head = {
		.status = 200,
		.content_type = "text/event-stream",
		.headers = "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n" SUBSCRIBE_HEADERS,
	};

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
	send_text(s, s->has_ids ? ": ready\n\nretry: 1000\n" : ": ready\n\n");
	warn_of_dash(s);
	http_reply_low_water(s->request, 0);
	http_reply_when_gone(s->request, on_gone, s);
	if (feed_position(&s->listener) > 0)
		go_on(s);
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
		snprintf(problem, 200, "%s", all->ending ? "the server is stopping" : "out of memory");
		if (!all->ending)
			s = subscription_new(all, request, claim, &params);
	}
	buf_free(&params.text);
	return s;
}

void subscribe_start(struct subscriptions *all, struct http_request *request, const struct claim *claim)
{
	char problem[200];
	int status;
	struct subscription *s = subscribe(all, request, claim, &status, problem);

	if (s == NULL)
	{
		refuse(request, status, problem);
		return;
	}
	subscribe_reply_start(request);
	start(s);
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
		[FEED_ALL] = "all", [FEED_CATEGORY] = "category", [FEED_STREAM] = "stream"};

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

struct subscriptions *subscriptions_new(struct event_base *base, struct db *db, struct feeds *feeds)
{
	struct subscriptions *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return NULL;
	all->db = db;
	all->feeds = feeds;
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
		end(TAILQ_FIRST(&all->by_silence)); /* NOLINT(clang-analyzer-unix.Malloc) */
}

void subscriptions_free(struct subscriptions *all)
{
	if (all == NULL)
		return;
	event_del(&all->sweep);
	free(all);
}
