/*
 * sweeper.c: sweeps by the clock.
 *
 * Every --sweep-interval it asks, at each cluster in turn, which namespaces are due, and makes a step in
 * each in turn, until there is no more to do.  A step is one transaction; how many rows it looks at is
 * chosen so that it takes STEP_MS, and bounded: the next append's flush writes its log too, about half a kB
 * a row.  After each the sweeper rests for many times as long as the step took: the processors and the disk
 * are the clients'.  Where more is due than is swept so, it rests less in time.
 */
#include "serve/sweeper.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/stats.h"
#include "db/calls.h"
#include "places/places.h"

#define STEP_MS UINT64_C(5)
#define LEAST_ROWS 50
#define MOST_ROWS 250
#define REST 20		 /* times the step's own, */
#define LEAST_REST 2 /* where there is no end to what is due: it is halved each time HURRY_MS pass */
#define HURRY_MS 600000
#define REST_MS 10	 /* at least */
#define AWAY_MS 1000 /* without a connection: another cluster is left out then */

struct swept
{
	TAILQ_ENTRY(swept) link;
	struct db *db;
	char name[];
};

TAILQ_HEAD(swept_list, swept);

struct sweeper
{
	const struct config *config;
	struct places *places;
	struct place *place; /* that was asked last what is due */
	unsigned next;		 /* the cluster that is asked next */
	struct stats *stats;
	struct event *timer;
	struct swept_list due; /* the first is next */
	uint64_t asked_ms;	   /* when it was last asked what is due */
	uint64_t sent_ms;	   /* a step */
	uint64_t busy_ms;	   /* since when something is due; 0: nothing is */
	int64_t rows;		   /* of the next step */
	bool waiting;		   /* for an answer */
	bool stopped;
};

static void rest(struct sweeper *sweeper, uint64_t ms)
{
	struct timeval time = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	if (!sweeper->stopped)
		event_add(sweeper->timer, &time);
}

static uint64_t interval_ms(const struct sweeper *sweeper)
{
	return (uint64_t)sweeper->config->sweep_interval * 1000;
}

static void drop(struct sweeper *sweeper, struct swept *swept)
{
	TAILQ_REMOVE(&sweeper->due, swept, link);
	free(swept);
}

/* When all is done, until the next interval. */
static void go_on(struct sweeper *sweeper, uint64_t rest_ms)
{
	uint64_t now = clock_ms(), next = sweeper->asked_ms + interval_ms(sweeper);

	if (TAILQ_EMPTY(&sweeper->due))
		sweeper->busy_ms = 0;
	else if (sweeper->busy_ms == 0)
		sweeper->busy_ms = now;
	if (!TAILQ_EMPTY(&sweeper->due))
		rest(sweeper, rest_ms);
	else
		rest(sweeper, next > now ? next - now : 0);
}

/* ---- steps --------------------------------------------------------------------------- */

/* The next one takes about STEP_MS. */
static void choose_rows(struct sweeper *sweeper, uint64_t took_ms)
{
	if (took_ms > 2 * STEP_MS)
		sweeper->rows /= 2;
	else if (took_ms > STEP_MS)
		sweeper->rows -= sweeper->rows / 4;
	else if (took_ms < STEP_MS / 2)
		sweeper->rows += sweeper->rows / 4;
	if (sweeper->rows < LEAST_ROWS)
		sweeper->rows = LEAST_ROWS;
	if (sweeper->rows > MOST_ROWS)
		sweeper->rows = MOST_ROWS;
}

static uint64_t rest_after(const struct sweeper *sweeper, uint64_t took_ms)
{
	uint64_t times = REST, now = clock_ms(), since = sweeper->busy_ms;

	for (; since != 0 && times > LEAST_REST && clock_passed(now, since, HURRY_MS); since += HURRY_MS)
		times /= 2;
	return took_ms * times > REST_MS ? took_ms * times : REST_MS;
}

static void on_step(void *arg, struct db_reply *reply)
{
	struct sweeper *sweeper = arg;
	struct swept *swept = TAILQ_FIRST(&sweeper->due);
	uint64_t took_ms = clock_span(sweeper->sent_ms, clock_ms());
	struct db_swept answer = {0};

	sweeper->waiting = false;
	if (reply->status == DB_OK)
		answer = db_swept_of(reply);
	else if (reply->status == DB_ERROR)
		log_warning("namespace %s is not swept: %s", swept->name, reply->error.message);
	stats_add(&sweeper->stats->removed[REMOVED_BY_SWEEP], (uint64_t)answer.removed);
	choose_rows(sweeper, took_ms);
	TAILQ_REMOVE(&sweeper->due, swept, link);
	TAILQ_INSERT_TAIL(&sweeper->due, swept, link);
	if (!answer.more)
	{
		if (answer.held_by != NULL)
			log_info("consumer %s holds messages of namespace %s above global position %" PRId64
					 " that would have been swept",
					 answer.held_by, swept->name, answer.held_position);
		drop(sweeper, swept);
	}
	go_on(sweeper, rest_after(sweeper, took_ms));
}

