/*
 * places.c: a worker's clusters (see places.h).
 */
#include "places/places_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "db/calls.h"
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

static struct place *new_place(struct places *places, unsigned cluster, const char *conninfo,
							   unsigned version)
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
		place = new_place(places, cluster, conninfo.data, version);
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

/* ---- from any thread --------------------------------------------------------------------------------------- */

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

/* ---- the directory ----------------------------------------------------------------------------------------- */

struct entering
{
	struct directory_task task; /* first: it is handed back, and we cast */
	void (*done)(void *arg, const struct error *error);
	void *arg;
};

static void on_entered(struct directory_task *task)
{
	struct entering *entering = (struct entering *)task;

	entering->done(entering->arg, &task->error);
	free(entering);
}

bool places_enter(struct places *places, const char *namespace_name, const struct place *place,
				  void (*done)(void *arg, const struct error *error), void *arg, struct error *error)
{
	struct entering *entering;

	error->code = ERROR_NONE;
	if (places->options.directory == NULL)
		return false;
	entering = places->bell >= 0 && !places->draining ? calloc(1, sizeof(*entering)) : NULL;
	if (entering == NULL)
	{
		error_set(error, ERROR_INTERNAL_ERROR, "out of memory or descriptors, or the server is stopping");
		return false;
	}
	entering->task.bell = (unsigned)places->bell;
	entering->task.removes = place == NULL;
	snprintf(entering->task.namespace_name, sizeof(entering->task.namespace_name), "%s", namespace_name);
	if (place != NULL)
		snprintf(entering->task.cluster, sizeof(entering->task.cluster), "%s", places_name(places, place));
	entering->task.done = on_entered;
	entering->done = done;
	entering->arg = arg;
	directory_change(places->options.directory, &entering->task);
	return true;
}

static void finish_tasks(struct places *places)
{
	struct directory_task *task, *next;

	for (task = directory_done(places->options.directory, (unsigned)places->bell); task != NULL; task = next)
	{
		next = task->next;
		task->done(task);
	}
}

/* A cluster may be reached in another way now. */
static void look_at_conninfos(struct places *places)
{
	struct directory *directory = places->options.directory;

	for (struct place *place = places_next(places, DIRECTORY_OWN + 1); place != NULL;
		 place = places_next(places, place->cluster + 1))
	{
		struct buf conninfo = {0};

		if (directory_conninfo_version(directory, place->cluster) == place->version)
			continue;
		place->version = directory_conninfo(directory, place->cluster, &conninfo);
		if (!conninfo.failed)
			db_reach_by(place->db, conninfo.data);
		buf_free(&conninfo);
	}
}

static void on_rung(evutil_socket_t fd, short what, void *arg)
{
	struct places *places = arg;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	finish_tasks(places);
	look_at_conninfos(places);
	pauses_look(places);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

struct places *places_new(struct event_base *base, const struct places_options *options)
{
	struct places *places = calloc(1, sizeof(*places));
	int fd;

	if (places == NULL)
		return NULL;
	places->base = base;
	places->options = *options;
	places->bell = -1;
	TAILQ_INIT(&places->pauses);
	if (options->directory != NULL)
	{
		places->bell = directory_bell(options->directory, &fd);
		if (places->bell < 0)
			log_warning("a worker is not told of changes in the directory: there are too many");
		else
		{
			event_assign(&places->rung, base, fd, EV_READ | EV_PERSIST, on_rung, places);
			event_add(&places->rung, NULL);
		}
	}
	if (new_place(places, DIRECTORY_OWN, options->conninfo, 0) != NULL)
		return places;
	places_free(places);
	return NULL;
}

void places_close(struct places *places)
{
	places_drain(places);
	for (struct place *place = places_next(places, 0); place != NULL;
		 place = places_next(places, place->cluster + 1))
		db_close(place->db);
}

void places_free(struct places *places)
{
	if (places == NULL)
		return;
	if (places->bell >= 0)
	{
		finish_tasks(places);
		event_del(&places->rung);
	}
	for (unsigned i = 0; i < DIRECTORY_MAX_CLUSTERS; i++)
	{
		struct place *place = atomic_load(&places->list[i]);

		if (place == NULL)
			continue;
		db_free(place->db);
		free(place);
	}
	free(places);
}
