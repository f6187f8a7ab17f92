/*
 * catch_up.c: a subscription reads what is below its feed's position, until it can follow (see
 * subscription.h).
 *
 * Pages are large for a client that reads fast, small for one that does not, and small for all while
 * clients hold many of them.  Before the first one, a subscription that may be above everything there is
 * asks for the head; so does each when the database was away.  And before it follows, one whose client
 * asked to be told when it has caught up.
 */
#include "live/subscription.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cloudevent.h"
#include "base/log.h"
#include "db/calls_feed.h"
#include "http/http.h"
#include "http/sse.h"
#include "live/head.h"
#include "live/params.h"

#define SMALL_PAGE 16384
#define LARGE_PAGE 131072
#define MAX_HELD ((size_t)8 * 1024 * 1024) /* bytes of pages under way for which they may be large */
#define READS_AT_ONCE 2					   /* pages; the rest of the pool is for others */

static void on_head(void *arg, struct db_reply *reply);
static void on_reached(void *arg, struct db_reply *reply);
static void read_queued(struct subscriptions *all);
static bool has_reached_head(const struct subscription *s);

static void on_drained(void *arg, bool gone)
{
	struct subscription *s = arg;

	/* on_gone is called for that, too. */
	if (gone)
		return;
	subscription_hold_page(s, 0);
	subscription_go_on(s);
}

void subscription_drain(struct subscription *s)
{
	subscription_set_state(s, SUBSCRIPTION_DRAINING);
	http_reply_when_drained(s->request, on_drained, s);
}

/* ---- pages ---------------------------------------------------------------------- */

static void free_bytes(void *bytes)
{
	free(bytes);
}

/* The same events, each with a CloudEvent as its data. */
static void add_cloudevents(const struct subscription *s, struct slice page, struct buf *out)
{
	struct buf data = {0};
	const char *end;

	while (!out->failed && (end = memmem(page.bytes, page.len, SSE_END, strlen(SSE_END))) != NULL)
	{
		const char *text = memmem(page.bytes, page.len, SSE_DATA, strlen(SSE_DATA)) + strlen(SSE_DATA);
		bool has_id = memcmp(page.bytes, SSE_ID, strlen(SSE_ID)) == 0;
		const char *id = page.bytes + strlen(SSE_ID);
		struct cloudevent event = cloudevent_of_message((struct slice){text, (size_t)(end - text)});
		struct sse_event made = {.name = SSE_MESSAGE};

		buf_clear(&data);
		cloudevent_write(&data, s->namespace_name, &event);
		made.data = (struct slice){data.data, data.len};
		if (has_id)
			made.id = (struct slice){id, strcspn(id, "\n")};
		sse_add_event(out, &made, s->listener.filter.chunked);
		out->failed = out->failed || data.failed;
		end += strlen(SSE_END);
		page = (struct slice){end, (size_t)(page.bytes + page.len - end)};
	}
	buf_free(&data);
}

/* Sends the events of a page.  False: out of memory, nothing was sent. */
static bool send_page(struct subscription *s, struct slice body)
{
	struct buf framed = {0};
	struct piece piece;

	if (body.len == 0)
		return true;
	if (s->listener.filter.cloudevents)
		add_cloudevents(s, body, &framed);
	else
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
	subscription_touch(s);
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
		subscription_hold_page(s, 0);
		subscription_set_state(s, SUBSCRIPTION_WAITING);
		return;
	}
	if (page.next > s->listener.next)
		s->listener.next = page.next;
	s->past = read_past(page.state);
	if (s->past == PAST_READ)
		s->listener.complete_below = s->below > s->after ? s->below : s->after + 1;
	if (s->past == PAST_READ && s->head_state == HEAD_KNOWN && !has_reached_head(s))
		s->past = PAST_UNDECIDED;
	/* What this one waited for is decided, so perhaps is what other subscriptions wait for. */
	if (was_undecided && s->past != PAST_UNDECIDED)
		feed_release(&s->listener);
	subscription_drain(s);
}

/* False: it is asked again when the feed says so. */
static bool is_usable(const struct subscription *s, const struct db_reply *reply)
{
	return reply->status == DB_OK && !s->stale && feed_is_sure(&s->listener);
}

/* A strict one is told what it would miss, and ends. */
static void end_removed(struct subscription *s, const char *details)
{
	struct buf text = {0};

	subscription_hold_page(s, 0);
	subscription_set_state(s, SUBSCRIPTION_WAITING);
	buf_printf(&text, "event: removed\ndata: %s\n\n", details);
	buf_add(&text, "", 1);
	if (!text.failed)
		subscription_send_text(s, text.data);
	buf_free(&text);
	subscription_end(s);
}

/* An answer to a subscription that has not ended. */
static void take_or_wait(struct subscription *s, const struct db_reply *reply,
						 void (*take)(struct subscription *s, const struct db_reply *reply))
{
	bool usable = is_usable(s, reply);
	bool may_be_refused = s->listener.filter.source == FEED_QUERY && !s->stale && feed_is_sure(&s->listener);
	struct error error;

	s->stale = false;
	if (usable)
		take(s, reply);
	else if (may_be_refused && subscription_is_refused(reply, &error))
	{
		subscription_set_state(s, SUBSCRIPTION_WAITING); /* its query is not in flight any more */
		subscription_refuse(s, &error);
	}
	else if (reply->status == DB_ERROR && strcmp(reply->error.sqlstate, SQLSTATE_POSITION_REMOVED) == 0)
		end_removed(s, reply->error.detail);
	else
	{
		/* The feed has the same troubles, and knows what to do about them. */
		subscription_hold_page(s, 0);
		subscription_set_state(s, SUBSCRIPTION_WAITING);
	}
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
	else
		take_or_wait(s, reply, take);
	read_queued(all);
}

