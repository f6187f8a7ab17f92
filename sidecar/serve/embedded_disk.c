/*
 * embedded_disk: what happens when the disk of the data directory is full; see embedded_internal.h.
 *
 * Postgres ends when it cannot write its log, and does not start again before it can.  So when little is left
 * we make it read-only, by a file of settings that its own includes: reads go on, appends wait as for a
 * standby, and nothing of ours takes what is left.  Should others fill the disk faster than we look, Postgres
 * needs some room to come back: that is millrace.reserve, which we remove then.  With room again all is as
 * before.  Files are renamed or removed, as neither takes room.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "serve/embedded_internal.h"
#include "base/log.h"

#define LOOK_S 1
#define MB ((uint64_t)1024 * 1024)
#define RESERVE_MAX (64 * MB)
#define LOW_MAX (32 * MB) /* two files of Postgres's log */

/* Smaller disks have less of each. */
struct marks
{
	uint64_t reserve;
	uint64_t low, high; /* full below `low`; no longer from `high` on, more than the reserve gives back */
};

static struct marks marks_of(uint64_t size)
{
	struct marks marks = {.reserve = size / 8, .low = size / 16};

	if (marks.reserve > RESERVE_MAX)
		marks.reserve = RESERVE_MAX;
	if (marks.low > LOW_MAX)
		marks.low = LOW_MAX;
	marks.high = marks.low + 2 * marks.reserve;
	return marks;
}

bool embedded_measure_disk(const struct embedded *embedded, struct embedded_disk *disk)
{
	struct statvfs status;

	if (statvfs(embedded->dir.path, &status) != 0)
		return false;
	disk->size = (uint64_t)status.f_blocks * status.f_frsize;
	disk->free = (uint64_t)status.f_bavail * status.f_frsize;
	disk->full = embedded->disk_full;
	return true;
}

static void name_reserve(const struct embedded *embedded, char path[PATH_MAX + 64])
{
	snprintf(path, PATH_MAX + 64, "%s/millrace.reserve", embedded->dir.path);
}

/* Not posix_fallocate(), which writes where the file system can't. */
static void make_reserve(struct embedded *embedded, uint64_t size)
{
	char path[PATH_MAX + 64];
	int fd;

	name_reserve(embedded, path);
	embedded->has_reserve = true; /* or none can be had: one attempt is enough */
	fd = embedded_dir_create(&embedded->dir, path, O_WRONLY);
	if (fd < 0 || fallocate(fd, 0, 0, (off_t)size) != 0)
		log_debug("could not reserve space in %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void remove_reserve(struct embedded *embedded)
{
	char path[PATH_MAX + 64];

	name_reserve(embedded, path);
	if (unlink(path) != 0 && errno != ENOENT)
		log_warning("could not remove %s: %s", path, strerror(errno));
	embedded->has_reserve = false;
}

static void switch_settings(const struct embedded *embedded)
{
	char on[PATH_MAX + 64], off[PATH_MAX + 64];

	snprintf(on, sizeof(on), "%s/" EMBEDDED_FULL_ON, embedded->dir.cluster);
	snprintf(off, sizeof(off), "%s/" EMBEDDED_FULL_OFF, embedded->dir.cluster);
	if (rename(embedded->disk_full ? off : on, embedded->disk_full ? on : off) != 0)
		log_error("could not rename %s: %s", embedded->disk_full ? off : on, strerror(errno));
	if (embedded->postmaster > 0)
		kill(embedded->postmaster, SIGHUP);
}

static void enter(struct embedded *embedded, uint64_t left, const struct marks *marks)
{
	embedded->disk_full = true;
	log_error("the disk of %s is full (%" PRIu64 " MB left): nothing is appended until there are %" PRIu64
			  " MB, reads are answered",
			  embedded->dir.path, left / MB, marks->high / MB);
	remove_reserve(embedded);
}

void embedded_look_at_disk(struct embedded *embedded)
{
	struct embedded_disk disk;
	struct marks marks;

	if (embedded->config->test_mode || !embedded_measure_disk(embedded, &disk))
		return;
	marks = marks_of(disk.size);
	if (!disk.full && disk.free < marks.low)
	{
		enter(embedded, disk.free, &marks);
		switch_settings(embedded);
	}
	else if (disk.full && disk.free >= marks.high)
	{
		log_info("there is room on the disk of %s again (%" PRIu64 " MB): appends go on", embedded->dir.path,
				 disk.free / MB);
		embedded->disk_full = false;
		switch_settings(embedded);
	}
	if (!embedded->disk_full && !embedded->has_reserve && disk.free >= marks.high)
		make_reserve(embedded, marks.reserve);
}

void embedded_begin_disk(struct embedded *embedded)
{
	struct embedded_disk disk;
	struct marks marks;

	if (embedded->config->test_mode || !embedded_measure_disk(embedded, &disk))
		return;
	marks = marks_of(disk.size);
	if (disk.free < marks.low)
		enter(embedded, disk.free, &marks);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	embedded_look_at_disk(arg);
}

bool embedded_watch_disk(struct embedded *embedded, struct event_base *base)
{
	static const struct timeval often = {.tv_sec = LOOK_S};

	embedded->disk_event = event_new(base, -1, EV_PERSIST, on_time, embedded);
	return embedded->disk_event != NULL && event_add(embedded->disk_event, &often) == 0;
}
