/*
 * embedded_sweep: removes the temporary folders of servers that were killed; see embedded_internal.h.
 *
 * The folder of a test server has a lock file, and a running server holds the lock; a folder that has no such
 * file is left alone while it is new.  A folder of sockets below /tmp, of a data directory whose own path is
 * too long for them, names its cluster.  Done in a process of its own, as the user that runs Postgres, beside
 * the start.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/embedded_internal.h"

#define YOUNG_S 60 /* it may be that its server has not locked it yet */

static bool is_own_folder(const char *path, struct stat *status)
{
	return lstat(path, status) == 0 && S_ISDIR(status->st_mode) && status->st_uid == geteuid();
}

static bool store_was_left(const struct embedded *embedded, const char *path)
{
	char lock[PATH_MAX + 32];
	struct stat status;
	bool left;
	int fd;

	(void)embedded;
	if (!is_own_folder(path, &status))
		return false;
	snprintf(lock, sizeof(lock), "%s/" EMBEDDED_LOCK, path);
	fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT && status.st_mtim.tv_sec + YOUNG_S < clock_calendar().tv_sec;
	left = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return left;
}

/* Postgres wrote there which cluster they are of: ours, which has others now, or one that is gone. */
static bool sockets_were_left(const struct embedded *embedded, const char *path)
{
	char lock[PATH_MAX + 64], cluster[PATH_MAX] = "";
	struct stat status;
	FILE *file;
	int fd;

	if (!is_own_folder(path, &status) || strcmp(path, embedded->dir.sockets) == 0)
		return false;
	snprintf(lock, sizeof(lock), "%s/.s.PGSQL." EMBEDDED_PORT ".lock", path);
	fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	file = fd < 0 ? NULL : fdopen(fd, "r");
	if (file == NULL)
		return false;
	if (fscanf(file, "%*d %4000[^\n]", cluster) != 1)
		cluster[0] = '\0';
	fclose(file);
	return strcmp(cluster, embedded->dir.cluster) == 0 ||
		   (cluster[0] == '/' && access(cluster, F_OK) != 0 && errno == ENOENT);
}

/* Removes those of a folder's folders whose name is as mkdtemp makes it of `template` and that were left. */
static void sweep(const struct embedded *embedded, const char *folder, const char *template,
				  bool (*was_left)(const struct embedded *, const char *))
{
	size_t fixed = strlen(template) - strlen("XXXXXX");
	DIR *listing = opendir(folder);
	const struct dirent *entry;
	char path[PATH_MAX];

	while (listing != NULL && (entry = readdir(listing)) != NULL)
	{
		if (strncmp(entry->d_name, template, fixed) == 0 && strlen(entry->d_name) == strlen(template) &&
			snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path) &&
			was_left(embedded, path))
			embedded_dir_remove_tree(path);
	}
	if (listing != NULL)
		closedir(listing);
}

void embedded_sweep(struct embedded *embedded)
{
	const char *slash = strrchr(embedded->dir.path, '/');
	pid_t parent = getpid();
	char folder[PATH_MAX];

	if (slash == NULL || !(embedded->dir.temporary || embedded->dir.temporary_sockets))
		return;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - embedded->dir.path), embedded->dir.path);
	embedded->sweeper = fork();
	if (embedded->sweeper != 0)
		return;
	if (embedded_become_helper(embedded, parent))
	{
		closefrom(STDERR_FILENO + 1); /* the server's sockets and locks */
		setpriority(PRIO_PROCESS, 0, EMBEDDED_NICENESS);
		if (embedded->dir.temporary)
			sweep(embedded, folder, EMBEDDED_TEMPORARY, store_was_left);
		sweep(embedded, "/tmp", EMBEDDED_SOCKETS, sockets_were_left);
	}
	_exit(0);
}

void embedded_stop_sweeper(struct embedded *embedded)
{
	if (embedded->sweeper > 0)
	{
		kill(embedded->sweeper, SIGKILL);
		waitpid(embedded->sweeper, NULL, 0);
	}
	embedded->sweeper = 0;
}
