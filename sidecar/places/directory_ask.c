/*
 * directory_ask.c: the thread that asks the database (see directory.h).
 *
 * It asks once a second, and when it is told to, for what has changed since.  A round that the database
 * does not answer in time is given up, and its connection with it.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
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

static void be_patient(struct directory *directory)
{
	atomic_store(&until_ms, atomic_load(&directory->closing) ? 0 : clock_ms() + PATIENCE_MS);
}

/* ---- what the database has ----------------------------------------------------------------- */

static bool take_clusters(struct directory *directory, struct buf *error)
{
	struct pg_result *result =
		session_run(&directory->session, "read the clusters of the directory",
					"SELECT name, conninfo FROM millrace.directory_clusters()", NULL, NULL, error);

	if (result == NULL)
		return false;
	pthread_rwlock_wrlock(&directory->lock);
	for (unsigned i = 0; i < session_rows(result); i++)
	{
		int cluster = directory_add_cluster(directory, session_value_of(result, i, 0));

		directory->has_own = directory->has_own || cluster == DIRECTORY_OWN;
		if (cluster >= DIRECTORY_OWN)
			directory_set_conninfo(directory, (unsigned)cluster, session_value_of(result, i, 1));
	}
	pthread_rwlock_unlock(&directory->lock);
	session_free(result);
	return true;
}

enum entry_column
{
	ENTRY_NAMESPACE,
	ENTRY_CLUSTER,
	ENTRY_EPOCH,
	ENTRY_STATE,
	ENTRY_CHANGE,
};

static void take_entry(struct directory *directory, const struct pg_result *result, unsigned row,
					   uint64_t answer)
{
	int cluster = directory_add_cluster(directory, session_value_of(result, row, ENTRY_CLUSTER));
	bool dropped = strcmp(session_value_of(result, row, ENTRY_STATE), "dropped") == 0;
	struct directory_place told = {.epoch = strtoll(session_value_of(result, row, ENTRY_EPOCH), NULL, 10)};

	if (cluster < 0)
		return;
	told.cluster = (unsigned)cluster;
	if (dropped)
		directory_drop(directory, session_value_of(result, row, ENTRY_NAMESPACE));
	else
		directory_take(directory, session_value_of(result, row, ENTRY_NAMESPACE), told, answer);
	directory->change = strtoll(session_value_of(result, row, ENTRY_CHANGE), NULL, 10);
}

/* Asks for what has changed since the last time; a session's first time for everything. */
static bool take_entries(struct directory *directory, uint64_t answer, struct buf *error)
{
	char since[32];
	bool all = directory->change == 0;
	struct pg_result *result;

	snprintf(since, sizeof(since), "%" PRId64, directory->change);
	result = session_run(&directory->session, "read the directory",
						 "SELECT namespace, cluster, epoch, state, change"
						 " FROM millrace.directory_entries($1::bigint)",
						 since, NULL, error);
	if (result == NULL)
		return false;
	pthread_rwlock_wrlock(&directory->lock);
	for (unsigned i = 0; i < session_rows(result); i++)
		take_entry(directory, result, i, answer);
	if (all)
		directory_forget(directory, answer);
	pthread_rwlock_unlock(&directory->lock);
	session_free(result);
	return true;
}

static bool ask(struct directory *directory, uint64_t answer, struct buf *error)
{
	return take_clusters(directory, error) && take_entries(directory, answer, error);
}

/* Opens the session where it is not. */
static bool connect(struct directory *directory, struct buf *error)
{
	if (directory->session.pg != NULL)
		return true;
	directory->change = 0;
	directory->session = (struct session){.stopping = is_over, .quiet = true};
	return session_open(&directory->session, directory->conninfo, 0, error);
}

/* ---- changes ------------------------------------------------------------------------------- */

static void run_task(struct directory *directory, struct directory_task *task)
{
	const char *sql = task->removes ? "SELECT millrace.unplace_namespace($1::text)"
									: "SELECT millrace.place_namespace($1::text, $2::text)";
	struct pg_result *result = session_ask(&directory->session, "change the directory", sql,
										   task->namespace_name, task->removes ? NULL : task->cluster);
	struct buf said = {0};

	task->error.code = ERROR_NONE;
	if (!session_succeeded(result) &&
		!(task->removes && session_has_sqlstate(result, SQLSTATE_NAMESPACE_NOT_FOUND)))
	{
		session_error(result, &task->error);
		session_explain(&said, "change the directory", result);
		log_warning("%.*s", (int)said.len, said.data != NULL ? said.data : "");
	}
	session_free(result);
	buf_free(&said);
}

/* A session that had nothing to do may have ended meanwhile; a change may be made twice. */
static void run_surely(struct directory *directory, struct directory_task *task)
{
	struct buf error = {0};

	run_task(directory, task);
	if (!session_is_lost(&directory->session))
		return;
	session_close(&directory->session);
	if (connect(directory, &error))
		run_task(directory, task);
	buf_free(&error);
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

static void run_tasks(struct directory *directory, struct directory_task *task, bool reachable)
{
	for (; task != NULL; task = task->next)
	{
		if (reachable && !session_is_lost(&directory->session))
			run_surely(directory, task);
		else
			error_set(&task->error, ERROR_BACKEND_UNAVAILABLE, "the directory cannot be reached");
	}
}

/* Gives them back, when what they have met in the directory is known here, too. */
static void finish_tasks(struct directory *directory, struct directory_task *task, bool reachable)
{
	struct directory_task *next;

	for (; task != NULL; task = next)
	{
		next = task->next;
		if (!reachable && task->error.code == ERROR_NAMESPACE_EXISTS)
			error_set(&task->error, ERROR_BACKEND_UNAVAILABLE, "the directory cannot be reached");
		pthread_mutex_lock(&directory->tasks_lock);
		task->next = directory->done[task->bell];
		directory->done[task->bell] = task;
		pthread_mutex_unlock(&directory->tasks_lock);
	}
}

/* ---- rounds -------------------------------------------------------------------------------- */

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

/* Asks, and does what is to be done. */
static void go_round(struct directory *directory)
{
	struct buf error = {0};
	uint64_t answer = atomic_fetch_add(&directory->asked, 1) + 1;
	struct directory_task *tasks = take_tasks(directory);
	bool reachable;

	be_patient(directory);
	reachable = connect(directory, &error);
	run_tasks(directory, tasks, reachable);
	reachable = reachable && directory->session.pg != NULL && ask(directory, answer, &error);
	buf_add(&error, "", 1);
	note(directory, reachable, &error);
	buf_free(&error);
	if (reachable)
		atomic_store(&directory->answered, answer);
	else
		session_close(&directory->session);
	finish_tasks(directory, tasks, reachable);
	directory_file_write(directory);
	be_patient(directory);
	directory_look_at_own(directory, is_over);
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

/* ---- life ---------------------------------------------------------------------------------- */

bool directory_ask_first(struct directory *directory, uint64_t wait_ms, bool (*stopping)(void),
						 struct buf *error)
{
	bool answered = false;
	uint64_t answer = atomic_fetch_add(&directory->asked, 1) + 1;

	directory->session = (struct session){.stopping = stopping};
	if (session_open(&directory->session, directory->conninfo, clock_ms() + wait_ms, error))
		answered = ask(directory, answer, error);
	if (!answered)
		buf_add(error, "", 1); /* a line of it may be shown */
	directory->reachable = answered;
	directory->answered_ms = clock_ms();
	if (answered)
		atomic_store(&directory->answered, answer);
	session_close(&directory->session); /* the thread's own ends otherwise */
	directory->change = 0;
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
