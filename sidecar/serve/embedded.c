/*
 * embedded: a private PostgreSQL, a child process of ours; see embedded.h.
 *
 * Nothing of it may outlive us.  The child asks Linux for a SIGINT (a fast shutdown) when we die, even by
 * SIGKILL; and it has a session of its own, so that Ctrl-C in our terminal reaches us alone and we stop it
 * after the last request has been answered.
 *
 * How its files are made: embedded_cluster.c.
 */
#include "serve/embedded.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/embedded_internal.h"
#include "base/log.h"

#define READY_POLL_MS 1
#define START_ATTEMPTS 20
#define START_RETRY_MS 250
#define RESTART_MIN_MS 50
#define RESTART_MAX_MS 10000
#define STABLE_MS 10000 /* a Postgres that lived that long isn't in a crash loop */
#define STOP_WAIT_MS 60000
#define MAX_ARGS 24
#define STATUS_LINE 8 /* of postmaster.pid */

/* ---- running -------------------------------------------------------------------- */

/* The major version of the cluster, and so of the server; 0: unknown. */
static int major_version(const struct embedded *embedded)
{
	char path[PATH_MAX + 64];
	char line[16] = "";
	FILE *file;

	snprintf(path, sizeof(path), "%s/PG_VERSION", embedded->dir.cluster);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	if (fgets(line, sizeof(line), file) == NULL)
		line[0] = '\0';
	fclose(file);
	return atoi(line);
}

/* What may never be different; on the command line, so that no file overrides it. */
static pid_t spawn_postmaster(const struct embedded *embedded)
{
	static char *const test_settings[] = {"fsync=off", "synchronous_commit=off", "full_page_writes=off",
										  "wal_level=minimal", "max_wal_senders=0"};
	char program[PATH_MAX];
	char sockets[PATH_MAX + 64];
	char *argv[MAX_ARGS] = {program,
							"-D",
							(char *)embedded->dir.cluster,
							"-c",
							"listen_addresses=",
							"-c",
							"port=" EMBEDDED_PORT,
							"-c",
							sockets};
	size_t argc = 9;

	snprintf(program, sizeof(program), "%s/postgres", embedded->config->pg_bindir);
	snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", embedded->dir.sockets);
	for (size_t i = 0; embedded->config->test_mode && i < sizeof(test_settings) / sizeof(test_settings[0]);
		 i++)
	{
		argv[argc++] = "-c";
		argv[argc++] = test_settings[i];
	}
	/* Up to version 16 each such commit wakes the WAL writer, until it has flushed what it was woken for. */
	if (embedded->config->test_mode && major_version(embedded) <= 16)
	{
		argv[argc++] = "-c";
		argv[argc++] = "wal_writer_flush_after=8kB";
	}
	embedded_claim_lock_files(embedded);
	return embedded_spawn(embedded,
						  &(struct embedded_program){.argv = argv, .death_signal = SIGINT, .output = -1});
}

/*
 * Whether it accepts connections, which it says in the eighth line of its pid file; pg_ctl looks there, too.
 * A connection would cost Postgres a process each time.
 */
static bool is_ready(const struct embedded *embedded)
{
	char path[PATH_MAX + 64];
	char line[PATH_MAX + 64];
	bool ours = false, ready = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/postmaster.pid", embedded->dir.cluster);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	for (int i = 1; i <= STATUS_LINE && fgets(line, sizeof(line), file) != NULL; i++)
	{
		if (i == 1)
			ours = strtol(line, NULL, 10) == embedded->postmaster;
		else if (i == STATUS_LINE)
			ready = strncmp(line, "ready", strlen("ready")) == 0;
	}
	fclose(file);
	return ours && ready;
}

