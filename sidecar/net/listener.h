/*
 * listener: the listening sockets of the HTTP API, one set for each worker.
 *
 * All workers listen on the same addresses and the same port (SO_REUSEPORT); the kernel shares
 * connections out.  Whoever is given a set owns its sockets.
 */
#ifndef MILLRACE_LISTENER_H
#define MILLRACE_LISTENER_H

#include <event2/util.h>
#include <stdbool.h>

#include "base/buf.h"

#define LISTENER_MAX 8

struct listeners
{
	evutil_socket_t sockets[LISTENER_MAX];
	int count;
};

/*
 * Opens the sockets of `nsets` workers on `address` (NULL = all, IPv4 and IPv6) and *port; port 0
 * becomes the free one that was found.  `place` gets "host:port".  False: *error, nothing stays open.
 */
bool listener_open(struct listeners *sets, unsigned nsets, const char *address, int *port, char place[128],
				   struct buf *error);
void listener_close(struct listeners *set);

#endif
