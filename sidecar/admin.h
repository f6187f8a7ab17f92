/*
 * admin: the second listener, for those who operate the server: /live and /ready.
 *
 * Main thread.  /live answers 200 as long as the process turns its loop; /ready answers 200 when every
 * worker has its database, else 503.
 */
#ifndef MILLRACE_ADMIN_H
#define MILLRACE_ADMIN_H

#include <stdbool.h>

#include "buf.h"

struct admin;
struct event_base;

/* `address` is host:port; `ready` is asked for each /ready.  NULL: *error says why. */
struct admin *admin_new(struct event_base *base, const char *address, bool (*ready)(void *arg), void *arg,
						struct buf *error);
void admin_free(struct admin *admin);

#endif
