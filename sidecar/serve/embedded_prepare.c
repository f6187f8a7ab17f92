/*
 * embedded_prepare: makes the prepared cluster, in the background; see embedded_prepared.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve/embedded_archive.h"
#include "serve/embedded_internal.h"
#include "serve/embedded_prepared.h"
#include "base/log.h"

#define KEEP 4 /* installations of PostgreSQL beside each other */
#define WORK "work-"
#define ARCHIVE "archive"
#define FIRST_OID "16384" /* FirstNormalObjectId */
#define CONTROL_MAX 16384
#define ANSWER_MAX 8192
#define STOP_WAIT_MS 10000

static volatile sig_atomic_t told_to_stop = 0;

static void on_stop(int number)
{
	(void)number;
	told_to_stop = 1;
}

static bool stopping(void)
{
	return told_to_stop != 0;
}

/* ---- making ------------------------------------------------------------------------ */

/* Where PostgreSQL keeps its files, from initdb. */
static bool find_share(const struct embedded *embedded, char share[PATH_MAX])
{
	static const char label[] = "\nshare_path=";
	char program[PATH_MAX], answer[ANSWER_MAX];
	const char *line;

	snprintf(program, sizeof(program), "%s/initdb", embedded->config->pg_bindir);
	if (!embedded_ask(embedded, (char *const[]){program, "--show", "--pgdata=none", NULL}, answer,
					  sizeof(answer)))
		return false;
	line = strstr(answer, label);
	if (line == NULL)
		return false;
	line += sizeof(label) - 1;
	snprintf(share, PATH_MAX, "%.*s", (int)strcspn(line, "\n"), line);
	return true;
}

/*
 * Leaves of the write-ahead log one checkpoint, in one file; `oid`, unless NULL, is the next one to be given
 * out.
 */
static bool reset_log(const struct embedded *embedded, const char *cluster, const char *oid,
					  struct buf *error)
{
	char program[PATH_MAX];
	char *argv[] = {program, "-D", (char *)cluster, oid != NULL ? "-o" : NULL, (char *)oid, NULL};

	snprintf(program, sizeof(program), "%s/pg_resetwal", embedded->config->pg_bindir);
	return embedded_run(
		embedded, &(struct embedded_program){.argv = argv, .death_signal = SIGKILL, .output = -1}, error);
}

/*
 * In single-user mode, as initdb does its own later steps.  There OIDs below those of users are given out
 * unless they have begun, and what has one is taken for a part of PostgreSQL: no dump has it.
 */
static bool create_extension(const struct embedded *embedded, const char *cluster, struct buf *error)
{
	static const char sql[] = "CREATE EXTENSION millrace;\n";
	char program[PATH_MAX], input[PATH_MAX];
	char *argv[] = {program, "--single",		   "-F",	   "-D", (char *)cluster,
					"-c",	 "exit_on_error=true", "postgres", NULL};
	int fd;

	snprintf(program, sizeof(program), "%s/postgres", embedded->config->pg_bindir);
	snprintf(input, sizeof(input), "%.4000s/sql", embedded->dir.path);
	fd = open(input, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, sql, sizeof(sql) - 1) != (ssize_t)sizeof(sql) - 1)
	{
		buf_printf(error, "could not write %s: %s", input, strerror(errno));
		return false;
	}
	close(fd);
	return embedded_run(
		embedded,
		&(struct embedded_program){
			.argv = argv, .death_signal = SIGKILL, .input = input, .output = -1, .asks_name = true},
		error);
}

static bool report(const struct embedded *embedded, const char *cluster, char answer[ANSWER_MAX])
{
	char program[PATH_MAX];

	snprintf(program, sizeof(program), "%s/pg_controldata", embedded->config->pg_bindir);
	return embedded_ask(embedded, (char *const[]){program, (char *)cluster, NULL}, answer, ANSWER_MAX);
}

/* Where the nonce is in the control file; 0: nowhere. */
static size_t find_nonce(const char *cluster, const char *answer)
{
	unsigned char control[CONTROL_MAX];
	char path[PATH_MAX + 32];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/" PREPARED_CONTROL, cluster);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	len = fd < 0 ? -1 : read(fd, control, sizeof(control));
	if (fd >= 0)
		close(fd);
	return len > 0 ? identity_find_nonce(control, (size_t)len, answer) : 0;
}