static void step(struct sweeper *sweeper)
{
	sweeper->sent_ms = clock_ms();
	sweeper->waiting = db_sweep(TAILQ_FIRST(&sweeper->due)->db, TAILQ_FIRST(&sweeper->due)->name,
								sweeper->rows, on_step, sweeper);
	if (!sweeper->waiting)
		rest(sweeper, interval_ms(sweeper));
}

/* ---- what is due --------------------------------------------------------------------- */

static bool is_known(const struct sweeper *sweeper, const char *name)
{
	const struct swept *swept;

	for (swept = TAILQ_FIRST(&sweeper->due); swept != NULL; swept = TAILQ_NEXT(swept, link))
	{
		if (swept->db == sweeper->place->db && strcmp(swept->name, name) == 0)
			return true;
	}
	return false;
}

static void ask_next(struct sweeper *sweeper);

static void on_due(void *arg, struct db_reply *reply)
{
	struct sweeper *sweeper = arg;

	sweeper->waiting = false;
	if (reply->status == DB_ERROR)
		log_warning("nothing is swept: %s", reply->error.message);
	for (unsigned i = 0; reply->status == DB_OK && i < db_rows_of(reply); i++)
	{
		const char *name = db_due_of(reply, i);
		struct swept *swept = is_known(sweeper, name) ? NULL : malloc(sizeof(*swept) + strlen(name) + 1);

		if (swept == NULL)
			continue;
		swept->db = sweeper->place->db;
		memcpy(swept->name, name, strlen(name) + 1);
		TAILQ_INSERT_TAIL(&sweeper->due, swept, link);
	}
	ask_next(sweeper);
}

/* The next cluster that is not away; NULL: all were asked. */
static struct place *next_place(struct sweeper *sweeper)
{
	struct directory *directory = places_directory(sweeper->places);
	unsigned nclusters = directory != NULL ? directory_clusters(directory) : 1;

	while (!sweeper->stopped && sweeper->next < nclusters)
	{
		struct place *place = places_open(sweeper->places, sweeper->next++);

		if (place != NULL && (place->cluster == DIRECTORY_OWN || db_outage_ms(place->db) < AWAY_MS))
			return place;
	}
	return NULL;
}

static void ask_next(struct sweeper *sweeper)
{
	while (!sweeper->waiting && (sweeper->place = next_place(sweeper)) != NULL)
		sweeper->waiting = db_sweeps_due(sweeper->place->db, (int64_t)interval_ms(sweeper), on_due, sweeper);
	if (!sweeper->waiting)
		go_on(sweeper, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct sweeper *sweeper = arg;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	if (sweeper->stopped || sweeper->waiting)
		return;
	if (!clock_passed(now, sweeper->asked_ms, interval_ms(sweeper)))
	{
		if (!TAILQ_EMPTY(&sweeper->due))
			step(sweeper);
		else
			go_on(sweeper, 0);
		return;
	}
	sweeper->asked_ms = now;
	sweeper->next = 0;
	ask_next(sweeper);
}

/* ---- life ---------------------------------------------------------------------------- */

struct sweeper *sweeper_new(struct event_base *base, const struct config *config, struct places *places,
							struct stats *stats)
{
	struct sweeper *sweeper = calloc(1, sizeof(*sweeper));

	if (sweeper == NULL)
		return NULL;
	*sweeper = (struct sweeper){
		.config = config, .places = places, .stats = stats, .rows = LEAST_ROWS, .asked_ms = clock_ms()};
	TAILQ_INIT(&sweeper->due);
	sweeper->timer = evtimer_new(base, on_timer, sweeper);
	if (sweeper->timer == NULL)
	{
		free(sweeper);
		return NULL;
	}
	rest(sweeper, interval_ms(sweeper));
	return sweeper;
}

void sweeper_stop(struct sweeper *sweeper)
{
	sweeper->stopped = true;
	event_del(sweeper->timer);
}

void sweeper_free(struct sweeper *sweeper)
{
	if (sweeper == NULL)
		return;
	/* The analyzer can't know that one that was freed has left the list. */
	while (!TAILQ_EMPTY(&sweeper->due))
		drop(sweeper, TAILQ_FIRST(&sweeper->due)); /* NOLINT(clang-analyzer-unix.Malloc) */
	event_free(sweeper->timer);
	free(sweeper);
}
