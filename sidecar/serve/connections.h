/*
 * connections: what sys.connections answers: the clients of all workers.
 *
 * One for each worker, made before its thread starts and used from that; `connections_end` and
 * `connections_free` are for when the thread's loop has ended, before and after worker_free.
 */
#ifndef MILLRACE_CONNECTIONS_H
#define MILLRACE_CONNECTIONS_H

struct connections;
struct worker;

/* For the clients of one of the workers, which is told of it; the array must stay.  NULL: out of memory. */
struct connections *connections_new(struct worker *worker, struct worker *const *workers, unsigned nworkers);
/* Answers those who wait, with an error; NULL is allowed. */
void connections_end(struct connections *connections);
void connections_free(struct connections *connections);

#endif
