/*
 * wall_clock.c: a wall clock that a test sets, for Postgres: preloaded (LD_PRELOAD), it answers
 * gettimeofday().
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Seconds that are added to the machine's clock, shared with the test. */
static int64_t *offset;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("TEST_WALL_CLOCK");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = fd >= 0 ? mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (map == MAP_FAILED)
		_exit(121);
	close(fd);
	offset = map;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return -1;
	*time = (struct timeval){.tv_sec = now.tv_sec + *offset, .tv_usec = now.tv_nsec / 1000};
	return 0;
}
