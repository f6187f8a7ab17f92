/*
 * embedded: a private PostgreSQL, a child process of ours; see embedded.h.
 *
 * Nothing of it may outlive us.  The child asks Linux for a SIGINT (a fast shutdown) when
 * we die, even by SIGKILL; and it has a session of its own, so that Ctrl-C in our terminal reaches us
 * alone and we stop it after the last request has been answered.
 *
 * initdb works in pg.new, which is renamed when it is complete: there is never half a cluster.
 */
#include "embedded.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "embedded_dir.h"
#include "log.h"

#define PORT "5432" /* only part of the socket's name */
#define POLL_MS 5
#define PREVIOUS_WAIT_MS 60000
#define START_ATTEMPTS 20
#define START_RETRY_MS 250
#define RESTART_MIN_MS 50
#define RESTART_MAX_MS 10000
#define STABLE_MS 10000 /* a Postgres that lived that long isn't in a crash loop */
#define STOP_WAIT_MS 60000
#define MAX_ARGS 24
#define LOG_TAIL 800

struct embedded
{
	const struct config *config;
	bool (*stopping)(void);
	struct embedded_dir dir;
	char conninfo[PATH_MAX + 128];
	char log[PATH_MAX + 32];
	pid_t postmaster; /* 0 = not running */
	struct event *child_event, *restart_event;
	unsigned restart_ms;
	uint64_t started_at;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&time, NULL);
}

/* ---- children --------------------------------------------------------------- */

/* In the child: nothing here may allocate or take a lock, see fork(2) about threads. */
static void become_program(const struct embedded *embedded, pid_t parent, int death_signal, int output,
						   char *const *argv)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL); /* an ignored signal stays ignored over exec */
	setsid();
	if (!embedded_dir_become_user(&embedded->dir) || chdir(embedded->dir.path) != 0)
		_exit(126);
	/* After becoming the user: changing it takes the wish back. */
	prctl(PR_SET_PDEATHSIG, death_signal);
	if (getppid() != parent)
		_exit(126);
	if (output >= 0)
	{
		dup2(output, STDOUT_FILENO);
		dup2(output, STDERR_FILENO);
	}
	else
		dup2(STDERR_FILENO, STDOUT_FILENO);
	execv(argv[0], argv);
	_exit(127);
}

/* Starts a program of Postgres; its output goes to the log, or to our stderr at debug.  -1: errno. */
static pid_t spawn(const struct embedded *embedded, char *const *argv, int death_signal)
{
	bool debug = strcmp(embedded->config->log_level, "debug") == 0;
	int output = debug ? -1 : embedded_dir_create(&embedded->dir, embedded->log, O_WRONLY | O_APPEND);
	pid_t parent = getpid();
	pid_t child;

	if (!debug && output < 0)
		return -1;
	child = fork();
	if (child == 0)
		become_program(embedded, parent, death_signal, output, argv);
	if (output >= 0)
		close(output);
	return child;
}

/* Waits for a child, at most that long; false: it is still there. */
static bool reap(pid_t child, unsigned ms, int *status)
{
	uint64_t until = now_ms() + ms;

	for (;;)
	{
		pid_t rc = waitpid(child, status, WNOHANG);

		if (rc == child || (rc < 0 && errno != EINTR))
			return true;
		if (now_ms() >= until)
			return false;
		pause_ms(POLL_MS);
	}
}

/* Writes how a child ended. */
static void describe_status(int status, char *out, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(out, size, "was ended by signal %d", WTERMSIG(status));
	else
		snprintf(out, size, "exited with code %d", WEXITSTATUS(status));
}

/* The last lines of the log: why Postgres did not start. */
static void read_log_tail(const struct embedded *embedded, char out[LOG_TAIL + 1])
{
	FILE *file = fopen(embedded->log, "re");
	size_t len = 0;

	if (file != NULL)
	{
		if (fseek(file, -LOG_TAIL, SEEK_END) != 0)
			rewind(file);
		len = fread(out, 1, LOG_TAIL, file);
		fclose(file);
	}
	out[len] = '\0';
}

