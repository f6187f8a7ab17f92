/*
 * listener: the listening sockets of the HTTP API, one set for each worker, and that of the admin listener.
 *
 * All workers listen on the same addresses and the same port (SO_REUSEPORT); the kernel shares
 * connections out.  A worker owns the sockets of its set.
 */
#ifndef MILLRACE_LISTENER_H
#define MILLRACE_LISTENER_H

#include <event2/util.h>
#include <stdbool.h>

#include "base/buf.h"

#define LISTENER_MAX 8	   /* sockets of a worker */
#define LISTENER_PLACE 128 /* bytes of "host:port" */

struct listeners
{
	evutil_socket_t sockets[LISTENER_MAX];
	int count;
};

/*
 * Opens the sockets of `nsets` workers on `address` (NULL = all, IPv4 and IPv6) and *port; port 0
 * becomes the free one that was found.  `place` gets "host:port".  False: *error, nothing stays open.
 */
bool listener_open(struct listeners *sets, unsigned nsets, const char *address, int *port,
				   char place[LISTENER_PLACE], struct buf *error);
void listener_close(struct listeners *set);

/*
 * Opens one socket on "host:port" or "[host]:port", on the first address of that host that can be had; port 0
 * takes a free one.  `place` gets "host:port" with the port that it has.  -1: *error, which begins with
 * `flag` and the address.
 */
evutil_socket_t listener_open_one(const char *flag, const char *address, char place[LISTENER_PLACE],
								  struct buf *error);

#endif
