/*
 * wakes.c: eventfds and bits (see wakes.h).
 */
#include "live/wakes.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

struct feed_waker *feed_wakes_join(struct feed_wakes *wakes)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	unsigned place;

	if (fd < 0)
		return NULL;
	place = atomic_load(&wakes->nworkers);
	if (place == FEED_MAX_WORKERS)
	{
		close(fd);
		return NULL;
	}
	wakes->workers[place].fd = fd;
	atomic_store(&wakes->nworkers, place + 1);
	return &wakes->workers[place];
}

void feed_wakes_listen(struct feed_wakes *wakes, struct feed_waker *waker, bool listening)
{
	atomic_store(&waker->listening, listening);
	if (listening)
		atomic_fetch_add(&wakes->listening, 1);
	else
		atomic_fetch_sub(&wakes->listening, 1);
}

void feed_wakes_ring(struct feed_wakes *wakes, const struct feed_waker *own, uint64_t namespaces)
{
	unsigned nworkers = atomic_load(&wakes->nworkers);
	uint64_t one = 1;

	for (unsigned i = 0; i < nworkers && i < FEED_MAX_WORKERS; i++)
	{
		struct feed_waker *waker = &wakes->workers[i];

		if (waker == own || !atomic_load(&waker->listening))
			continue;
		/* Where no bit was set before, the worker has not been told since it looked last. */
		if (atomic_fetch_or(&waker->namespaces, namespaces) == 0 && write(waker->fd, &one, sizeof(one)) < 0)
			log_bug("could not wake a worker");
	}
}

uint64_t feed_wakes_take(struct feed_waker *waker)
{
	uint64_t count;

	/* First the eventfd, then the bits: one that is set in between makes it readable again. */
	if (read(waker->fd, &count, sizeof(count)) < 0)
		return 0;
	return atomic_exchange(&waker->namespaces, 0);
}

void feed_wakes_close(struct feed_wakes *wakes)
{
	for (unsigned i = 0; i < atomic_load(&wakes->nworkers); i++)
		close(wakes->workers[i].fd);
	atomic_store(&wakes->nworkers, 0);
}