static void explain_failure(const struct embedded *embedded, const char *program, int status,
							struct buf *error)
{
	char how[64];
	char tail[LOG_TAIL + 1];

	describe_status(status, how, sizeof(how));
	read_log_tail(embedded, tail);
	buf_printf(error, "%s %s; the end of %s:\n%s", program, how, embedded->log, tail);
}

/* ---- the cluster -------------------------------------------------------------- */

static bool check_programs(const struct config *config, struct buf *error)
{
	static const char *const programs[] = {"initdb", "postgres"};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", config->pg_bindir, programs[i]);
		if (access(path, X_OK) == 0)
			continue;
		buf_printf(
			error,
			"could not find PostgreSQL's %s (%s: %s); install the PostgreSQL server, say where it is with"
			" --pg-bindir, or use your own with --database",
			programs[i], path, strerror(errno));
		return false;
	}
	return true;
}

static bool run_initdb(struct embedded *embedded, const char *where, struct buf *error)
{
	char program[PATH_MAX];
	char pgdata[PATH_MAX + 64];
	char *argv[MAX_ARGS] = {program,
							pgdata,
							"--username=postgres",
							"--auth=trust", /* only its own user can enter the folder of the socket */
							"--encoding=UTF8",
							"--locale=C",
							"--data-checksums",
							"--no-instructions"};
	bool exited = false;
	int status = 0;
	pid_t child;

	if (embedded->config->test_mode)
		argv[8] = "--no-sync";
	snprintf(program, sizeof(program), "%s/initdb", embedded->config->pg_bindir);
	snprintf(pgdata, sizeof(pgdata), "--pgdata=%s", where);
	child = spawn(embedded, argv, SIGKILL);
	if (child < 0)
	{
		buf_printf(error, "could not start %s: %s", program, strerror(errno));
		return false;
	}
	while (!exited && !embedded->stopping())
		exited = reap(child, 50, &status);
	if (!exited)
	{
		kill(child, SIGTERM);
		waitpid(child, &status, 0);
		buf_add_str(error, "stopped while making the data directory");
		return false;
	}
	if (status != 0)
		explain_failure(embedded, program, status, error);
	return status == 0;
}

static bool write_file(const struct embedded *embedded, const char *path, int flags, const struct buf *text,
					   struct buf *error)
{
	int fd = embedded_dir_create(&embedded->dir, path, O_WRONLY | flags);
	bool written = fd >= 0 && !text->failed && write(fd, text->data, text->len) == (ssize_t)text->len;

