/*
 * admin: the second listener, for operators: /live, /ready, /metrics and /debug.
 *
 * Used from the main thread only, whose loop answers its requests.  /live answers 200 as long as that loop
 * turns; /ready answers 200 when every worker has its database, else 503.
 */
#ifndef MILLRACE_ADMIN_H
#define MILLRACE_ADMIN_H

#include <event2/util.h>

struct admin;
struct directory;
struct embedded;
struct event_base;
struct tls;
struct worker;

/* Takes the socket, whatever happens; the workers stay the caller's and outlive it.  NULL: out of memory. */
struct admin *admin_new(struct event_base *base, evutil_socket_t listener, struct worker *const *workers,
						unsigned nworkers);
/* What /metrics tells of besides, each the caller's, or NULL. */
void admin_tell_of(struct admin *admin, const struct embedded *embedded, const struct tls *tls,
				   struct directory *directory);
/* Names in `Host` that are answered besides addresses; see front/hosts.h.  The caller's. */
void admin_allow_hosts(struct admin *admin, const char *allowed);
void admin_drain(struct admin *admin); /* not ready from now on */
void admin_free(struct admin *admin);

#endif