/* Waits until the child accepts connections; false: it ended, or we are to stop. */
static bool wait_until_ready(struct embedded *embedded, int *status)
{
	uint64_t next_note = clock_ms() + 5000;

	while (!embedded->stopping())
	{
		if (is_ready(embedded))
			return true;
		if (embedded_reap(embedded->postmaster, READY_POLL_MS, status))
		{
			embedded->postmaster = 0;
			return false;
		}
		if (clock_ms() > next_note)
		{
			log_info("PostgreSQL is not ready yet (recovering, perhaps); see %s", embedded->log);
			next_note = clock_ms() + 5000;
		}
	}
	return false;
}

static bool start_postmaster(struct embedded *embedded, struct buf *error)
{
	int status = 0;

	for (int attempt = 1; attempt <= START_ATTEMPTS; attempt++)
	{
		embedded->postmaster = spawn_postmaster(embedded);
		if (embedded->postmaster < 0)
		{
			embedded->postmaster = 0;
			buf_printf(error, "could not start PostgreSQL: %s", strerror(errno));
			return false;
		}
		embedded->started_at = clock_ms();
		if (wait_until_ready(embedded, &status))
			return true;
		if (embedded->stopping())
		{
			buf_add_str(error, EMBEDDED_STOPPED);
			return false;
		}
		if (embedded_find_previous(embedded) == 0)
			break;
		embedded_pause_ms(START_RETRY_MS);
	}
	embedded_explain_failure(embedded, "PostgreSQL", status, error);
	return false;
}

static void stop_postmaster(struct embedded *embedded);

static bool start_cluster(struct embedded *embedded, unsigned workers, struct buf *error)
{
	if (!embedded_make_cluster(embedded, error))
		return false;
	embedded_begin_disk(embedded);
	return embedded_write_settings(embedded, workers, error) && start_postmaster(embedded, error) &&
		   embedded_finish_cluster(embedded, error);
}

/* A new cluster that Postgres does not start on, though its checksum was right, is made again by initdb. */
static bool start_without_prepared(struct embedded *embedded, unsigned workers, struct buf *error)
{
	if (embedded->unpacker == 0 || embedded->stopping())
		return false;
	log_warning("the prepared cluster in %s cannot be used, initdb makes one: %.*s", embedded->cache,
				(int)error->len, error->data);
	buf_clear(error);
	embedded_stop_unpacker(embedded);
	stop_postmaster(embedded);
	embedded_dir_remove_tree(embedded->dir.cluster);
	embedded->distrusts_prepared = true;
	return start_cluster(embedded, workers, error);
}

struct embedded *embedded_start(const struct config *config, unsigned workers, bool (*stopping)(void),
								struct buf *error)
{
	struct embedded *embedded = calloc(1, sizeof(*embedded));

	if (embedded == NULL)
	{
		buf_add_str(error, "out of memory");
		return NULL;
	}
	embedded->config = config;
	embedded->stopping = stopping;
	embedded->restart_ms = RESTART_MIN_MS;
	embedded->preparer_go = -1;
	embedded->dir.lock = -1;
	if (!embedded_forget_environment())
		buf_add_str(error, "out of memory");
	if (error->len > 0 || !embedded_dir_open(&embedded->dir, config->data_dir, config->test_mode, error))
	{
		free(embedded);
		return NULL;
	}
	snprintf(embedded->log, sizeof(embedded->log), "%s/postgres.log", embedded->dir.path);
	snprintf(embedded->conninfo, sizeof(embedded->conninfo),
			 "host=%s port=" EMBEDDED_PORT
			 " user=postgres dbname=postgres sslmode=disable gssencmode=disable",
			 embedded->dir.sockets);
	embedded_sweep(embedded);
	if (embedded_wait_for_previous(embedded, error) &&
		(start_cluster(embedded, workers, error) || start_without_prepared(embedded, workers, error)))
		return embedded;
	embedded_stop(embedded);
	return NULL;
}

const char *embedded_conninfo(const struct embedded *embedded)
{
	return embedded->conninfo;
}

/* ---- watching ---------------------------------------------------------------------- */

