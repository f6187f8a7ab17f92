/*
 * directory_own.c: whether --database is the cluster that the directory has by the name of --cluster (see
 * directory.h).
 *
 * Both are asked, the latter by the string by which all other servers go there.  So what is compared is what
 * they are now, and nothing has to be kept in step when a standby is promoted, a backup restored or a cluster
 * upgraded.  Until that is known the thread looks again and again, ever more rarely.
 */
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/identity.h"
#include "places/directory_internal.h"

#define MIN_PAUSE_MS 1000
#define MAX_PAUSE_MS 60000
#define COPY_LOOKS 5   /* in a row: a primary that was deposed is one no more after some seconds */
#define WAIT_MS 30000  /* of a start */
#define WAIT_STEP_MS 5 /* between two looks at what the thread has found */

/* ---- a look -------------------------------------------------------------------------------- */

struct look
{
	struct directory *directory;
	struct session database;
	struct buf place; /* where the directory's string of the own cluster leads; empty: nowhere */
};

/* How --database is to a cluster of the directory.  False: one of both can't be asked, *error says why. */
static bool compare(struct look *look, unsigned cluster, enum identity *how, struct buf *error)
{
	struct session session = {.stopping = look->database.stopping, .quiet = true};
	struct buf conninfo = {0};
	bool done = directory_conninfo(look->directory, cluster, &conninfo) > 0 && !conninfo.failed;

	if (!done)
		buf_add_str(error, "the directory does not say how it is reached");
	done = done && session_open(&session, conninfo.data, 0, error) &&
		   identity_compare(&look->database, &session, how, error);
	if (done && cluster == DIRECTORY_OWN)
		session_describe(&session, &look->place);
	session_close(&session);
	buf_free(&conninfo);
	return done;
}

/* Which other cluster of the directory --database is; NULL: none of those that can be asked. */
static const char *find_other(struct look *look)
{
	unsigned nclusters = directory_clusters(look->directory);
	struct buf error = {0};
	const char *found = NULL;

	for (unsigned i = DIRECTORY_OWN + 1; found == NULL && i < nclusters; i++)
	{
		enum identity how;

		if (compare(look, i, &how, &error) && how == IDENTITY_SAME)
			found = directory_cluster_name(look->directory, i);
	}
	buf_free(&error);
	return found;
}

/* What a start, or the log, says of it. */
static void explain(struct look *look, const char *other, bool copy)
{
	struct buf *error = &look->directory->own_error;

	buf_printf(error, "--cluster says %s", directory_cluster_name(look->directory, DIRECTORY_OWN));
	if (look->place.len > 0)
		buf_printf(error, ", which is %.*s in the directory", (int)look->place.len, look->place.data);
	buf_add_str(error, ", and --database leads to ");
	session_describe(&look->database, error);
	if (other != NULL)
		buf_printf(error, ", which is cluster %s in the directory", other);
	else if (copy)
		buf_add_str(error, ", a copy of it: one of both is a restored backup, or was replaced by the other");
}

static enum directory_own judge(struct look *look, struct buf *error)
{
	enum identity how = IDENTITY_OTHER;
	bool known = compare(look, DIRECTORY_OWN, &how, error);
	const char *other;

	if (known && how == IDENTITY_SAME)
		return DIRECTORY_OWN_RIGHT;
	if (known && how == IDENTITY_COPY)
	{
		if (++look->directory->own_copies < COPY_LOOKS)
			return DIRECTORY_OWN_COPIED;
		explain(look, NULL, true);
		return DIRECTORY_OWN_WRONG;
	}
	look->directory->own_copies = 0;
	other = find_other(look);
	if (!known && other == NULL)
		return DIRECTORY_OWN_UNKNOWN;
	explain(look, other, false);
	return DIRECTORY_OWN_WRONG;
}

/* ---- the thread's -------------------------------------------------------------------------- */

static void tell(struct directory *directory, enum directory_own own, const struct buf *error)
{
	const char *name = directory_cluster_name(directory, DIRECTORY_OWN);
	bool unknown = own == DIRECTORY_OWN_UNKNOWN;

	if (unknown && !directory->own_told)
		log_warning("it could not be checked that --database leads to cluster %s: %.*s", name,
					(int)error->len, error->data != NULL ? error->data : "");
	else if (own == DIRECTORY_OWN_RIGHT && atomic_load(&directory->own_looks) > 1)
		log_info("--database leads to cluster %s", name);
	directory->own_told = directory->own_told || unknown;
}

static void pause_until_next(struct directory *directory, enum directory_own own)
{
	uint64_t longer = directory->own_pause_ms * 2;

	if (own == DIRECTORY_OWN_COPIED || longer < MIN_PAUSE_MS)
		longer = MIN_PAUSE_MS;
	directory->own_pause_ms = longer < MAX_PAUSE_MS ? longer : MAX_PAUSE_MS;
	directory->own_looked_ms = clock_ms();
}

void directory_look_at_own(struct directory *directory, bool (*stopping)(void))
{
	struct look look = {.directory = directory, .database = {.stopping = stopping, .quiet = true}};
	enum directory_own own = atomic_load(&directory->own);
	struct buf error = {0};
	uint64_t number;

	if (own >= DIRECTORY_OWN_RIGHT ||
		(!atomic_exchange(&directory->own_wanted, false) &&
		 !clock_passed(clock_ms(), directory->own_looked_ms, directory->own_pause_ms)))
		return;
	number = atomic_fetch_add(&directory->own_looks, 1) + 1;
	own = session_open(&look.database, directory->database, 0, &error) ? judge(&look, &error)
																	   : DIRECTORY_OWN_AWAY;
	tell(directory, own, &error);
	pause_until_next(directory, own);
	session_close(&look.database);
	buf_free(&look.place);
	buf_free(&error);
	atomic_store(&directory->own, own);
	atomic_store(&directory->own_looked, number);
}

/* ---- from another thread ------------------------------------------------------------------- */

enum directory_own directory_own(struct directory *directory, struct buf *error)
{
	enum directory_own own = atomic_load(&directory->own);

	if (own == DIRECTORY_OWN_WRONG)
		buf_add(error, directory->own_error.data, directory->own_error.len);
	return own;
}

enum directory_own directory_await_own(struct directory *directory, bool (*stopping)(void), struct buf *error)
{
	static const struct timespec step = {.tv_nsec = WAIT_STEP_MS * 1000000L};
	uint64_t since = clock_ms(), wanted = atomic_load(&directory->own_looks) + 1;
	enum directory_own own;

	atomic_store(&directory->own_wanted, true);
	(void)directory_refresh(directory);
	while ((own = atomic_load(&directory->own)) < DIRECTORY_OWN_RIGHT &&
		   (own == DIRECTORY_OWN_COPIED || atomic_load(&directory->own_looked) < wanted) && !stopping() &&
		   !clock_passed(clock_ms(), since, WAIT_MS))
		nanosleep(&step, NULL);
	return directory_own(directory, error);
}
