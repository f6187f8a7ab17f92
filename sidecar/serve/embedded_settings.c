/*
 * embedded_settings: what the private PostgreSQL is set to; see embedded_internal.h.
 *
 * millrace.conf is ours and written at every start.  postgresql.conf includes it above the place for the
 * user's own settings, so that these win.  What must never be different is on the command line (embedded.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "db/db.h"
#include "serve/embedded_internal.h"
#include "serve/machine.h"

#define OF_USER 50 /* connections besides: two while the server starts, psql, pg_dump */

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

bool embedded_include_settings(const struct embedded *embedded, const char *where, struct buf *error)
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
	long ours = (long)workers * (config->read_connections + DB_OTHER_CONNECTIONS);
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
			   ours + OF_USER, shared_buffers_mb(config));
	written = write_file(embedded, path, O_TRUNC, &text, error);
	buf_free(&text);
	return written && write_full_settings(embedded, error);
}
