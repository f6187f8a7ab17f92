/*
 * embedded: a private PostgreSQL, a child process of ours.
 *
 * One per process, used from the main thread only: Linux ties "tell me when my parent dies" to the
 * thread that forked.  It lives in its data directory:
 *
 *     pg/             the cluster (initdb), with millrace.conf
 *     run/            its socket, in a folder that only its user can enter; there is no TCP port
 *     postgres.log    what it says
 *     millrace.lock   held while a server uses the directory
 *     millrace.reserve  room for Postgres to start again in when the disk is full
 *
 * In test mode all of that is a temporary folder that is removed at the end.
 */
#ifndef MILLRACE_EMBEDDED_H
#define MILLRACE_EMBEDDED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct config;
struct embedded;
struct event_base;

/* Whether PostgreSQL is where --pg-bindir says; false: *error says what is missing. */
bool embedded_check_programs(const struct config *config, struct buf *error);
/*
 * Makes the data directory when there is none, starts Postgres and waits until it accepts connections.
 * NULL: *error says why.  `stopping` is called while it waits; when it returns true the start is given up.
 */
struct embedded *embedded_start(const struct config *config, unsigned workers, bool (*stopping)(void),
								struct buf *error);
/* The connection string of its superuser; lives as long as it does. */
const char *embedded_conninfo(const struct embedded *embedded);
/* From now on a Postgres that dies is started again, with a growing pause; false: out of memory. */
bool embedded_watch(struct embedded *embedded, struct event_base *base);
/* The server answers requests, so there is time to prepare the cluster that the next new one begins with. */
void embedded_serving(struct embedded *embedded);

/* The file system of the data directory. */
struct embedded_disk
{
	uint64_t size, free; /* bytes; free for the user that runs Postgres */
	bool full;			 /* so little is left that Postgres was made read-only */
};

/* False: it can't be told. */
bool embedded_measure_disk(const struct embedded *embedded, struct embedded_disk *disk);
/* Stops Postgres cleanly, removes what is temporary, frees. */
void embedded_stop(struct embedded *embedded);

#endif
