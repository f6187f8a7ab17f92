/*
 * table.c: which feeds a worker has, by their namespace (see feed_internal.h).
 */
#include "live/feed_internal.h"

/* Other workers wake this one only while it has feeds. */
static void count_feeds(struct feeds *feeds, int change)
{
	bool before = feeds->nfeeds > 0;

	feeds->nfeeds += (unsigned)change;
	if (feeds->waker != NULL && before != (feeds->nfeeds > 0))
		feed_wakes_listen(feeds->options.wakes, feeds->waker, !before);
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
