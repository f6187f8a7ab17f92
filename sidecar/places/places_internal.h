/*
 * places_internal: what places.c, clusters.c and pauses.c share; only they include it.
 */
#ifndef MILLRACE_PLACES_INTERNAL_H
#define MILLRACE_PLACES_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>

#include "places/places.h"

TAILQ_HEAD(pause_list, place_pause);
TAILQ_HEAD(wait_list, place_wait);

struct places
{
	struct event_base *base;
	struct places_options options;
	/* By the clusters' numbers; others read it while its own thread adds to it. */
	_Atomic(struct place *) list[DIRECTORY_MAX_CLUSTERS];
	void (*opened)(void *arg, struct place *place);
	void *opened_arg;
	struct event rung;
	int bell; /* of the directory; -1: none */
	struct pause_list pauses;
	bool draining;
};

/* Opens a cluster; NULL: out of memory. */
struct place *place_new(struct places *places, unsigned cluster, const char *conninfo, unsigned version);
/* The directory has changed or answered: what waits looks again. */
void pauses_look(struct places *places);

#endif
