/*
 * pauses.c: a namespace is on its way, and requests wait for it (see places.h).
 *
 * A pause is one namespace for which something waits.  It asks the store where the namespace is said to be,
 * again and again while that is sealed; follows where a store says that it has moved; and where a store has
 * it not, or an older one, asks the directory once more before it says so.  A store that is away is not
 * waited for any more when the directory comes to name another one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/json.h"
#include "db/calls.h"
#include "places/places_internal.h"

#define PROBE_MS 20	 /* between two questions */
#define AWAY_MS 1000 /* so long the directory is waited for where a store is no help */
#define MAX_HOPS 8	 /* from store to store without the directory */

/* To a store; it is there until the answer comes. */
struct question
{
	struct place_pause *pause; /* NULL: nobody wants the answer any more */
	const struct place *place;
};

struct place_pause
{
	TAILQ_ENTRY(place_pause) link; /* of its worker's; not while it is done */
	struct places *places;
	struct wait_list waits;
	struct event timer;
	struct question *question; /* whose answer is awaited; NULL: none is */
	bool busy;				   /* in a function that must find it afterwards */
	unsigned hops;
	uint64_t answer;	/* of the directory that is waited for; 0: none is */
	uint64_t since_ms;	/* when that began */
	struct error error; /* with which waiting ends */
	char name[];
};

static const struct timeval at_once = {0};

static void look(struct place_pause *pause);

/* ---- its end ------------------------------------------------------------------------------- */

static void forget_question(struct place_pause *pause)
{
	if (pause->question != NULL)
		pause->question->pause = NULL;
	pause->question = NULL;
}

/* Frees a pause for which nothing waits. */
static void drop_if_empty(struct place_pause *pause)
{
	if (!TAILQ_EMPTY(&pause->waits) || pause->busy)
		return;
	forget_question(pause);
	event_del(&pause->timer);
	TAILQ_REMOVE(&pause->places->pauses, pause, link);
	free(pause);
}

static void end_wait(struct place_wait *wait, const struct error *error)
{
	TAILQ_REMOVE(&wait->pause->waits, wait, link);
	wait->pause = NULL;
	wait->done(wait, error);
}

/* Ends all waits; what begins to wait from within waits anew. */
static void release(struct place_pause *pause, const struct error *error)
{
	struct place_wait *wait;

	TAILQ_REMOVE(&pause->places->pauses, pause, link);
	forget_question(pause);
	event_del(&pause->timer);
	pause->busy = true;
	while ((wait = TAILQ_FIRST(&pause->waits)) != NULL)
		end_wait(wait, error);
	free(pause);
}

static void open_up(struct place_pause *pause)
{
	static const struct error none = {.code = ERROR_NONE};

	release(pause, &none);
}

/* Ends the waits whose time is over.  False: none is left, and the pause is gone. */
static bool expire(struct place_pause *pause)
{
	uint64_t now = clock_ms();
	struct place_wait *wait = TAILQ_FIRST(&pause->waits);

	pause->busy = true;
	while (wait != NULL)
	{
		if (wait->deadline_ms > now)
		{
			wait = TAILQ_NEXT(wait, link);
			continue;
		}
		end_wait(wait, &pause->error);
		wait = TAILQ_FIRST(&pause->waits); /* others may have left from within */
	}
	pause->busy = false;
	if (!TAILQ_EMPTY(&pause->waits))
		return true;
	drop_if_empty(pause);
	return false;
}

static void look_later(struct place_pause *pause)
{
	static const struct timeval probe = {.tv_usec = PROBE_MS * 1000L};

	if (expire(pause))
		event_add(&pause->timer, &probe);
}

/* ---- what a store said --------------------------------------------------------------------- */

static void set_sealed(struct error *error, const char *name)
{
	error_set(error, ERROR_NAMESPACE_SEALED,
			  "namespace %s is sealed while it is moved: nothing was stored, try again", name);
}

static void set_moved(struct error *error, const char *name, const struct db_place *said)
{
	struct buf details = {0};

	error_set(error, ERROR_NAMESPACE_MOVED, "namespace %s has moved to cluster %s", name, said->moved_to);
	buf_add_str(&details, "{\"cluster\":");
	json_add_string(&details, said->moved_to, strlen(said->moved_to));
	buf_printf(&details, ",\"epoch\":%" PRId64 "}", said->epoch);
	error_set_details(error, &details);
	buf_free(&details);
}

