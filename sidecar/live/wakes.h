/*
 * feed_wakes: one worker wakes the feeds of the others when it has committed messages.
 *
 * All workers of a process share one struct feed_wakes.  A worker with feeds has an eventfd there, and one
 * bit for each namespace, or for several whose names have the same hash.
 */
#ifndef MILLRACE_FEED_WAKES_H
#define MILLRACE_FEED_WAKES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FEED_MAX_WORKERS 256

/* All zero at first. */
struct feed_wakes
{
	_Atomic unsigned nworkers;	/* that have a place below */
	_Atomic unsigned listening; /* how many of them have feeds */
	struct feed_waker
	{
		_Atomic bool listening;
		_Atomic uint64_t namespaces; /* where something was committed: bits of the names' hashes */
		int fd;
	} workers[FEED_MAX_WORKERS];
};

/*
 * Takes a place for a worker, whose fd becomes readable when it is woken.  One worker at a time.  NULL: there
 * is no place left, or no file descriptor.
 */
struct feed_waker *feed_wakes_join(struct feed_wakes *wakes);
/* Whether the worker has feeds to wake; called when that changes. */
void feed_wakes_listen(struct feed_wakes *wakes, struct feed_waker *waker, bool listening);
/* Wakes the workers with feeds, but not `own` (NULL: it has no place), for the namespaces of the bits. */
void feed_wakes_ring(struct feed_wakes *wakes, const struct feed_waker *own, uint64_t namespaces);
/* The bits that were set since the last call, when fd is readable; 0: none. */
uint64_t feed_wakes_take(struct feed_waker *waker);
/* When no worker is left. */
void feed_wakes_close(struct feed_wakes *wakes);

#endif
