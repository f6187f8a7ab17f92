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
struct db;
struct event_base;
struct process_view;
struct service;
struct stats;
struct worker;

/*
 * What another thread wants to know of a worker.  The asker's, from the answer on; it begins a larger struct.
 */
struct worker_question
{
	struct worker_question *next; /* the worker's */
	/*
	 * Called once.  On the worker's thread, from its loop and from inside nothing else, it may look at what
	 * the worker owns; when the worker ended first, service and db are NULL and it is called by worker_free.
	 */
	void (*answer)(struct worker_question *question, struct service *service, struct db *db);
};

/* Takes the sockets of `listeners` in any case; NULL: out of memory or descriptors. */
struct worker *worker_new(const struct config *config, const char *conninfo, struct shared *shared,
						  struct listeners *listeners);
/* Between worker_new and worker_start: what its clients are told of the process (methods/methods.h). */
void worker_set_process(struct worker *worker, const struct process_view *process);
/* Between them, too: it sweeps by --sweep-interval.  False: out of memory. */
bool worker_sweep(struct worker *worker);
struct event_base *worker_base(const struct worker *worker);
bool worker_start(struct worker *worker); /* false: no thread could be made */
/* Begins to drain; worker_free() waits for the end. */
void worker_stop(struct worker *worker);
/* Waits for the thread's end; NULL is allowed. */
void worker_free(struct worker *worker);

/* From any thread: */

const struct stats *worker_stats(const struct worker *worker);
bool worker_readable(const struct worker *worker); /* has a connection for reads */
bool worker_reads_from_standby(const struct worker *worker);
bool worker_ready(const struct worker *worker); /* has its connection for appends */
bool worker_ended(const struct worker *worker); /* is drained, or was never started */
/* The question is the worker's until it is answered. */
void worker_ask(struct worker *worker, struct worker_question *question);

#endif
