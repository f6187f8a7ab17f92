/*
 * moving.c: a feed whose namespace is sealed, or has moved to another cluster, goes on when that is open,
 * wherever it is then (see feed_internal.h).
 *
 * At another place it begins anew, as after a crash: its listeners read from where they are.  Positions are
 * the same there, so they are handed none twice and miss none.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "live/feed_internal.h"

static void take_place(struct feed *feed)
{
	struct place *place = places_of(feed->feeds->places, feed->name);

	feed->elsewhere = place == NULL;
	if (place == NULL || place == feed->place)
		return;
	feed->place = place;
	feed->created_at[0] = '\0';
	feed_restart(feed);
	log_info("the subscriptions of namespace %s go on at cluster %s", feed->name,
			 places_name(feed->feeds->places, place));
}

static void on_open(struct place_wait *wait, const struct error *error)
{
	struct feed *feed = (struct feed *)wait;
	const struct place *before = feed->place;

	if (error->code == ERROR_NONE)
		take_place(feed);
	else if (error->code == ERROR_NAMESPACE_NOT_FOUND)
		feed_end(feed);
	else if (!feed->failing)
	{
		log_warning("the subscriptions of namespace %s are waiting: %s", feed->name, error->message);
		feed->failing = true;
	}
	/* At the same place it may take a moment, as on a standby. */
	if (feed_end_answer(feed))
		feed_ask_soon(feed, feed->place != before);
}

bool feed_seek(struct feed *feed)
{
	struct places *places = feed->feeds->places;
	struct error error;

	feed->wait.done = on_open;
	if (!places_wait(places, feed->name, places_deadline(places, clock_ms()), &feed->wait, &error))
		return false;
	feed->asked = FEED_ASKED_PLACE;
	return true;
}
