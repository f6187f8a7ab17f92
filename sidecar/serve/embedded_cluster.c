/*
 * embedded_cluster: a new cluster of the private PostgreSQL is begun, and becomes durable; see
 * embedded_internal.h.
 *
 * A new cluster is made in pg.new, which is renamed when it is complete: there is never half a cluster.  It
 * comes from the prepared one (embedded_prepared.c), else from initdb (embedded_initdb.c).
 *
 * What initdb made is durable.  What was unpacked becomes so while Postgres starts on it, and until then it
 * holds the file millrace.new.  Nothing is acknowledged before that file is gone, so a cluster that is found
 * with it holds nothing: the machine stopped in between, perhaps half of its files are missing, and it is
 * made anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve/embedded_internal.h"
#include "base/log.h"
#include "serve/token_handover.h"

#define WAIT_MS 20

static void new_mark(const struct embedded *embedded, char path[PATH_MAX + 64])
{
	snprintf(path, PATH_MAX + 64, "%s/" EMBEDDED_NEW, embedded->dir.cluster);
}

static bool sync_folder(const char *path, struct buf *error)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool synced = fd >= 0 && fsync(fd) == 0;

	if (!synced)
		buf_printf(error, "could not flush %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return synced;
}

static bool has_new_mark(const struct embedded *embedded)
{
	char mark[PATH_MAX + 64];

	new_mark(embedded, mark);
	return access(mark, F_OK) == 0;
}

bool embedded_make_cluster(struct embedded *embedded, struct buf *error)
{
	bool durable = !embedded->config->test_mode;
	char fresh[PATH_MAX + 32];
	bool unpacked;

	if (embedded_dir_has_cluster(&embedded->dir))
	{
		if (!has_new_mark(embedded))
			return true;
		log_info("a data directory was being made in %s when the server stopped; making it anew",
				 embedded->dir.path);
		embedded_dir_remove_tree(embedded->dir.cluster);
	}
	if (!token_can_be_handed_over(embedded->config, error))
		return false;
	if (durable)
		log_info("making a new PostgreSQL data directory in %s", embedded->dir.path);
	snprintf(fresh, sizeof(fresh), "%s/pg.new", embedded->dir.path);
	embedded_dir_remove_tree(fresh);
	unpacked = prepared_take(embedded, fresh);
	if (!unpacked)
	{
		prepared_begin(embedded);
		if (!embedded_make_fresh(embedded, fresh, durable, error))
			return false;
	}
	if (rename(fresh, embedded->dir.cluster) != 0)
	{
		buf_printf(error, "could not rename %s: %s", fresh, strerror(errno));
		return false;
	}
	embedded->new_cluster = true;
	return true;
}

bool embedded_finish_cluster(struct embedded *embedded, struct buf *error)
{
	char mark[PATH_MAX + 64];
	char how[64];
	int status = 0;

	if (!embedded->new_cluster)
		return true;
	if (embedded->unpacker == 0) /* initdb's, and durable but for its name */
		return embedded->config->test_mode || sync_folder(embedded->dir.path, error);
	while (!embedded_reap(embedded->unpacker, WAIT_MS, &status))
	{
		if (embedded->stopping())
		{
			buf_add_str(error, EMBEDDED_STOPPED);
			return false;
		}
	}
	embedded->unpacker = 0;
	if (status != 0)
	{
		embedded_describe_status(status, how, sizeof(how));
		buf_printf(error, "the new data directory in %s could not be completed: the process that did it %s",
				   embedded->dir.path, how);
		return false;
	}
	new_mark(embedded, mark);
	if (!embedded->config->test_mode && !sync_folder(embedded->dir.path, error))
		return false;
	if (unlink(mark) != 0)
	{
		buf_printf(error, "could not remove %s: %s", mark, strerror(errno));
		return false;
	}
	return embedded->config->test_mode || sync_folder(embedded->dir.cluster, error);
}

void embedded_stop_unpacker(struct embedded *embedded)
{
	if (embedded->unpacker == 0)
		return;
	kill(embedded->unpacker, SIGKILL);
	waitpid(embedded->unpacker, NULL, 0);
	embedded->unpacker = 0;
}
