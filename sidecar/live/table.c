/*
 * table.c: which feeds a worker has, by their namespace (see feed_internal.h).
 */
#include "live/feed_internal.h"

/* Other workers wake this one only while it has feeds, or calls that wait. */
static void tell_whether_listening(struct feeds *feeds, bool before)
{
	if (feeds->waker != NULL && before != feeds_are_listening(feeds))
		feed_wakes_listen(feeds->options.wakes, feeds->waker, !before);
}

static void count_feeds(struct feeds *feeds, int change)
{
	bool before = feeds_are_listening(feeds);

	feeds->nfeeds += (unsigned)change;
	tell_whether_listening(feeds, before);
}

void feeds_set_waiting(struct feeds *feeds, bool waiting)
{
	bool before = feeds_are_listening(feeds);

	feeds->has_waits = waiting;
	tell_whether_listening(feeds, before);
}

void feed_table_add(struct feed *feed)
{
	struct feed **first = &feed->feeds->buckets[feed->hash % FEED_BUCKETS];

	feed->next = *first;
	*first = feed;
	count_feeds(feed->feeds, 1);
}

void feed_table_remove(struct feed *feed)
{
	struct feed **link = &feed->feeds->buckets[feed->hash % FEED_BUCKETS];

	while (*link != NULL && *link != feed)
		link = &(*link)->next;
	if (*link == NULL)
		return;
	*link = feed->next;
	count_feeds(feed->feeds, -1);
}
