/*
 * subscription.c: the state of a subscription, its lists and its reply (see subscription.h).
 */
#include "live/subscription.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/http.h"

void subscription_set_state(struct subscription *s, enum subscription_state state)
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

void subscription_touch(struct subscription *s)
{
	TAILQ_REMOVE(&s->all->by_silence, s, in_silence);
	s->sent_ms = clock_ms();
	TAILQ_INSERT_TAIL(&s->all->by_silence, s, in_silence);
}

void subscription_hold_page(struct subscription *s, size_t bytes)
{
	s->all->held = s->all->held - s->page + bytes;
	s->page = bytes;
}

size_t subscription_query_size(const struct subscription *s)
{
	return s->listener.filter.source == FEED_QUERY ? strlen(s->name) : 0;
}

struct http_request *subscription_retire(struct subscription *s)
{
	struct subscriptions *all = s->all;
	struct http_request *request = s->request;
	bool reading = s->state == SUBSCRIPTION_READING;

	feed_detach(&s->listener);
	all->queries -= subscription_query_size(s);
	subscription_hold_page(s, 0);
	subscription_set_state(s, SUBSCRIPTION_ENDED);
	all->reading += reading; /* its query is still in flight */
	TAILQ_REMOVE(&all->by_silence, s, in_silence);
	if (TAILQ_EMPTY(&all->by_silence))
		event_del(&all->sweep);
	s->request = NULL;
	if (!reading)
		free(s);
	return request;
}

void subscription_end(struct subscription *s)
{
	http_reply_end(subscription_retire(s));
}

void subscription_send(struct subscription *s, const char *bytes, size_t len)
{
	struct piece piece = {.bytes = bytes, .len = len};

	s->bytes_out += len;
	http_reply_raw(s->request, &piece, 1);
	subscription_touch(s);
}

void subscription_send_text(struct subscription *s, const char *text)
{
	struct piece piece = piece_of(text);

	s->bytes_out += piece.len;
	http_reply_part(s->request, &piece, 1);
	subscription_touch(s);
}
