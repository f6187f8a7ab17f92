/*
 * moving.c: where the namespace of a feed is now that is sealed, or has moved to another cluster (see
 * feed_internal.h).
 */
#include "base/clock.h"
#include "base/log.h"
#include "live/feed_internal.h"

bool feed_seek(struct feed *feed, void (*done)(struct place_wait *wait, const struct error *error))
{
	struct places *places = feed->feeds->places;
	struct error error;

	feed->wait.done = done;
	if (!places_wait(places, feed->name, places_deadline(places, clock_ms()), &feed->wait, &error))
		return false;
	feed->asked = FEED_ASKED_PLACE;
	return true;
}

bool feed_take_place(struct feed *feed, const struct error *error)
{
	struct place *place = error->code == ERROR_NONE ? places_of(feed->feeds->places, feed->name) : NULL;

	feed->elsewhere = place == NULL;
	if (error->code != ERROR_NONE && !feed->failing)
	{
		log_warning("the subscriptions of namespace %s are waiting: %s", feed->name, error->message);
		feed->failing = true;
	}
	if (place == NULL || place == feed->place)
		return false;
	feed->place = place;
	feed->created_at[0] = '\0';
	log_info("the subscriptions of namespace %s go on at cluster %s", feed->name,
			 places_name(feed->feeds->places, place));
	return true;
}
