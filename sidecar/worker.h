/*
 * worker: a thread with an event loop, its own connections to Postgres and its own listening sockets.
 *
 * Made, started, stopped and freed from the main thread; everything in between happens in its own.
 */
#ifndef MILLRACE_WORKER_H
#define MILLRACE_WORKER_H

#include <stdbool.h>

struct config;
struct listeners;
struct shared;
struct worker;

/* Takes the sockets of `listeners` in any case; NULL: out of memory or descriptors. */
struct worker *worker_new(const struct config *config, const char *conninfo, struct shared *shared,
						  struct listeners *listeners);
bool worker_start(struct worker *worker);		/* false: no thread could be made */
bool worker_ready(const struct worker *worker); /* has its connection for appends; from any thread */
void worker_stop(struct worker *worker);		/* begins to drain; worker_free waits for the end */
void worker_free(struct worker *worker);

#endif