/* Packs the cluster, and reads the archive as a new store will. */
static bool pack(const struct embedded *embedded, const char *cluster, const char *key, struct buf *error)
{
	int work = open(embedded->dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[PATH_MAX], answer[ANSWER_MAX] = "";
	struct archive archive = {0};
	struct identity identity;
	bool good;

	snprintf(path, sizeof(path), "%.4000s/" ARCHIVE, embedded->dir.path);
	good = report(embedded, cluster, answer) &&
		   archive_pack(path, cluster, key, find_nonce(cluster, answer), error) && work >= 0 &&
		   archive_read(&archive, work, ARCHIVE) == ARCHIVE_GOOD && prepared_identity(&archive, &identity) &&
		   identity_agrees(&identity, answer);
	if (!good && error->len == 0)
		buf_add_str(error, "the identity of this PostgreSQL's clusters is not found where it should be");
	archive_free(&archive);
	if (work >= 0)
		close(work);
	return good;
}

/*
 * A package that is replaced meanwhile leaves a cluster of both versions, whose key would fit should the
 * older one come back.
 */
static bool still_fits(const struct embedded *embedded, const char *share, const struct buf *key,
					   struct buf *error)
{
	struct buf now = {0};
	bool fits = prepared_describe(embedded, share, &now) && now.len == key->len &&
				memcmp(now.data, key->data, now.len) == 0;

	if (!fits)
		buf_add_str(error, "PostgreSQL or the extension was replaced while it was made");
	buf_free(&now);
	return fits;
}

static bool put(int folder, const char *archive, const char *name, struct buf *error)
{
	if (stopping())
		return false;
	if (renameat(AT_FDCWD, archive, folder, name) == 0)
		return true;
	buf_printf(error, "could not rename it to %s: %s", name, strerror(errno));
	return false;
}

/* Makes the cluster and its archive below embedded->dir.path, and puts the archive into the folder. */
static bool make(const struct embedded *embedded, int folder, struct buf *error)
{
	char cluster[PATH_MAX], archive[PATH_MAX], share[PATH_MAX], name[PREPARED_NAME_LEN + 1];
	struct buf key = {0};
	bool made = false;

	snprintf(cluster, sizeof(cluster), "%.4000s/pg", embedded->dir.path);
	snprintf(archive, sizeof(archive), "%.4000s/" ARCHIVE, embedded->dir.path);
	prepared_name(embedded, name);
	if (!find_share(embedded, share) || !prepared_describe(embedded, share, &key))
		buf_add_str(error, "could not find out the version of PostgreSQL or of the extension");
	else
		made = embedded_make_fresh(embedded, cluster, false, error) &&
			   reset_log(embedded, cluster, FIRST_OID, error) && create_extension(embedded, cluster, error) &&
			   reset_log(embedded, cluster, NULL, error) && pack(embedded, cluster, key.data, error) &&
			   still_fits(embedded, share, &key, error) && put(folder, archive, name, error);
	buf_free(&key);
	return made;
}

/* ---- keeping order -------------------------------------------------------------------- */

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* Removes what killed ones left; with the lock held none is at work. */
static void remove_left_work(const struct embedded *embedded)
{
	DIR *listing = opendir(embedded->cache);
	const struct dirent *entry;
	char path[PATH_MAX + 300];

	while (listing != NULL && (entry = readdir(listing)) != NULL)
	{
		if (!begins(entry->d_name, WORK))
			continue;
		snprintf(path, sizeof(path), "%s/%s", embedded->cache, entry->d_name);
		embedded_dir_remove_tree(path);
	}
	if (listing != NULL)
		closedir(listing);
}

/* Removes the least used archive if there are more than KEEP; false: there are not. */
static bool remove_surplus(const struct embedded *embedded, int folder)
{
	DIR *listing = opendir(embedded->cache);
	char oldest[NAME_MAX + 1] = "";
	const struct dirent *entry;
	struct timespec least = {0};
	struct stat status;
	int count = 0;

	while (listing != NULL && (entry = readdir(listing)) != NULL)
	{
		if (!begins(entry->d_name, PREPARED_NAME) ||
			fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (count++ > 0 &&
			(status.st_mtim.tv_sec > least.tv_sec ||
			 (status.st_mtim.tv_sec == least.tv_sec && status.st_mtim.tv_nsec >= least.tv_nsec)))
			continue;
		least = status.st_mtim;
		snprintf(oldest, sizeof(oldest), "%s", entry->d_name);
	}
	if (listing != NULL)
		closedir(listing);
	return count > KEEP && unlinkat(folder, oldest, 0) == 0;
}

/* With the lock held. */
static void prepare_in(struct embedded *embedded, int folder)
{
	struct archive archive = {0};
	struct buf error = {0};
	bool there = !embedded->distrusts_prepared && prepared_read(embedded, folder, &archive);

	archive_free(&archive);
	remove_left_work(embedded);
	if (there)
		return; /* another server made it while ours started */
	snprintf(embedded->dir.path, sizeof(embedded->dir.path), "%.4000s/" WORK "%d", embedded->cache,
			 (int)getpid());
	snprintf(embedded->log, sizeof(embedded->log), "%.4000s/log", embedded->dir.path);
	if (mkdir(embedded->dir.path, 0700) != 0)
		return;
	if (make(embedded, folder, &error))
	{
		while (remove_surplus(embedded, folder))
			;
		log_debug("prepared a cluster in %s, from which new data directories begin", embedded->cache);
	}
	else if (!stopping())
		log_warning("could not prepare a cluster in %s: %.*s", embedded->cache, (int)error.len,
					error.data ? error.data : "");
	buf_free(&error);
	embedded_dir_remove_tree(embedded->dir.path);
}

/* ---- the process ---------------------------------------------------------------------- */

/* Closes the server's sockets and locks, which would stay open here after its end. */
static void keep_only(int *fd)
{
	if (*fd != STDERR_FILENO + 1)
		*fd = dup2(*fd, STDERR_FILENO + 1);
	closefrom(STDERR_FILENO + 2);
}

/*
 * The server comes first, though not by so much that we never end on a busy machine.  Where Linux shares the
 * processor among sessions, a process's own niceness counts within its session only.
 */
static void give_way(void)
{
	int session = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	if (setpriority(PRIO_PROCESS, 0, EMBEDDED_NICENESS) != 0)
		log_debug("could not lower the priority of a process: %s", strerror(errno));
	if (session < 0)
		return;
	if (dprintf(session, "%d", EMBEDDED_NICENESS) < 0)
		log_debug("could not lower the priority of a session: %s", strerror(errno));
	close(session);
}

static void prepare(struct embedded *embedded, int go)
{
	struct sigaction stop = {.sa_handler = on_stop};
	int folder, lock;
	char byte;

	keep_only(&go);
	if (read(go, &byte, 1) != 1)
		return;
	sigaction(SIGTERM, &stop, NULL);
	give_way();
	setenv("LC_ALL", "C", 1); /* what programs say is compared */
	embedded->stopping = stopping;
	folder = prepared_open_folder(embedded);
	lock = folder < 0 ? -1 : openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0)
		log_debug("cannot write to %s: %s", embedded->cache, strerror(errno));
	else if (flock(lock, LOCK_EX | LOCK_NB) == 0)
		prepare_in(embedded, folder);
}

void prepared_begin(struct embedded *embedded)
{
	pid_t parent = getpid();
	int ends[2];

	if (embedded->cache[0] == '\0' || embedded->preparer != 0 || pipe2(ends, O_CLOEXEC) != 0)
		return;
	embedded->preparer = fork();
	if (embedded->preparer == 0)
	{
		if (embedded_become_helper(embedded, parent))
			prepare(embedded, ends[0]);
		_exit(0);
	}
	close(ends[0]);
	embedded->preparer_go = ends[1];
	if (embedded->preparer > 0)
		return;
	embedded->preparer = 0;
	close(ends[1]);
}

void prepared_go(struct embedded *embedded)
{
	if (embedded->preparer == 0)
		return;
	if (write(embedded->preparer_go, "", 1) != 1)
		log_debug("no cluster is prepared: %s", strerror(errno));
	close(embedded->preparer_go);
	embedded->preparer_go = -1;
}

void prepared_stop(struct embedded *embedded)
{
	int status;

	if (embedded->preparer == 0)
		return;
	if (embedded->preparer_go >= 0)
		close(embedded->preparer_go);
	kill(embedded->preparer, SIGTERM);
	if (!embedded_reap(embedded->preparer, STOP_WAIT_MS, &status))
	{
		kill(embedded->preparer, SIGKILL);
		waitpid(embedded->preparer, &status, 0);
	}
	embedded->preparer = 0;
}
