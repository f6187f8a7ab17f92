/*
 * embedded_previous: what is left of a Postgres before ours on the same cluster; see embedded_internal.h.
 *
 * Processes of one whose server or postmaster was killed go away by themselves, in a moment; Postgres does
 * not start while one is there.  What it says then depends on its language, so we look ourselves: at
 * processes that run a program called postgres and whose working directory is the cluster.
 *
 * Its lock files name a process by a number, which may be another program's by now; in containers, where all
 * numbers are small, it often is.  Postgres goes by the number alone and would not start.  It takes a file
 * for left behind that names its parent, so it finds our number there; also where a crash of the machine left
 * the file empty, with which it would not start either.  The file itself stays: it also names the shared
 * memory, in which Postgres looks for others.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/embedded_internal.h"
#include "base/log.h"

#define POLL_MS 10
#define WAIT_MS 60000
#define LOCK_FILE_MAX 8192

static bool read_own_link(const char *process, const char *name, char target[PATH_MAX])
{
	char path[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%s/%s", process, name);
	len = readlink(path, target, PATH_MAX - 1);
	target[len < 0 ? 0 : len] = '\0';
	return len > 0;
}

static bool works_on(const struct embedded *embedded, const char *process)
{
	char target[PATH_MAX];
	const char *program;

	if (!read_own_link(process, "cwd", target) || strcmp(target, embedded->dir.cluster) != 0 ||
		!read_own_link(process, "exe", target))
		return false;
	program = strrchr(target, '/');
	return program != NULL && strncmp(program, "/postgres", strlen("/postgres")) == 0;
}

static void name_lock_file(const struct embedded *embedded, char path[PATH_MAX + 64])
{
	snprintf(path, PATH_MAX + 64, "%s/postmaster.pid", embedded->dir.cluster);
}

pid_t embedded_find_previous(const struct embedded *embedded)
{
	char path[PATH_MAX + 64];
	const struct dirent *entry;
	DIR *processes;
	pid_t found = 0;

	name_lock_file(embedded, path);
	if (access(path, F_OK) != 0) /* it is removed last */
		return 0;
	processes = opendir("/proc");
	while (processes != NULL && found == 0 && (entry = readdir(processes)) != NULL)
	{
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && works_on(embedded, entry->d_name))
			found = (pid_t)strtol(entry->d_name, NULL, 10);
	}
	if (processes != NULL)
		closedir(processes);
	return found;
}

bool embedded_wait_for_previous(const struct embedded *embedded, struct buf *error)
{
	uint64_t until = clock_ms() + WAIT_MS;
	pid_t pid = embedded_find_previous(embedded);

	if (pid != 0)
		log_info("waiting for the PostgreSQL (pid %d) of a previous server to stop", (int)pid);
	while ((pid = embedded_find_previous(embedded)) != 0)
	{
		if (embedded->stopping() || clock_ms() > until)
		{
			buf_printf(error, "a PostgreSQL (pid %d) is running on %s; stop it first", (int)pid,
					   embedded->dir.cluster);
			return false;
		}
		embedded_pause_ms(POLL_MS);
	}
	return true;
}

/* Puts our number in the place of the one that a file begins with; false: errno. */
static bool put_our_number(const struct embedded *embedded, const char *path, const char *text)
{
	char fresh[PATH_MAX + 128];
	struct buf now = {0};
	bool written;
	int fd;

	buf_printf(&now, "%d%s", (int)getpid(), text + strspn(text, "-0123456789"));
	snprintf(fresh, sizeof(fresh), "%s.millrace", path);
	fd = embedded_dir_create(&embedded->dir, fresh, O_WRONLY | O_TRUNC);
	written = fd >= 0 && !now.failed && write(fd, now.data, now.len) == (ssize_t)now.len;
	if (fd >= 0)
		close(fd);
	written = written && rename(fresh, path) == 0;
	buf_free(&now);
	return written;
}

static void claim(const struct embedded *embedded, const char *path)
{
	char text[LOCK_FILE_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd < 0)
		return;
	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	if (!put_our_number(embedded, path, text))
		log_warning("could not write %s: %s", path, strerror(errno));
}

void embedded_claim_lock_files(const struct embedded *embedded)
{
	char path[PATH_MAX + 64];

	name_lock_file(embedded, path);
	claim(embedded, path);
	snprintf(path, sizeof(path), "%s/.s.PGSQL." EMBEDDED_PORT ".lock", embedded->dir.sockets);
	claim(embedded, path);
}
