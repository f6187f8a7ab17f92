/*
 * descriptors: how many files the process may have open; see descriptors.h.
 */
#include "serve/descriptors.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "db/db.h"

#define OF_PROCESS 64	/* the standard ones, the log, the admin listener and its connections */
#define OF_WORKER 128	/* its sockets, its event loop, and the clients that it is turning away */
#define OF_DIRECTORY 16 /* clusters, which are not known yet */
#define LEAST 16		/* client connections, a worker, whatever the limit is */

void descriptors_reserve(struct config *config, unsigned nworkers)
{
	rlim_t clusters = config->directory != NULL ? OF_DIRECTORY : 1;
	rlim_t reads = (rlim_t)config->read_connections;
	rlim_t standby = config->read_database != NULL ? DB_STANDBY_CONNECTIONS + reads : 0;
	rlim_t own = OF_WORKER + clusters * (DB_OTHER_CONNECTIONS + reads) + standby;
	rlim_t fixed = OF_PROCESS + nworkers * own;
	rlim_t wanted = fixed + nworkers * (rlim_t)config->max_connections;
	struct rlimit limit;
	rlim_t left;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_cur < wanted)
	{
		limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		{
			log_warning("could not raise the limit of open files: %s", strerror(errno));
			getrlimit(RLIMIT_NOFILE, &limit);
		}
	}
	if (limit.rlim_cur >= wanted)
		return;
	left = limit.rlim_cur > fixed ? (limit.rlim_cur - fixed) / nworkers : 0;
	config->max_connections = left > LEAST ? (int64_t)left : LEAST;
	log_info("open files are limited to %llu, and so connections to %lld a worker",
			 (unsigned long long)limit.rlim_cur, (long long)config->max_connections);
}