	if (!written)
		buf_printf(error, "could not write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return written;
}

static bool include_settings(const struct embedded *embedded, const char *where, struct buf *error)
{
	char path[PATH_MAX + 64];
	struct buf text = {0};
	bool written;

	snprintf(path, sizeof(path), "%s/postgresql.conf", where);
	buf_add_str(&text, "\ninclude_if_exists = 'millrace.conf'	# written by millrace at every start\n"
					   "# Your own settings go below this line: the last one wins.\n");
	written = write_file(embedded, path, O_APPEND, &text, error);
	buf_free(&text);
	return written;
}

static bool make_cluster(struct embedded *embedded, struct buf *error)
{
	char fresh[PATH_MAX + 32];

	if (embedded_dir_has_cluster(&embedded->dir))
		return true;
	if (!embedded->config->test_mode)
		log_info("making a new PostgreSQL data directory in %s", embedded->dir.path);
	snprintf(fresh, sizeof(fresh), "%s/pg.new", embedded->dir.path);
	embedded_dir_remove_tree(fresh);
	if (!run_initdb(embedded, fresh, error) || !include_settings(embedded, fresh, error))
		return false;
	if (rename(fresh, embedded->dir.cluster) == 0)
		return true;
	buf_printf(error, "could not rename %s: %s", fresh, strerror(errno));
	return false;
}

/* An eighth of the memory, within reason. */
static long shared_buffers_mb(const struct config *config)
{
	long mb = sysconf(_SC_PHYS_PAGES) / 1024 * (sysconf(_SC_PAGESIZE) / 1024) / 8;

	if (config->test_mode || mb < 128)
		return 128;
	return mb < 2048 ? mb : 2048;
}

static bool write_settings(const struct embedded *embedded, unsigned workers, struct buf *error)
{
	const struct config *config = embedded->config;
	long ours = (long)workers * (config->read_connections + 5);
	char path[PATH_MAX + 64];
	struct buf text = {0};
	bool written;

	snprintf(path, sizeof(path), "%s/millrace.conf", embedded->dir.cluster);
	buf_printf(&text,
			   "# Written by millrace at every start: changes here are lost.\n"
			   "# Put yours at the end of postgresql.conf, where they win.\n"
			   "max_connections = %ld\n"
			   "shared_buffers = %ldMB\n"
			   "max_locks_per_transaction = 256	# a batch locks each of its streams\n"
			   "max_wal_size = 2GB\n"
			   "checkpoint_timeout = 15min\n"
			   "checkpoint_completion_target = 0.9\n"
			   "jit = off\n"
			   "# Messages are only ever inserted: vacuum is for the visibility map and the statistics.\n"
			   "autovacuum_naptime = 30s\n"
			   "autovacuum_vacuum_insert_scale_factor = 0.1\n"
			   "autovacuum_analyze_scale_factor = 0.05\n"
			   "log_line_prefix = '%%m [%%p] '\n"
			   "log_timezone = 'UTC'\n"
			   "timezone = 'UTC'\n",
			   ours + 50, shared_buffers_mb(config));
	written = write_file(embedded, path, O_TRUNC, &text, error);
	buf_free(&text);
	return written;
}

/* ---- running -------------------------------------------------------------------- */

/* What may never be different; on the command line, so that no file overrides it. */
static pid_t spawn_postmaster(const struct embedded *embedded)
{
	static char *const test_settings[] = {"fsync=off", "synchronous_commit=off", "full_page_writes=off",
										  "wal_level=minimal", "max_wal_senders=0"};
	char program[PATH_MAX];
	char sockets[PATH_MAX + 64];
	char *argv[MAX_ARGS] = {
		program, "-D",	 (char *)embedded->dir.cluster, "-c", "listen_addresses=", "-c", "port=" PORT,
		"-c",	 sockets};
	size_t argc = 9;

	snprintf(program, sizeof(program), "%s/postgres", embedded->config->pg_bindir);
	snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", embedded->dir.sockets);
	for (size_t i = 0; embedded->config->test_mode && i < sizeof(test_settings) / sizeof(test_settings[0]);
		 i++)
	{
		argv[argc++] = "-c";
		argv[argc++] = test_settings[i];
	}
	return spawn(embedded, argv, SIGINT);
}

/* The postmaster of a server before us that is still shutting down; 0 = none. */
static pid_t previous_postmaster(const struct embedded *embedded)
{
	char path[PATH_MAX + 64];
	char cwd[PATH_MAX];
	ssize_t len;
	FILE *file;
	int pid = 0;

	snprintf(path, sizeof(path), "%s/postmaster.pid", embedded->dir.cluster);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	/* The number may be another process's by now; a postmaster's working directory is its cluster. */
	snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
	len = pid > 0 ? readlink(path, cwd, sizeof(cwd) - 1) : -1;
	if (len < 0)
		return 0;
	cwd[len] = '\0';
	return strcmp(cwd, embedded->dir.cluster) == 0 ? pid : 0;
}

static bool wait_for_previous(const struct embedded *embedded, struct buf *error)
{
	uint64_t until = now_ms() + PREVIOUS_WAIT_MS;
	pid_t pid = previous_postmaster(embedded);

	if (pid != 0)
		log_info("waiting for the PostgreSQL (pid %d) of a previous server to stop", (int)pid);
	while ((pid = previous_postmaster(embedded)) != 0)
	{
		if (embedded->stopping() || now_ms() > until)
		{
			buf_printf(error, "a PostgreSQL (pid %d) is running on %s; stop it first", (int)pid,
					   embedded->dir.cluster);
			return false;
		}
		pause_ms(POLL_MS);
	}
	return true;
}

/* Waits until the child accepts connections; false: it ended, or we are to stop. */
static bool wait_until_ready(struct embedded *embedded, int *status)
{
	uint64_t next_note = now_ms() + 5000;

	while (!embedded->stopping())
	{
		if (PQping(embedded->conninfo) == PQPING_OK)
			return true;
		if (reap(embedded->postmaster, 2 * POLL_MS, status))
		{
			embedded->postmaster = 0;
			return false;
		}
		if (now_ms() > next_note)
		{
			log_info("PostgreSQL is not ready yet (recovering, perhaps); see %s", embedded->log);
			next_note = now_ms() + 5000;
		}
	}
	return false;
}

/* Processes of a postmaster that was killed go away by themselves, a moment later. */
static bool may_pass(const struct embedded *embedded)
{
	char tail[LOG_TAIL + 1];

	read_log_tail(embedded, tail);
	return strstr(tail, "is still in use") != NULL || strstr(tail, "lock file") != NULL;
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
		embedded->started_at = now_ms();
		if (wait_until_ready(embedded, &status))
			return true;
		if (embedded->stopping())
		{
			buf_add_str(error, "stopped while starting");
			return false;
		}
		if (!may_pass(embedded))
			break;
		pause_ms(START_RETRY_MS);
	}
	explain_failure(embedded, "PostgreSQL", status, error);
	return false;
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
	embedded->dir.lock = -1;
	if (!check_programs(config, error) ||
		!embedded_dir_open(&embedded->dir, config->data_dir, config->test_mode, error))
	{
		free(embedded);
		return NULL;
	}
	snprintf(embedded->log, sizeof(embedded->log), "%s/postgres.log", embedded->dir.path);
	snprintf(embedded->conninfo, sizeof(embedded->conninfo),
			 "host=%s port=" PORT " user=postgres dbname=postgres sslmode=disable gssencmode=disable",
			 embedded->dir.sockets);
	if (make_cluster(embedded, error) && wait_for_previous(embedded, error) &&
		write_settings(embedded, workers, error) && start_postmaster(embedded, error))
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