static void on_page(void *arg, struct db_reply *reply)
{
	on_answer(arg, reply, take_page);
}

static struct db_reading reading_of(const struct subscription *s)
{
	return (struct db_reading){.seat = feed_seat(&s->listener), .min_position = s->min_position};
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
		.query = filter->source == FEED_QUERY ? filter->name : NULL,
		.strict = {.on = s->strict, .seen = {s->seen >= 0, s->seen}},
		.reading = reading_of(s),
	};

	if (filter->types != NULL)
	{
		subscribe_params_write_types(&types, filter->types);
		in.types = types.data;
	}
	asked = !types.failed && db_read_pokes(feed_db(&s->listener), &in, on_page, s);
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

	return db_subscribe_head(feed_db(&s->listener), &in, on_head, s);
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
	s->placed = s->placed || !subscribe_place_may_be_above(&place, s->below);
	if (!s->placed)
		return ask_head(s);
	if (must_learn_head(s))
		return db_head(feed_db(&s->listener),
					   &(struct db_head){.namespace_name = s->namespace_name, .reading = reading_of(s)},
					   on_reached, s);
	if (s->head_state == HEAD_TOLD)
		s->head_state = HEAD_UNKNOWN; /* there is more to catch up with */
	subscription_hold_page(s, s->reads_fast && s->all->held < MAX_HELD ? LARGE_PAGE : SMALL_PAGE);
	return ask_page(s);
}

/* Those whose turn it is. */
static void read_queued(struct subscriptions *all)
{
	struct subscription *s;

	while (all->reading < READS_AT_ONCE && (s = TAILQ_FIRST(&all->queue)) != NULL)
	{
		subscription_set_state(s, SUBSCRIPTION_READING);
		if (ask(s))
			continue;
		subscription_hold_page(s, 0);
		subscription_set_state(s, SUBSCRIPTION_WAITING);
	}
}

/* ---- the head ------------------------------------------------------------------ */

/*
 * A client that does not know the event `reset` would take it for a message, so it gets a comment, and its
 * subscription waits for the position that it asked for, unless it was handed messages already.
 */
static void take_head(struct subscription *s, const struct db_reply *reply)
{
	const struct db_heads heads = db_heads_of(reply);
	struct subscribe_place place = place_of(s);
	struct subscribe_place below;
	struct subscribe_head head;
	char text[SUBSCRIBE_HEAD_TEXT];

	s->placed = true;
	subscription_set_state(s, SUBSCRIPTION_QUEUED);
	if (!subscribe_head_judge(&heads, &place, &head, &below))
		return;
	log_warning("a subscription of namespace %s at position %" PRId64 " is above the head %" PRId64,
				s->namespace_name, head.position, head.head);
	if (s->knows_reset)
		subscribe_head_write_reset(&head, s->has_ids, text);
	else
		subscribe_head_write_comment(&head, text);
	subscription_send_text(s, text);
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
		subscription_go_on(s);
		return;
	}
	s->past = PAST_UNDECIDED;
	subscription_set_state(s, SUBSCRIPTION_WAITING);
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
	subscription_send_text(s, text);
	s->head_state = HEAD_TOLD;
}

/* ---- going on -------------------------------------------------------------------- */

/* A strict one does not follow: what it is handed must be looked at together with what was removed. */
static bool waits_for_more(const struct subscription *s)
{
	return s->strict && s->past == PAST_READ && !must_learn_head(s) &&
		   s->listener.complete_below >= feed_position(&s->listener);
}

void subscription_go_on(struct subscription *s)
{
	if (s->past == PAST_UNDECIDED && s->state == SUBSCRIPTION_DRAINING)
		subscription_set_state(s, SUBSCRIPTION_WAITING);
	else if (waits_for_more(s))
	{
		subscription_set_state(s, SUBSCRIPTION_WAITING);
		tell_head(s);
	}
	else if (s->past == PAST_READ && !s->strict && !must_learn_head(s) && feed_follow(&s->listener))
	{
		subscription_set_state(s, SUBSCRIPTION_FOLLOWING);
		tell_head(s);
	}
	else
	{
		subscription_set_state(s, SUBSCRIPTION_QUEUED);
		read_queued(s->all);
	}
}

void subscription_restart(struct subscription *s)
{
	if (s->below > s->listener.told_below)
		s->listener.told_below = s->below;
	if (s->listener.complete_below > s->listener.told_below)
		s->listener.told_below = s->listener.complete_below;
	s->past = PAST_MORE;
	s->placed = false;
	s->head_state = HEAD_UNKNOWN;
	s->stale = s->state == SUBSCRIPTION_READING;
	if (s->state == SUBSCRIPTION_FOLLOWING)
		subscription_set_state(s, SUBSCRIPTION_WAITING);
}