static void set_older(struct place_pause *pause, const struct place *place, const struct db_place *said)
{
	struct placement placement;
	struct buf details = {0};
	const char *cluster = places_name(pause->places, place);

	directory_find(pause->places->options.directory, pause->name, &placement);
	error_set(&pause->error, ERROR_NAMESPACE_MOVED,
			  "cluster %s has an older namespace %s, of epoch %" PRId64
			  ", than the directory knows of, %" PRId64 ": it may have been restored from a backup",
			  cluster, pause->name, said->epoch, placement.epoch);
	buf_add_str(&details, "{\"cluster\":");
	json_add_string(&details, cluster, strlen(cluster));
	buf_printf(&details, ",\"epoch\":%" PRId64 "}", placement.epoch);
	error_set_details(&pause->error, &details);
	buf_free(&details);
}

/* Asks the directory once more; when it has answered, or is away, the waits end with the pause's error. */
static void ask_directory(struct place_pause *pause)
{
	struct directory *directory = pause->places->options.directory;
	struct error error = pause->error;

	if (directory == NULL || (pause->answer > 0 && (directory_answers(directory) >= pause->answer ||
													clock_passed(clock_ms(), pause->since_ms, AWAY_MS))))
	{
		release(pause, &error);
		return;
	}
	if (pause->answer == 0)
	{
		pause->answer = directory_refresh(directory);
		pause->since_ms = clock_ms();
	}
	look_later(pause);
}

/* The namespace is elsewhere: where the store says, or the directory; else it is asked. */
static void follow(struct place_pause *pause, const struct place *from, const struct db_place *said)
{
	struct places *places = pause->places;
	struct directory *directory = places->options.directory;
	bool moved = said->exists && said->state == DB_PLACE_MOVED;

	if (directory != NULL && pause->hops++ < MAX_HOPS &&
		((moved && directory_learn(directory, pause->name, said->moved_to, said->epoch)) ||
		 places_of(places, pause->name) != from || (!moved && directory_yield(directory, pause->name))))
		look(pause);
	else
		ask_directory(pause);
}

static void take_unavailable(struct place_pause *pause, const struct db_reply *reply, struct db *db)
{
	struct error error;

	if (reply->status == DB_ERROR)
		error_from_sqlstate(&error, reply->error.sqlstate, reply->error.message, reply->error.hint,
							reply->error.pid);
	else
		error_set(&error, ERROR_BACKEND_UNAVAILABLE, "%s", db_unavailable(db));
	release(pause, &error);
}

static void take_said(struct place_pause *pause, const struct place *place, const struct db_place *said)
{
	switch (places_judge(pause->places, place, pause->name, said))
	{
		case PLACE_OPEN:
			open_up(pause);
			return;
		case PLACE_SEALED:
			set_sealed(&pause->error, pause->name);
			look_later(pause);
			return;
		case PLACE_ELSEWHERE:
			break;
	}
	if (!said->exists)
		error_set(&pause->error, ERROR_NAMESPACE_NOT_FOUND, "namespace %s not found", pause->name);
	else if (said->state == DB_PLACE_MOVED)
		set_moved(&pause->error, pause->name, said);
	else
		set_older(pause, place, said);
	follow(pause, place, said);
}

static void on_said(void *arg, struct db_reply *reply)
{
	struct question *question = arg;
	struct place_pause *pause = question->pause;
	const struct place *place = question->place;
	struct db_place said;

	free(question);
	if (pause == NULL)
		return;
	pause->question = NULL;
	if (reply->status != DB_OK)
	{
		take_unavailable(pause, reply, place->db);
		return;
	}
	said = db_place_of(reply);
	take_said(pause, place, &said);
}

/* False: out of memory, or the place is closed. */
static bool ask_store(struct place_pause *pause, const struct place *place)
{
	struct question *question = malloc(sizeof(*question));

	if (question == NULL)
		return false;
	*question = (struct question){pause, place};
	pause->question = question;
	if (db_place(place->db, pause->name, on_said, question))
		return true;
	pause->question = NULL;
	free(question);
	return false;
}

/* Asks the store where the namespace is said to be. */
static void look(struct place_pause *pause)
{
	const struct place *place = places_of(pause->places, pause->name);

	event_del(&pause->timer);
	if (place == NULL)
	{
		error_set(&pause->error, ERROR_BACKEND_UNAVAILABLE,
				  "the directory does not say how the cluster of namespace %s is reached", pause->name);
		ask_directory(pause);
	}
	else if (!ask_store(pause, place))
		look_later(pause);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct place_pause *pause = arg;

	(void)fd;
	(void)what;
	if (expire(pause))
		look(pause);
}

