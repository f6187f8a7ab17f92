/*
 * directory_ask.c: the thread that asks the database (see directory.h).
 *
 * It asks once a second, and when it is told to, for a stamp that changes with any row, and only when that has
 * changed for the rows.  A round that the database does not answer in time is given up, and its connection
 * with it.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "places/directory_internal.h"

#define POLL_MS 1000
#define PATIENCE_MS 5000 /* of a round */

/* When the thread's session is to give up, as its `stopping` takes no argument; 0: at once. */
static _Atomic uint64_t until_ms;

static bool is_over(void)
{
	return clock_ms() >= atomic_load(&until_ms);
}

/* ---- what the database has ------------------------------------------------------------------------------ */

/* xmin changes with each update, and commits need not come in the order of times. */
static const char stamp_sql[] =
	"SELECT concat_ws(' ', (SELECT concat_ws(' ', count(*), sum(xmin::text::bigint)) FROM millrace.clusters),"
	" (SELECT concat_ws(' ', count(*), sum(xmin::text::bigint)) FROM millrace.directory))";
static const char clusters_sql[] = "SELECT name, conninfo FROM millrace.clusters ORDER BY name";
static const char entries_sql[] = "SELECT namespace, cluster, epoch FROM millrace.directory";

static bool take_clusters(struct directory *directory, struct buf *error)
{
	struct pg_result *result = session_run(&directory->session, "read the clusters of the directory",
										   clusters_sql, NULL, NULL, error);

	if (result == NULL)
		return false;
	pthread_rwlock_wrlock(&directory->lock);
	for (unsigned i = 0; i < session_rows(result); i++)
	{
		int cluster = directory_add_cluster(directory, session_value_of(result, i, 0));

		if (cluster > DIRECTORY_OWN)
			directory_set_conninfo(directory, (unsigned)cluster, session_value_of(result, i, 1));
	}
	pthread_rwlock_unlock(&directory->lock);
	session_free(result);
	return true;
}

static bool take_entries(struct directory *directory, uint64_t answer, bool *news, struct buf *error)
{
	struct pg_result *result =
		session_run(&directory->session, "read the directory", entries_sql, NULL, NULL, error);

	if (result == NULL)
		return false;
	pthread_rwlock_wrlock(&directory->lock);
	for (unsigned i = 0; i < session_rows(result); i++)
	{
		int cluster = directory_add_cluster(directory, session_value_of(result, i, 1));
		int64_t epoch = strtoll(session_value_of(result, i, 2), NULL, 10);

		if (cluster >= 0 && directory_take(directory, session_value_of(result, i, 0),
										   (struct directory_place){(unsigned)cluster, epoch}, answer))
			*news = true;
	}
	directory_forget(directory, answer);
	pthread_rwlock_unlock(&directory->lock);
	session_free(result);
	return true;
}

/* Asks for everything, unless it is what was told before. */
static bool ask(struct directory *directory, uint64_t answer, bool *news, struct buf *error)
{
	struct pg_result *result =
		session_run(&directory->session, "look at the directory", stamp_sql, NULL, NULL, error);
	char *stamp = result != NULL ? strdup(session_value(result, 0)) : NULL;
	bool taken = stamp != NULL;

	session_free(result);
	if (taken && (directory->stamp == NULL || strcmp(stamp, directory->stamp) != 0))
		taken = take_clusters(directory, error) && take_entries(directory, answer, news, error);
	free(directory->stamp);
	directory->stamp = taken ? stamp : NULL;
	if (!taken)
		free(stamp);
	return taken;
}

/* ---- changes ------------------------------------------------------------------------------------------------ */

static void run_task(struct directory *directory, struct directory_task *task)
{
	const char *sql = task->removes ? "SELECT millrace.remove_from_directory($1::text)"
									: "SELECT millrace.place_namespace($1::text, $2::text)";
	struct pg_result *result = session_ask(&directory->session, "change the directory", sql,
										   task->namespace_name, task->removes ? NULL : task->cluster);
	struct buf said = {0};

	task->error.code = ERROR_NONE;
	if (!session_succeeded(result))
	{
		session_error(result, &task->error);
		session_explain(&said, "change the directory", result);
		log_warning("%.*s", (int)said.len, said.data != NULL ? said.data : "");
	}
	session_free(result);
	buf_free(&said);
}

static void finish(struct directory *directory, struct directory_task *task)
{
	pthread_mutex_lock(&directory->tasks_lock);
	task->next = directory->done[task->bell];
	directory->done[task->bell] = task;
	pthread_mutex_unlock(&directory->tasks_lock);
}

