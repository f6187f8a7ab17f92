/*
 * admin_process: the process itself, as the kernel tells it; names as Prometheus's own clients have them.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "admin/internal.h"
#include "base/buf.h"
#include "base/clock.h"

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	if (dir == NULL)
		return 0;
	for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count - 1; /* the folder's own */
}

static void add(struct buf *out, const char *name, const char *type, const char *help, double value)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

/*
 * Fields of /proc/self/stat, counted from the one behind the program's name, which may hold anything
 * (proc(5)).
 */
static void add_stat(struct buf *out)
{
	char text[1024];
	FILE *file = fopen("/proc/self/stat", "r");
	size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
	double ticks = (double)sysconf(_SC_CLK_TCK);
	unsigned long user, system, size;
	unsigned long long started;
	struct timespec boot;
	long pages;
	const char *at;

	if (file != NULL)
		fclose(file);
	text[len] = '\0';
	at = strrchr(text, ')');
	if (at == NULL ||
		sscanf(at,
			   ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu %lu %ld",
			   &user, &system, &started, &size, &pages) != 5)
		return;
	boot = clock_boot();
	add(out, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
		(double)(user + system) / ticks);
	add(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", (double)size);
	add(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
		(double)pages * (double)sysconf(_SC_PAGESIZE));
	add(out, "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
		(double)boot.tv_sec + (double)boot.tv_nsec / 1e9 + (double)started / ticks);
}

void admin_add_process_metrics(struct buf *out)
{
	struct rlimit limit;

	add_stat(out);
	add(out, "process_open_fds", "gauge", "Number of open file descriptors.", count_descriptors());
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		add(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.",
			(double)limit.rlim_cur);
}