void pauses_look(struct places *places)
{
	struct place_pause *pause;

	for (pause = TAILQ_FIRST(&places->pauses); pause != NULL; pause = TAILQ_NEXT(pause, link))
	{
		if (pause->question != NULL && places_of(places, pause->name) == pause->question->place)
			continue;
		forget_question(pause);
		event_add(&pause->timer, &at_once);
	}
}

/* ---- from outside -------------------------------------------------------------------------- */

static struct place_pause *find(const struct places *places, const char *name)
{
	struct place_pause *pause;

	for (pause = TAILQ_FIRST(&places->pauses); pause != NULL; pause = TAILQ_NEXT(pause, link))
	{
		if (strcmp(pause->name, name) == 0)
			return pause;
	}
	return NULL;
}

/* Its first question is asked from the event loop. */
static struct place_pause *pause_new(struct places *places, const char *name)
{
	struct place_pause *pause = calloc(1, sizeof(*pause) + strlen(name) + 1);

	if (pause == NULL)
		return NULL;
	pause->places = places;
	memcpy(pause->name, name, strlen(name) + 1);
	TAILQ_INIT(&pause->waits);
	set_sealed(&pause->error, name);
	event_assign(&pause->timer, places->base, -1, 0, on_timer, pause);
	event_add(&pause->timer, &at_once);
	TAILQ_INSERT_TAIL(&places->pauses, pause, link);
	return pause;
}

bool places_wait(struct places *places, const char *name, uint64_t deadline_ms, struct place_wait *wait,
				 struct error *error)
{
	struct place_pause *pause = NULL;

	if (!places->draining && (pause = find(places, name)) == NULL)
		pause = pause_new(places, name);
	if (pause == NULL)
	{
		error_set(error, ERROR_BACKEND_UNAVAILABLE, "%s",
				  places->draining ? "the server is stopping" : "out of memory");
		return false;
	}
	wait->pause = pause;
	wait->deadline_ms = deadline_ms;
	TAILQ_INSERT_TAIL(&pause->waits, wait, link);
	return true;
}

void places_leave(struct place_wait *wait)
{
	struct place_pause *pause = wait->pause;

	if (pause == NULL)
		return;
	TAILQ_REMOVE(&pause->waits, wait, link);
	wait->pause = NULL;
	drop_if_empty(pause);
}

bool places_refused(const struct db_reply *reply)
{
	return reply->status == DB_ERROR && (strcmp(reply->error.sqlstate, SQLSTATE_NAMESPACE_SEALED) == 0 ||
										 strcmp(reply->error.sqlstate, SQLSTATE_NAMESPACE_MOVED) == 0);
}

bool places_is_paused(const struct places *places, const char *name)
{
	return !TAILQ_EMPTY(&places->pauses) && find(places, name) != NULL;
}

uint64_t places_deadline(const struct places *places, uint64_t began_ms)
{
	return began_ms + (uint64_t)places->options.config->retry_window * 1000;
}

enum place_verdict places_judge(struct places *places, const struct place *place, const char *name,
								const struct db_place *said)
{
	struct directory *directory = places->options.directory;
	struct placement placement = {.known = false};

	if (!said->exists || said->state == DB_PLACE_MOVED)
		return PLACE_ELSEWHERE;
	if (said->state == DB_PLACE_SEALED)
		return PLACE_SEALED;
	if (directory == NULL)
		return PLACE_OPEN;
	directory_find(directory, name, &placement);
	if (said->epoch < placement.epoch)
		return PLACE_ELSEWHERE;
	/* The directory is behind: an older one, perhaps. */
	if (placement.known && said->epoch > placement.epoch)
		(void)directory_learn(directory, name, places_name(places, place), said->epoch);
	return PLACE_OPEN;
}

/* One of those that wait for anything; NULL: there is none. */
static struct place_wait *any_wait(const struct places *places)
{
	struct place_pause *pause;

	for (pause = TAILQ_FIRST(&places->pauses); pause != NULL; pause = TAILQ_NEXT(pause, link))
	{
		if (!TAILQ_EMPTY(&pause->waits))
			return TAILQ_FIRST(&pause->waits);
	}
	return NULL;
}

void places_drain(struct places *places)
{
	struct place_pause *pause, *next;
	struct place_wait *wait;
	struct error error;

	places->draining = true;
	error_set(&error, ERROR_BACKEND_UNAVAILABLE, "the server is stopping");
	while ((wait = any_wait(places)) != NULL)
		end_wait(wait, &error);
	for (pause = TAILQ_FIRST(&places->pauses); pause != NULL; pause = next)
	{
		next = TAILQ_NEXT(pause, link);
		drop_if_empty(pause);
	}
}
