/*
 * notify: tells the service manager how we are, by the protocol of sd_notify(3).
 *
 * systemd names a datagram socket in NOTIFY_SOCKET when a unit has Type=notify.  The protocol is
 * stable and documented for programs that do without libsystemd.
 */
#ifndef MILLRACE_NOTIFY_H
#define MILLRACE_NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

/* All zero: there is no such socket. */
struct notify
{
	struct sockaddr_un address;
	socklen_t len;
};

/*
 * Takes the socket out of the environment: a Postgres that we start would find it there and say
 * that it is ready, long before we are.  Before there are threads.
 */
void notify_open(struct notify *notify);

/* Sends a state such as "READY=1"; does nothing without a socket. */
void notify_send(const struct notify *notify, const char *state);

#endif
