/*
 * embedded_unpack: a new cluster from the prepared one; see embedded_prepared.c.
 *
 * Postgres starts with what all databases share: after a clean shutdown there is nothing to replay, and only
 * a session opens the files of a database.  These are unpacked, and all is flushed, meanwhile.  The first
 * session is ours, after embedded_finish_cluster().
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve/embedded_archive.h"
#include "serve/embedded_internal.h"
#include "serve/embedded_prepared.h"
#include "base/log.h"

/* How the unpacker ends, when not with 0. */
#define NOT_UNPACKED 1
#define NOT_WRITTEN 2

/* Unpacks as much as Postgres needs to start; false: errno, and *path where it happened. */
static bool begin_cluster(struct archive *archive, const char *where, const char **path)
{
	struct identity identity;
	int mark;

	*path = "its identity";
	errno = EINVAL;
	if (!prepared_identity(archive, &identity) || !identity_renew(&identity))
		return false;
	*path = where;
	if (mkdir(where, 0700) != 0 || chdir(where) != 0)
		return false;
	*path = EMBEDDED_NEW;
	mark = open(EMBEDDED_NEW, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (mark < 0)
		return false;
	close(mark);
	return archive_unpack_shared(archive, path);
}

static bool finish_cluster(const struct archive *archive, bool durable, const char **path)
{
	return archive_unpack_rest(archive, path) && (!durable || archive_sync(archive, path));
}

/* The unpacker; returns its exit code. */
static int unpack(const struct embedded *embedded, const char *where, int told)
{
	bool durable = !embedded->config->test_mode;
	int folder = prepared_open_folder(embedded);
	struct archive archive = {0};
	int code = NOT_UNPACKED;
	const char *path;

	setenv("LC_ALL", "C", 1); /* what programs say is compared */
	if (folder >= 0 && prepared_read(embedded, folder, &archive))
	{
		archive.sparse = !durable;
		if (!begin_cluster(&archive, where, &path))
			log_warning("could not unpack the prepared cluster in %s: %s: %s", embedded->cache, path,
						strerror(errno));
		else if (write(told, "", 1) == 1)
			code = finish_cluster(&archive, durable, &path) ? 0 : NOT_WRITTEN;
	}
	if (code == NOT_WRITTEN)
		log_error("could not write %s/%s: %s", embedded->dir.cluster, path, strerror(errno));
	archive_free(&archive);
	return code;
}

bool prepared_take(struct embedded *embedded, const char *where)
{
	pid_t parent = getpid();
	ssize_t heard;
	int ends[2];
	char byte;

	prepared_find_folder(embedded);
	if (embedded->cache[0] == '\0' || embedded->distrusts_prepared || pipe2(ends, O_CLOEXEC) != 0)
		return false;
	embedded->unpacker = fork();
	if (embedded->unpacker == 0)
		_exit(embedded_become_helper(embedded, parent) ? unpack(embedded, where, ends[1]) : NOT_UNPACKED);
	close(ends[1]);
	do
		heard = embedded->unpacker > 0 ? read(ends[0], &byte, 1) : 0;
	while (heard < 0 && errno == EINTR);
	close(ends[0]);
	if (heard == 1)
		return true;
	if (embedded->unpacker > 0)
		waitpid(embedded->unpacker, NULL, 0);
	embedded->unpacker = 0;
	embedded_dir_remove_tree(where);
	return false;
}