static void schedule_restart(struct embedded *embedded)
{
	struct timeval pause;

	if (clock_passed(clock_ms(), embedded->started_at, STABLE_MS))
		embedded->restart_ms = RESTART_MIN_MS;
	pause.tv_sec = embedded->restart_ms / 1000;
	pause.tv_usec = (suseconds_t)(embedded->restart_ms % 1000) * 1000;
	event_add(embedded->restart_event, &pause);
	embedded->restart_ms =
		embedded->restart_ms * 2 < RESTART_MAX_MS ? embedded->restart_ms * 2 : RESTART_MAX_MS;
}

/*
 * All of them: as a container's first process we get the children of those that died.  True: Postgres ended.
 */
static bool reap_children(struct embedded *embedded, int *status)
{
	bool ended = false;
	int one;
	pid_t child;

	while ((child = waitpid(-1, &one, WNOHANG)) > 0)
	{
		if (child == embedded->preparer)
			embedded->preparer = 0;
		if (child == embedded->sweeper)
			embedded->sweeper = 0;
		if (child != embedded->postmaster)
			continue;
		embedded->postmaster = 0;
		*status = one;
		ended = true;
	}
	return ended;
}

static void on_child(evutil_socket_t fd, short what, void *arg)
{
	struct embedded *embedded = arg;
	char how[64];
	int status;

	(void)fd;
	(void)what;
	if (!reap_children(embedded, &status))
		return;
	embedded_look_at_disk(embedded);
	embedded_describe_status(status, how, sizeof(how));
	log_error("PostgreSQL %s; starting it again in %u ms, see %s", how, embedded->restart_ms, embedded->log);
	schedule_restart(embedded);
}

/* Doesn't wait: the workers keep trying to connect anyway. */
static void on_restart(evutil_socket_t fd, short what, void *arg)
{
	struct embedded *embedded = arg;

	(void)fd;
	(void)what;
	embedded->postmaster = spawn_postmaster(embedded);
	embedded->started_at = clock_ms();
	if (embedded->postmaster > 0)
		return;
	log_error("could not start PostgreSQL: %s", strerror(errno));
	embedded->postmaster = 0;
	schedule_restart(embedded);
}

bool embedded_watch(struct embedded *embedded, struct event_base *base)
{
	embedded->child_event = evsignal_new(base, SIGCHLD, on_child, embedded);
	embedded->restart_event = evtimer_new(base, on_restart, embedded);
	if (embedded->child_event == NULL || embedded->restart_event == NULL ||
		event_add(embedded->child_event, NULL) != 0 || !embedded_watch_disk(embedded, base))
		return false;
	/* It may have ended before the event was there. */
	on_child(-1, 0, embedded);
	return true;
}

void embedded_serving(struct embedded *embedded)
{
	if (embedded != NULL)
		prepared_go(embedded);
}

/* ---- stopping ------------------------------------------------------------------------- */

static void stop_postmaster(struct embedded *embedded)
{
	/* A test's data is thrown away: no reason to write it out first. */
	int signals[] = {embedded->config->test_mode ? SIGQUIT : SIGINT, SIGQUIT, SIGKILL};
	int status;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
	{
		if (embedded->postmaster == 0)
			return;
		kill(embedded->postmaster, signals[i]);
		if (embedded_reap(embedded->postmaster, STOP_WAIT_MS, &status))
			embedded->postmaster = 0;
		else
			log_warning("PostgreSQL does not stop; see %s", embedded->log);
	}
}

void embedded_stop(struct embedded *embedded)
{
	if (embedded == NULL)
		return;
	if (embedded->child_event != NULL)
		event_free(embedded->child_event);
	if (embedded->restart_event != NULL)
		event_free(embedded->restart_event);
	if (embedded->disk_event != NULL)
		event_free(embedded->disk_event);
	embedded_stop_unpacker(embedded);
	stop_postmaster(embedded);
	prepared_stop(embedded);
	embedded_stop_sweeper(embedded);
	embedded_dir_close(&embedded->dir);
	free(embedded);
}
