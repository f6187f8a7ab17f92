/*
 * feeds.c: the feeds of a worker are woken when messages were committed (see feed.h and feed_internal.h):
 * through this worker, through another one, or by other clients of the database (watch.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "db/db.h"
#include "live/feed_internal.h"

static void on_commit(void *arg, const char *namespace_name)
{
	struct feeds *feeds = arg;
	unsigned listening = atomic_load(&feeds->options.wakes->listening);
	uint32_t hash;

	if (!feeds_are_listening(feeds) && listening == 0)
		return;
	hash = feed_hash(FEED_HASH_START, slice_of(namespace_name));
	for (struct feed *feed = feed_table_bucket(feeds, hash); feed != NULL; feed = feed->next)
	{
		if (feed->hash == hash && strcmp(feed->name, namespace_name) == 0)
			feed_wake(feed);
	}
	if (feeds->has_waits)
		feeds->woken_waits(feeds->waits_arg, UINT64_C(1) << (hash % 64));
	if (listening > (feeds->waker != NULL && feeds_are_listening(feeds)))
		feed_wakes_ring(feeds->options.wakes, feeds->waker, UINT64_C(1) << (hash % 64));
}

/* Wakes the feeds whose names' hashes have one of these bits. */
static void wake_feeds(struct feeds *feeds, uint64_t namespaces)
{
	for (unsigned i = 0; i < FEED_BUCKETS; i++)
	{
		for (struct feed *feed = feeds->buckets[i]; feed != NULL; feed = feed->next)
		{
			if (namespaces & UINT64_C(1) << (feed->hash % 64))
				feed_wake(feed);
		}
	}
	if (feeds->has_waits)
		feeds->woken_waits(feeds->waits_arg, namespaces);
}

static void on_woken(evutil_socket_t fd, short what, void *arg)
{
	struct feeds *feeds = arg;

	(void)fd;
	(void)what;
	wake_feeds(feeds, feed_wakes_take(feeds->waker));
}

static void on_told(struct feeds *feeds)
{
	wake_feeds(feeds, UINT64_MAX);
}

/* Without a place among those that other workers wake the timers must do. */
static void join_wakes(struct feeds *feeds)
{
	feeds->waker = feed_wakes_join(feeds->options.wakes);
	if (feeds->waker == NULL)
		return;
	event_assign(&feeds->woken, feeds->base, feeds->waker->fd, EV_READ | EV_PERSIST, on_woken, feeds);
	event_add(&feeds->woken, NULL);
}

/* A place is used from now on. */
static void on_place(void *arg, struct place *place)
{
	struct feeds *feeds = arg;

	feeds->watches[place->cluster] = (struct feed_watch){.feeds = feeds, .db = place->db};
	db_on_commit(place->db, on_commit, feeds);
}

struct feeds *feeds_new(struct event_base *base, struct places *places, const struct feeds_options *options)
{
	struct feeds *feeds = calloc(1, sizeof(*feeds));

	if (feeds == NULL)
		return NULL;
	feeds->base = base;
	feeds->places = places;
	feeds->options = *options;
	feeds->on_told = on_told;
	join_wakes(feeds);
	places_on_open(places, on_place, feeds);
	return feeds;
}

void feeds_free(struct feeds *feeds)
{
	if (feeds == NULL)
		return;
	places_on_open(feeds->places, NULL, NULL);
	for (unsigned i = 0; i < DIRECTORY_MAX_CLUSTERS; i++)
	{
		if (feeds->watches[i].db != NULL)
			db_on_commit(feeds->watches[i].db, NULL, NULL);
	}
	if (feeds->waker != NULL)
		event_del(&feeds->woken);
	free(feeds->channels.buckets);
	free(feeds);
}

void feeds_on_wake(struct feeds *feeds, void (*woken)(void *arg, uint64_t namespaces), void *arg)
{
	feeds->woken_waits = woken;
	feeds->waits_arg = arg;
}

uint64_t feeds_bit(const char *namespace_name)
{
	return UINT64_C(1) << (feed_hash(FEED_HASH_START, slice_of(namespace_name)) % 64);
}

void feeds_ring(struct feeds *feeds, const char *namespace_name)
{
	feed_wakes_ring(feeds->options.wakes, feeds->waker, feeds_bit(namespace_name));
}

bool feeds_are_told(struct feeds *feeds, const char *namespace_name)
{
	const struct place *place = places_of(feeds->places, namespace_name);
	uint64_t now = clock_ms();

	return place != NULL && (db_has_standby(place->db) ? feeds_watch_primary(feeds, place, now)
													   : feeds_watch(feeds, place, now));
}
