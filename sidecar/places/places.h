/*
 * places: the clusters that a worker uses, each with connections of its own, and the wait for a namespace
 * that is on its way from one to another.
 *
 *     places.c    their life, and what the directory tells them
 *     clusters.c  they are opened when first needed, and found
 *     pauses.c    requests wait until their namespace is open, wherever that is
 *
 * One per worker, used from its thread only, but where it is said.  Without a directory there is one
 * place, the server's own database.
 *
 * What a store says of its namespace decides.  "Open" at an epoch that is not below the directory's: it is
 * here.  "Sealed": it will be open again, here or elsewhere.  "Moved", older, or not there: it is elsewhere,
 * where the store or the directory says.
 */
#ifndef MILLRACE_PLACES_H
#define MILLRACE_PLACES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/errors.h"
#include "places/directory.h"

struct config;
struct db;
struct db_place;
struct db_reply;
struct event_base;
struct place_pause;
struct places;
struct stats;

/* A cluster that is used, its primary and standbys together (db); it stays as long as the places. */
struct place
{
	unsigned cluster; /* its number; DIRECTORY_OWN: --database */
	struct db *db;
	unsigned version; /* of what it is reached by */
	struct places *places;
};

struct places_options
{
	const struct config *config;
	const char *conninfo; /* of --database */
	bool pooled;		  /* see db_reached */
	struct directory *directory;
	struct stats *stats;
};

/* NULL: out of memory. */
struct places *places_new(struct event_base *base, const struct places_options *options);
/* Answers what waits for a namespace, and lets nothing wait any more. */
void places_drain(struct places *places);
/* As db_close and db_free, of all places. */
void places_close(struct places *places);
void places_free(struct places *places);

/*
 * The one where a namespace is, as far as is known.  NULL: out of memory, or its cluster is not in the
 * directory.
 */
struct place *places_of(struct places *places, const char *namespace_name);
/* That of the server's own database. */
struct place *places_own(struct places *places);
/* That of a cluster, opened if need be; NULL as for places_of. */
struct place *places_open(struct places *places, unsigned cluster);
/* The same by the cluster's name; NULL, too: there is none of that name. */
struct place *places_named(struct places *places, const char *cluster);
/* The opened one with the lowest number from `cluster` on; NULL: there is none. */
struct place *places_next(struct places *places, unsigned cluster);
/* NULL: without a directory. */
struct directory *places_directory(struct places *places);
/* The name of a place's cluster; "": without a directory. */
const char *places_name(struct places *places, const struct place *place);
/* Calls back for every place, those that are there and each that is opened later.  One such callback. */
void places_on_open(struct places *places, void (*opened)(void *arg, struct place *place), void *arg);

/* Of a cluster's connections, from any thread; false, too: the worker has not used it yet. */
bool places_ready(struct places *places, unsigned cluster);
bool places_readable(struct places *places, unsigned cluster);
bool places_reads_from_standby(struct places *places, unsigned cluster);
bool places_uses(struct places *places, unsigned cluster);

/* Whether a database refused because the namespace is sealed, or has moved. */
bool places_refused(const struct db_reply *reply);

/* ---- where a namespace is ------------------------------------------------------------------------------ */

enum place_verdict
{
	PLACE_OPEN,
	PLACE_SEALED,
	PLACE_ELSEWHERE, /* places_wait finds out where */
};

/* From what a store said when it was asked about a namespace. */
enum place_verdict places_judge(struct places *places, const struct place *place, const char *namespace_name,
								const struct db_place *said);

/* Part of what waits; all zero at first. */
struct place_wait
{
	TAILQ_ENTRY(place_wait) link;
	struct place_pause *pause; /* NULL: it does not wait */
	uint64_t deadline_ms;
	void (*done)(struct place_wait *wait, const struct error *error);
};

/*
 * Waits until the namespace is open; `done` is then called, from the event loop, with an error of ERROR_NONE,
 * and places_of gives where; or with the error that the request is to be answered with.  Those of a namespace
 * are called in the order in which they came.  False: out of memory or shutting down, and *error says so.
 */
bool places_wait(struct places *places, const char *namespace_name, uint64_t deadline_ms,
				 struct place_wait *wait, struct error *error);
/* It does not wait any more. */
void places_leave(struct place_wait *wait);
/* Whether requests wait for a namespace, so that another one need not ask. */
bool places_is_paused(const struct places *places, const char *namespace_name);
/* Until when a request that began then (clock_ms) may wait. */
uint64_t places_deadline(const struct places *places, uint64_t began_ms);

/* ---- changing the directory ---------------------------------------------------------------------------- */

/*
 * Enters a namespace for a place, or with `place` NULL takes it out; `done` is called once, from the event
 * loop.  Without a directory, false: there is nothing to do, or, with an error set, no memory.
 */
bool places_enter(struct places *places, const char *namespace_name, const struct place *place,
				  void (*done)(void *arg, const struct error *error), void *arg, struct error *error);

#endif
