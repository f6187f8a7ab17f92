/*
 * embedded_unpack: a new cluster from the prepared one; see embedded_prepared.c.
 *
 * Nothing waits for a file that it does not need yet.  pg_resetwal needs PG_VERSION and pg_control, and works while
 * what all databases share is unpacked.  With that Postgres can start: after a clean shutdown there is nothing to replay, and only a
 * session opens the files of a database.  So these are unpacked, and all is flushed, meanwhile; the first session is
 * ours, after embedded_finish_cluster().
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

#include "embedded_archive.h"
#include "embedded_control.h"
#include "embedded_internal.h"
#include "embedded_prepared.h"
#include "log.h"

/* How the unpacker ends, when not with 0. */
#define NOT_UNPACKED 1
#define NOT_WRITTEN 2

static pid_t start_resetwal(const struct embedded *embedded, const char *where)
{
	char program[PATH_MAX];
	char *argv[] = {program, "-D", (char *)where, NULL};

	snprintf(program, sizeof(program), "%s/pg_resetwal", embedded->config->pg_bindir);
	return embedded_spawn(embedded,
						  &(struct embedded_program){.argv = argv, .death_signal = SIGKILL, .output = -1});
}

/* Gives the cluster its identity, and starts what writes a write-ahead log for it; -1: *path says where it failed. */
static pid_t begin_cluster(const struct embedded *embedded, struct archive *archive, const char *where,
						   const char **path)
{
	struct archive_entry *version = archive_find(archive, "PG_VERSION");
	struct archive_entry *control = archive_find(archive, PREPARED_CONTROL);
	unsigned char *bytes = control ? (unsigned char *)archive->data + control->offset : NULL;
	int mark;

	*path = PREPARED_CONTROL;
	errno = EINVAL;
	if (version == NULL || control == NULL || archive->crc_at == 0 ||
		control_find_crc(bytes, control->size) != archive->crc_at ||
		!control_new_identity(bytes, archive->crc_at))
		return -1;
	*path = where;
	if (mkdir(where, 0700) != 0 || chdir(where) != 0)
		return -1;
	*path = EMBEDDED_NEW;
	mark = open(EMBEDDED_NEW, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (mark < 0)
		return -1;
	close(mark);
	if (!archive_unpack_folders(archive, path))
		return -1;
	*path = PREPARED_CONTROL;
	if (!archive_unpack_file(archive, version) || !archive_unpack_file(archive, control))
		return -1;
	*path = "pg_resetwal";
	return start_resetwal(embedded, where);
}

/* Unpacks as much as Postgres needs to start. */
static bool begin_with(const struct embedded *embedded, struct archive *archive, const char *where)
{
	const char *path;
	pid_t resetwal = begin_cluster(embedded, archive, where, &path);
	bool unpacked = resetwal > 0 && archive_unpack_shared(archive, &path);
	struct buf error = {0};
	int status = 0;

	if (!unpacked)
		log_warning("could not unpack the prepared cluster in %s: %s: %s", embedded->cache, path,
					strerror(errno));
	if (resetwal > 0 && waitpid(resetwal, &status, 0) == resetwal && status != 0)
	{
		embedded_explain_failure(embedded, "pg_resetwal", status, &error);
		log_warning("could not use the prepared cluster in %s: %.*s", embedded->cache, (int)error.len,
					error.data);
		buf_free(&error);
	}
	return unpacked && status == 0;
}

/* The unpacker; returns its exit code. */
static int unpack(struct embedded *embedded, const char *where, int told)
{
	int folder = prepared_open_folder(embedded);
	struct archive archive = {0};
	const char *path = where;
	int code = NOT_UNPACKED;

	setenv("LC_ALL", "C", 1); /* what programs say is compared */
	if (folder >= 0 && prepared_read(embedded, folder, &archive) && begin_with(embedded, &archive, where) &&
		write(told, "", 1) == 1)
		code = 0;
	if (code == 0 && (!archive_unpack_rest(&archive, &path) ||
					  (!embedded->config->test_mode && !archive_sync(&archive, &path))))
	{
		log_error("could not write %s/%s: %s", embedded->dir.cluster, path, strerror(errno));
		code = NOT_WRITTEN;
	}
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