static struct directory_task *take_tasks(struct directory *directory)
{
	struct directory_task *tasks;

	pthread_mutex_lock(&directory->tasks_lock);
	tasks = directory->tasks;
	directory->tasks = NULL;
	pthread_mutex_unlock(&directory->tasks_lock);
	return tasks;
}

static void run_tasks(struct directory *directory, bool reachable)
{
	struct directory_task *task, *next;

	for (task = take_tasks(directory); task != NULL; task = next)
	{
		next = task->next;
		if (reachable && !session_is_lost(&directory->session))
			run_task(directory, task);
		else
			error_set(&task->error, ERROR_BACKEND_UNAVAILABLE, "the directory cannot be reached");
		finish(directory, task);
	}
}

/* ---- rounds --------------------------------------------------------------------------------------------------- */

static void ring(const struct directory *directory)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < atomic_load(&directory->nbells); i++)
	{
		if (write(directory->bells[i], &one, sizeof(one)) < 0)
			log_bug("could not wake a worker for the directory");
	}
}

static void note(struct directory *directory, bool reachable, const struct buf *error)
{
	pthread_rwlock_wrlock(&directory->lock);
	directory->reachable = reachable;
	if (reachable)
		directory->answered_ms = clock_ms();
	pthread_rwlock_unlock(&directory->lock);
	if (!reachable && !directory->lost)
		log_warning("the directory cannot be reached, what is known of it stays good: %.*s",
					error->data != NULL ? (int)strcspn(error->data, "\n") : 0, error->data);
	else if (reachable && directory->lost)
		log_info("the directory is back");
	directory->lost = !reachable;
}

/* Opens the session where it is not. */
static bool connect(struct directory *directory, struct buf *error)
{
	if (directory->session.pg != NULL)
		return true;
	free(directory->stamp);
	directory->stamp = NULL;
	directory->session = (struct session){.stopping = is_over, .quiet = true};
	return session_open(&directory->session, directory->conninfo, 0, error);
}

/* Asks, and does what is to be done. */
static void go_round(struct directory *directory)
{
	struct buf error = {0};
	uint64_t answer = atomic_fetch_add(&directory->asked, 1) + 1;
	bool news = false, reachable;

	atomic_store(&until_ms, atomic_load(&directory->closing) ? 0 : clock_ms() + PATIENCE_MS);
	reachable = connect(directory, &error);
	run_tasks(directory, reachable);
	reachable = reachable && ask(directory, answer, &news, &error);
	buf_add(&error, "", 1);
	note(directory, reachable, &error);
	buf_free(&error);
	if (reachable)
		atomic_store(&directory->answered, answer);
	else
		session_close(&directory->session);
	directory_file_write(directory);
	ring(directory);
}

static void *run(void *arg)
{
	struct directory *directory = arg;
	struct pollfd wake = {.fd = directory->wake_fd, .events = POLLIN};
	uint64_t count;

	while (!atomic_load(&directory->closing))
	{
		if (poll(&wake, 1, POLL_MS) > 0 && read(directory->wake_fd, &count, sizeof(count)) < 0)
			log_bug("could not read what woke the directory's thread");
		if (!atomic_load(&directory->closing))
			go_round(directory);
	}
	return NULL;
}

/* ---- life ----------------------------------------------------------------------------------------------------- */

bool directory_ask_first(struct directory *directory, uint64_t wait_ms, bool (*stopping)(void),
						 struct buf *error)
{
	bool news = false, answered = false;
	uint64_t answer = atomic_fetch_add(&directory->asked, 1) + 1;

	directory->session = (struct session){.stopping = stopping};
	if (session_open(&directory->session, directory->conninfo, clock_ms() + wait_ms, error))
		answered = ask(directory, answer, &news, error);
	if (!answered)
		buf_add(error, "", 1); /* a line of it may be shown */
	directory->reachable = answered;
	directory->answered_ms = clock_ms();
	if (answered)
		atomic_store(&directory->answered, answer);
	session_close(&directory->session); /* the thread's own ends otherwise */
	free(directory->stamp);
	directory->stamp = NULL;
	return answered;
}

bool directory_start(struct directory *directory)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	directory->started = pthread_create(&directory->thread, NULL, run, directory) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return directory->started;
}

void directory_stop(struct directory *directory)
{
	if (!directory->started)
		return;
	atomic_store(&directory->closing, true);
	atomic_store(&until_ms, 0);
	(void)directory_refresh(directory);
	pthread_join(directory->thread, NULL);
	session_close(&directory->session);
	directory->started = false;
}
