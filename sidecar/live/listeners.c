/*
 * listeners.c: the listeners of a feed are put elsewhere, let go on, and ended; see feed_internal.h.
 */
#include "live/feed_internal.h"

#define JOIN_DISTANCE 1000 /* global positions: further below, a listener catches up by itself */

void listeners_put(struct listener *listener, enum listener_place place)
{
	if (listener->place == LISTENER_FOLLOWING)
		channel_leave(listener, place);
	else
		listener_move(listener, place);
}

void listeners_release(struct feed *feed, unsigned most)
{
	struct listener *last = TAILQ_LAST(&feed->waiting, listener_list);
	struct listener *listener;

	while (most-- > 0 && (listener = TAILQ_FIRST(&feed->waiting)) != NULL)
	{
		bool was_last = listener == last;

		listener_move(listener, LISTENER_ASIDE);
		listener->user->go_on(listener);
		if (was_last)
			break;
	}
}

void listeners_let_go(struct listener *listener)
{
	listeners_put(listener, LISTENER_DETACHED);
	feed_token_leave(listener);
	listener->feed->nlisteners--;
}

void listeners_end(struct feed *feed, const char *hashes)
{
	struct listener *listener;

	while ((listener = feed_tokens_find(feed, hashes)) != NULL)
	{
		listeners_let_go(listener);
		listener->user->end(listener);
	}
}

/* ---- what they ask -------------------------------------------------------------------------- */

/* Whether what is on its way lacks what the filter wants. */
static bool is_lacking(const struct feed *feed, const struct feed_filter *filter)
{
	if (feed->asked != FEED_ASKED_MESSAGES)
		return false;
	return (feed_wants_whole(filter) && !feed->asked_whole) ||
		   (filter->source == FEED_QUERY &&
			!feed_query_is_asked(feed, channel_hash(feed, filter), slice_of(filter->name)));
}

bool feed_follow(struct listener *listener)
{
	struct feed *feed = listener->feed;
	bool lacking = is_lacking(feed, &listener->filter);

	if (listener->complete_below < feed->position - JOIN_DISTANCE)
		return false;
	if (listener->complete_below >= feed->position && !lacking)
		return channel_join(listener);
	listener_move(listener, LISTENER_JOINING);
	feed_wake(feed);
	return true;
}

void feed_wait(struct listener *listener)
{
	listener_move(listener, LISTENER_WAITING);
}

void feed_release(struct listener *listener)
{
	listeners_release(listener->feed, UINT32_MAX);
}
