/*
 * hosts: under which names a listener that asks for no token may be addressed (--allowed-hosts).
 *
 * A page of another site can read such a listener by giving its own name the listener's address (DNS
 * rebinding).  Then the browser sends that name in `Host`.
 */
#ifndef MILLRACE_HOSTS_H
#define MILLRACE_HOSTS_H

#include <stdbool.h>

#include "base/slice.h"

/*
 * Whether a request's Host is an IP address, localhost, or one of the names in `allowed`, which have commas
 * between them ("*": any; NULL: none).  Any port.  Without a Host (.bytes NULL) no browser sent it.
 */
bool hosts_allow(const char *allowed, struct slice host);

/* Whether a request's Origin is that of the server that it addressed as `host`. */
bool hosts_are_one(struct slice origin, struct slice host);

#define HOSTS_REFUSAL                                                                                        \
	"this listener asks for no token, so it answers only to an IP address, localhost and the names in "      \
	"--allowed-hosts; Host is %.*s"

#endif
