/*
 * clusters.c: a worker's clusters are opened when first needed, and found (see places.h).
 */
#include "places/places_internal.h"

#include <stdlib.h>
#include <string.h>

#include "db/calls.h"
#include "base/config.h"
#include "db/db.h"

#define AGAIN_MS 50 /* where the question whether it is still the same database could not be asked */

/* ---- another database behind a place --------------------------------------------------------- */

struct returned
{
	struct place *place;
	const struct db_reply *reply;
};

/* Whether what the database has of a namespace is older than is known. */
static bool is_older(void *arg, const char *namespace_name)
{
	const struct returned *returned = arg;
	struct placement placement;

	directory_find(returned->place->places->options.directory, namespace_name, &placement);
	return db_epoch_in(returned->reply, namespace_name) < placement.epoch;
}

static bool none_is_older(void *arg, const char *namespace_name)
{
	(void)arg;
	(void)namespace_name;
	return false;
}

static void ask_epochs(void *arg);

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask_epochs(arg);
}

static void on_epochs(void *arg, struct db_reply *reply)
{
	struct returned returned = {.place = arg, .reply = reply};

	if (reply->status == DB_OK)
		db_go_on(returned.place->db, is_older, &returned);
	else if (reply->status == DB_ERROR) /* nor can anything be appended there */
		db_go_on(returned.place->db, none_is_older, NULL);
	else
		ask_epochs(arg);
}

/* What was known of its namespaces may not hold any more: nothing is appended before that is known. */
static void ask_epochs(void *arg)
{
	static const struct timeval pause = {.tv_usec = AGAIN_MS * 1000L};
	struct place *place = arg;

	if (!db_places(place->db, on_epochs, place))
		event_base_once(place->places->base, -1, EV_TIMEOUT, on_again, place, &pause);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

struct place *place_new(struct places *places, unsigned cluster, const char *conninfo, unsigned version)
{
	const struct places_options *options = &places->options;
	struct place *place = calloc(1, sizeof(*place));

	if (place == NULL)
		return NULL;
	*place = (struct place){.cluster = cluster, .version = version, .places = places};
	place->db = db_new(places->base, options->config,
					   &(struct db_reached){
						   .conninfo = conninfo,
						   .standbys = cluster == DIRECTORY_OWN ? options->config->read_database : NULL,
						   .pooled = options->pooled,
					   },
					   options->stats);
	if (place->db == NULL)
	{
		free(place);
		return NULL;
	}
	if (options->directory != NULL)
		db_on_return(place->db, ask_epochs, place);
	atomic_store(&places->list[cluster], place);
	if (places->opened != NULL)
		places->opened(places->opened_arg, place);
	return place;
}

struct place *places_open(struct places *places, unsigned cluster)
{
	struct place *place = atomic_load(&places->list[cluster]);
	struct buf conninfo = {0};
	unsigned version;

	if (place != NULL || places->draining)
		return place;
	version = directory_conninfo(places->options.directory, cluster, &conninfo);
	if (version > 0 && !conninfo.failed)
		place = place_new(places, cluster, conninfo.data, version);
	buf_free(&conninfo);
	return place;
}

struct place *places_of(struct places *places, const char *namespace_name)
{
	struct placement placement;

	if (places->options.directory == NULL)
		return places_own(places);
	directory_find(places->options.directory, namespace_name, &placement);
	return places_open(places, placement.cluster);
}

struct place *places_own(struct places *places)
{
	return atomic_load(&places->list[DIRECTORY_OWN]);
}

struct place *places_named(struct places *places, const char *cluster)
{
	struct directory *directory = places->options.directory;
	const char *name;

	for (unsigned i = 0; directory != NULL && (name = directory_cluster_name(directory, i)) != NULL; i++)
	{
		if (strcmp(name, cluster) == 0)
			return places_open(places, i);
	}
	return NULL;
}

struct place *places_next(struct places *places, unsigned cluster)
{
	struct place *place = NULL;

	while (place == NULL && cluster < DIRECTORY_MAX_CLUSTERS)
		place = atomic_load(&places->list[cluster++]);
	return place;
}

struct directory *places_directory(struct places *places)
{
	return places->options.directory;
}

const char *places_name(struct places *places, const struct place *place)
{
	struct directory *directory = places->options.directory;

	return directory != NULL ? directory_cluster_name(directory, place->cluster) : "";
}

void places_on_open(struct places *places, void (*opened)(void *arg, struct place *place), void *arg)
{
	places->opened = opened;
	places->opened_arg = arg;
	for (struct place *place = places_next(places, 0); opened != NULL && place != NULL;
		 place = places_next(places, place->cluster + 1))
		opened(arg, place);
}

/* ---- from any thread ----------------------------------------------------------------------- */

bool places_ready(struct places *places, unsigned cluster)
{
	const struct place *place = atomic_load(&places->list[cluster]);

	return place != NULL && db_ready(place->db);
}

bool places_readable(struct places *places, unsigned cluster)
{
	const struct place *place = atomic_load(&places->list[cluster]);

	return place != NULL && db_readable(place->db);
}

bool places_reads_from_standby(struct places *places, unsigned cluster)
{
	const struct place *place = atomic_load(&places->list[cluster]);

	return place != NULL && db_reads_from_standby(place->db);
}

bool places_uses(struct places *places, unsigned cluster)
{
	return atomic_load(&places->list[cluster]) != NULL;
}
