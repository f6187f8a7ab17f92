/*
 * clock.c: the looks at the system's clocks; see clock.h.
 */
#include "base/clock.h"

#define NS_PER_S 1000000000L

static struct timespec look(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time;
}

uint64_t clock_ms(void)
{
	struct timespec time = look(CLOCK_MONOTONIC_COARSE);

	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

uint64_t clock_us(void)
{
	struct timespec time = look(CLOCK_MONOTONIC);

	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

struct timespec clock_calendar(void)
{
	return look(CLOCK_REALTIME);
}

struct timespec clock_boot(void)
{
	struct timespec now = look(CLOCK_REALTIME);
	struct timespec up = look(CLOCK_BOOTTIME);
	bool borrow = now.tv_nsec < up.tv_nsec;

	return (struct timespec){.tv_sec = now.tv_sec - up.tv_sec - borrow,
							 .tv_nsec = now.tv_nsec - up.tv_nsec + (borrow ? NS_PER_S : 0)};
}
