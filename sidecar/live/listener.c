/*
 * listener.c: at which place a listener is (see feed_internal.h).
 */
#include "live/feed_internal.h"

static void list_remove(struct listener_list *list, struct listener *listener)
{
	if (list == NULL)
		return;
	if (listener->previous_here != NULL)
		listener->previous_here->next_here = listener->next_here;
	else
		list->first = listener->next_here;
	if (listener->next_here != NULL)
		listener->next_here->previous_here = listener->previous_here;
	else
		list->last = listener->previous_here;
}

static void list_append(struct listener_list *list, struct listener *listener)
{
	if (list == NULL)
		return;
	listener->next_here = NULL;
	listener->previous_here = list->last;
	if (list->last != NULL)
		list->last->next_here = listener;
	else
		list->first = listener;
	list->last = listener;
}

void listener_enter(struct listener *listener, enum listener_place place, struct listener_list *list)
{
	list_remove(listener->here, listener);
	listener->place = place;
	listener->here = list;
	list_append(list, listener);
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
