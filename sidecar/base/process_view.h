/*
 * process_view: what sys.stats and sys.connections tell of the process, which only serve/ knows.  A worker's;
 * all of it is asked from the worker's thread.
 */
#ifndef MILLRACE_PROCESS_VIEW_H
#define MILLRACE_PROCESS_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct process_view
{
	uint64_t started_ms;
	unsigned nworkers;
	/*
	 * Asks all workers for their connections, and waits no more than a second.  `done` gets JSON text, from
	 * the loop, good until it returns; .bytes NULL: there was no memory, or the server stops.  False: the
	 * same, and `done` is never called.
	 */
	bool (*list_connections)(void *arg, void (*done)(void *call, struct slice json), void *call);
	void *arg;
};

#endif
