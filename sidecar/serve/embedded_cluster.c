/*
 * embedded_cluster: the files of the private PostgreSQL; see embedded_internal.h.
 *
 * A new cluster is made in pg.new, which is renamed when it is complete: there is never half a cluster.  It
 * comes from the prepared one (embedded_prepared.c), else from initdb.
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
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve/embedded_internal.h"
#include "base/log.h"
#include "serve/machine.h"
#include "serve/token_handover.h"

#define MAX_ARGS 16
#define WAIT_MS 20

char *const embedded_initdb_options[] = {
	"--username=postgres", "--auth=trust", /* only its own user can enter the folder of the socket */
	"--encoding=UTF8",	   "--locale=C",   "--data-checksums", "--no-instructions", NULL};

bool embedded_check_programs(const struct config *config, struct buf *error)
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

static bool run_initdb(const struct embedded *embedded, const char *where, bool sync, struct buf *error)
{
	char program[PATH_MAX];
	char pgdata[PATH_MAX + 64];
	char *argv[MAX_ARGS] = {program, pgdata};
	size_t argc = 2;

	for (size_t i = 0; embedded_initdb_options[i] != NULL; i++)
		argv[argc++] = embedded_initdb_options[i];
	if (!sync)
		argv[argc++] = "--no-sync";
	snprintf(program, sizeof(program), "%s/initdb", embedded->config->pg_bindir);
	snprintf(pgdata, sizeof(pgdata), "--pgdata=%s", where);
	return embedded_run(
		embedded,
		&(struct embedded_program){.argv = argv, .death_signal = SIGKILL, .output = -1, .asks_name = true},
		error);
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

bool embedded_make_fresh(const struct embedded *embedded, const char *where, bool sync, struct buf *error)
{
	return run_initdb(embedded, where, sync, error) && include_settings(embedded, where, error);
}

/* ---- beginning and finishing ---------------------------------------------------- */

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

/* True: a whole cluster is there. */
static bool has_cluster(const struct embedded *embedded)
{
	char mark[PATH_MAX + 64];

	if (!embedded_dir_has_cluster(&embedded->dir))
		return false;
	new_mark(embedded, mark);
	if (access(mark, F_OK) != 0)
		return true;
	log_info("a data directory was being made in %s when the server stopped; making it anew",
			 embedded->dir.path);
	embedded_dir_remove_tree(embedded->dir.cluster);
	return false;
}

bool embedded_make_cluster(struct embedded *embedded, struct buf *error)
{
	bool durable = !embedded->config->test_mode;
	char fresh[PATH_MAX + 32];
	bool unpacked;

	if (has_cluster(embedded))
		return true;
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
			buf_add_str(error, "stopped while starting");
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

/* ---- settings --------------------------------------------------------------------- */

/* An eighth of the memory that we may use, within reason; of little a quarter, as less is slow. */
static long shared_buffers_mb(const struct config *config)
{
	struct machine machine;
	long mb;

	machine_look(&machine);
	mb = (long)(machine.memory / 1024 / 1024 / 8);
	if (config->test_mode || mb < 128)
		mb = 2 * mb < 128 ? 2 * mb : 128;
	if (mb < 16)
		return 16;
	return mb < 2048 ? mb : 2048;
}

/* For a full disk: nothing is appended, and of the log no more is kept than must be; see embedded_disk.c. */
static bool write_full_settings(const struct embedded *embedded, struct buf *error)
{
	char on[PATH_MAX + 64], off[PATH_MAX + 64];
	struct buf text = {0};
	bool written;

	snprintf(on, sizeof(on), "%s/" EMBEDDED_FULL_ON, embedded->dir.cluster);
	snprintf(off, sizeof(off), "%s/" EMBEDDED_FULL_OFF, embedded->dir.cluster);
	unlink(embedded->disk_full ? off : on);
	buf_add_str(&text, "# Written by millrace, and in force while the disk is full.\n"
					   "default_transaction_read_only = on\n"
					   "autovacuum = off\n"
					   "max_wal_size = 64MB\n"
					   "min_wal_size = 32MB\n");
	written = write_file(embedded, embedded->disk_full ? on : off, O_TRUNC, &text, error);
	buf_free(&text);
	return written;
}

bool embedded_write_settings(const struct embedded *embedded, unsigned workers, struct buf *error)
{
	const struct config *config = embedded->config;
	long ours = (long)workers * (config->read_connections + 9);
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
			   "timezone = 'UTC'\n"
			   "include_if_exists = '" EMBEDDED_FULL_ON "'	# is there while the disk is full\n",
			   ours + 50, shared_buffers_mb(config));
	written = write_file(embedded, path, O_TRUNC, &text, error);
	buf_free(&text);
	return written && write_full_settings(embedded, error);
}
