/*
 * db_hosts: which of several hosts the next attempt to connect begins with.
 *
 * libpq tries the hosts of a connection string in their order, and goes on to the next one where a host
 * refuses.  One that accepts and then says nothing, or hangs up, ends the whole attempt.  So the next attempt
 * begins behind the host at which the last one ended.
 */
#ifndef MILLRACE_DB_HOSTS_H
#define MILLRACE_DB_HOSTS_H

#include <libpq-fe.h>

/*
 * As libpq's keywords of these names, to be given after dbname; NULL: as the connection string says.  Owns
 * the strings.
 */
struct db_hosts
{
	char *host, *hostaddr, *port;
};

/* The attempt ended at the host that the connection names; does nothing when there is only one. */
void db_hosts_next(struct db_hosts *hosts, PGconn *failed);
void db_hosts_free(struct db_hosts *hosts);

/* How long a server may be silent while it is connected to, in ms: connect_timeout, or 10 s. */
unsigned db_connect_timeout(PGconn *pg);

#endif
