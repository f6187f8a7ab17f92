/*
 * following.c: what listeners ask of their feed: to be handed what comes, or to be called again (see feed.h).
 */
#include "live/feed_internal.h"

#define JOIN_DISTANCE 1000 /* global positions: further below, a listener catches up by itself */

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

struct db *feed_db(const struct listener *listener)
{
	return listener->feed->place->db;
}

int64_t feed_position(const struct listener *listener)
{
	return listener->feed->position;
}

uint64_t feed_seat(const struct listener *listener)
{
	return listener->feed->seat;
}
