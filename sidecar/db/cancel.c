/*
 * db_cancel: asks Postgres to end a statement whose answer is not waited for any more; see internal.h.
 *
 * Left alone, its session would go on, and so many of them would be left as attempts were made.  libpq's way
 * to ask connects and waits, so a thread of its own does it.
 *
 * One that waits for a synchronous standby is left alone: its wait would end, and others would see what it
 * committed, which is lost when the standby takes over.
 */
#include "db/conn.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MAX_OPTIONS 64
#define WAITS_SQL                                                                                            \
	"SELECT 1 FROM pg_catalog.pg_stat_activity"                                                              \
	" WHERE pid OPERATOR(pg_catalog.=) $1::int AND wait_event OPERATOR(pg_catalog.=) 'SyncRep'"

/* Owned by the thread. */
struct cancel
{
	PGcancel *what;
	PQconninfoOption *options;
	char host[1024], port[16], process[16];
};

static void cancel_free(struct cancel *cancel)
{
	PQfreeCancel(cancel->what);
	PQconninfoFree(cancel->options);
	free(cancel);
}

/* Connects to the host that the statement is at, alone. */
static PGconn *connect_there(const struct cancel *cancel)
{
	static const char *const ours[] = {"host", "hostaddr", "port", "target_session_attrs", "connect_timeout"};
	const char *keywords[MAX_OPTIONS + 4] = {"host", "port", "connect_timeout"};
	const char *values[MAX_OPTIONS + 4] = {cancel->host, cancel->port, "5"};
	unsigned count = 3;

	for (const PQconninfoOption *option = cancel->options; option->keyword != NULL && count < MAX_OPTIONS;
		 option++)
	{
		bool is_ours = option->val == NULL;

		for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
			is_ours = is_ours || strcmp(option->keyword, ours[i]) == 0;
		if (is_ours)
			continue;
		keywords[count] = option->keyword;
		values[count++] = option->val;
	}
	return PQconnectdbParams(keywords, values, 0);
}

/* Of another process number, as behind a pooler, nothing is known: false. */
static bool waits_for_standby(const struct cancel *cancel)
{
	const char *process = cancel->process;
	PGconn *pg = connect_there(cancel);
	PGresult *result = PQexecParams(pg, WAITS_SQL, 1, NULL, &process, NULL, NULL, 0);
	bool waits = PQntuples(result) > 0;

	PQclear(result);
	PQfinish(pg);
	return waits;
}

static void *run(void *arg)
{
	struct cancel *cancel = arg;
	char why[256] = "";

	if (waits_for_standby(cancel))
		log_debug("process %s waits for a synchronous standby", cancel->process);
	else if (!PQcancel(cancel->what, why, sizeof(why)))
		log_debug("a statement could not be cancelled: %s", why);
	cancel_free(cancel);
	return NULL;
}

static struct cancel *cancel_new(const struct conn *conn)
{
	struct cancel *cancel = calloc(1, sizeof(*cancel));

	if (cancel == NULL)
		return NULL;
	cancel->what = PQgetCancel(conn->pg);
	cancel->options = PQconninfo(conn->pg);
	snprintf(cancel->host, sizeof(cancel->host), "%s", PQhost(conn->pg));
	snprintf(cancel->port, sizeof(cancel->port), "%s", PQport(conn->pg));
	snprintf(cancel->process, sizeof(cancel->process), "%d", PQbackendPID(conn->pg));
	if (cancel->what != NULL && cancel->options != NULL)
		return cancel;
	cancel_free(cancel);
	return NULL;
}

void conn_cancel(const struct conn *conn)
{
	struct cancel *cancel = cancel_new(conn);
	pthread_attr_t detached;
	pthread_t thread;

	if (cancel == NULL)
		return;
	if (pthread_attr_init(&detached) != 0)
	{
		cancel_free(cancel);
		return;
	}
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &detached, run, cancel) != 0)
		cancel_free(cancel);
	pthread_attr_destroy(&detached);
}