	if (now_ms() - embedded->started_at > STABLE_MS)
		embedded->restart_ms = RESTART_MIN_MS;
	pause.tv_sec = embedded->restart_ms / 1000;
	pause.tv_usec = (suseconds_t)(embedded->restart_ms % 1000) * 1000;
	event_add(embedded->restart_event, &pause);
	embedded->restart_ms =
		embedded->restart_ms * 2 < RESTART_MAX_MS ? embedded->restart_ms * 2 : RESTART_MAX_MS;
}

static void on_child(evutil_socket_t fd, short what, void *arg)
{
	struct embedded *embedded = arg;
	char how[64];
	int status;

	(void)fd;
	(void)what;
	if (embedded->postmaster == 0 || waitpid(embedded->postmaster, &status, WNOHANG) != embedded->postmaster)
		return;
	embedded->postmaster = 0;
	describe_status(status, how, sizeof(how));
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
	embedded->started_at = now_ms();
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
		event_add(embedded->child_event, NULL) != 0)
		return false;
	/* It may have died before anybody watched. */
	on_child(-1, 0, embedded);
	return true;
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
		if (reap(embedded->postmaster, STOP_WAIT_MS, &status))
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
	stop_postmaster(embedded);
	embedded_dir_close(&embedded->dir);
	free(embedded);
}
