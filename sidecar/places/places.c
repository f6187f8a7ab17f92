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
#include "db/db.h"

/* ---- the directory ------------------------------------------------------------------------- */

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

/* ---- life ---------------------------------------------------------------------------------- */

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
	if (place_new(places, DIRECTORY_OWN, options->conninfo, 0) != NULL)
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
