/*
 * db_cancel: asks Postgres to end a statement whose answer is not waited for any more; see internal.h.
 *
 * Left alone, its session would go on, and so many of them would be left as attempts were made.  libpq's way
 * to ask connects and waits, so a thread of its own does it.
 */
#include "db/internal.h"

#include <pthread.h>

#include "base/log.h"

static void *cancel(void *arg)
{
	PGcancel *what = arg;
	char why[256] = "";

	if (!PQcancel(what, why, sizeof(why)))
		log_debug("a statement could not be cancelled: %s", why);
	PQfreeCancel(what);
	return NULL;
}

void conn_cancel(const struct conn *conn)
{
	PGcancel *what = PQgetCancel(conn->pg);
	pthread_attr_t detached;
	pthread_t thread;

	if (what == NULL || pthread_attr_init(&detached) != 0)
	{
		PQfreeCancel(what);
		return;
	}
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &detached, cancel, what) != 0)
		PQfreeCancel(what);
	pthread_attr_destroy(&detached);
}
