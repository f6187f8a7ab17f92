/*
 * clock.c: a clock that a test sets, for a program that was built without knowing of it: preloaded
 * (LD_PRELOAD), it answers clock_gettime() for the clocks that only go forward.  See clock.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL

/* Shared with the test. */
struct setting
{
	int64_t offset; /* ns that are added to the machine's clock */
	int64_t tick;	/* ns by which each look moves the clock on */
	int64_t looks;
	int64_t stands; /* ns, what the clock shows; 0: it goes */
	int64_t ticked; /* ns, of all ticks so far: they stay when the tick changes, or the clock would go back */
};

static struct setting *setting;
static int (*look)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("TEST_CLOCK");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map =
		fd >= 0 ? mmap(NULL, sizeof(*setting), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	look = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (map == MAP_FAILED)
		_exit(121);
	close(fd);
	setting = map;
	unsetenv("LD_PRELOAD"); /* Postgres keeps the machine's clock */
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int rc = look != NULL ? look(clock, time) : -1;
	int64_t now;

	if (rc != 0 || setting == NULL)
		return rc;
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE && clock != CLOCK_MONOTONIC_RAW &&
		clock != CLOCK_BOOTTIME)
		return rc;
	now = time->tv_sec * NS_PER_S + time->tv_nsec + setting->offset;
	if (setting->stands != 0)
		now = setting->stands;
	__atomic_add_fetch(&setting->looks, 1, __ATOMIC_SEQ_CST);
	now += __atomic_add_fetch(&setting->ticked, setting->tick, __ATOMIC_SEQ_CST);
	if (now < 0)
		now = 0;
	*time = (struct timespec){.tv_sec = now / NS_PER_S, .tv_nsec = now % NS_PER_S};
	return 0;
}
