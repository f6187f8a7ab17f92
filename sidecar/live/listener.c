/*
 * listener.c: at which place a listener is (see feed_internal.h).
 */
#include "live/feed_internal.h"

void listener_enter(struct listener *listener, enum listener_place place, struct listener_list *list)
{
	if (listener->here != NULL)
		TAILQ_REMOVE(listener->here, listener, link);
	listener->place = place;
	listener->here = list;
	if (list != NULL)
		TAILQ_INSERT_TAIL(list, listener, link);
}

static struct listener_list *list_of(struct feed *feed, enum listener_place place)
{
	switch (place)
	{
		case LISTENER_ASIDE:
			return &feed->aside;
		case LISTENER_WAITING:
			return &feed->waiting;
		case LISTENER_JOINING:
			return &feed->joining;
		default:
			return NULL;
	}
}

void listener_move(struct listener *listener, enum listener_place place)
{
	listener_enter(listener, place, list_of(listener->feed, place));
}
