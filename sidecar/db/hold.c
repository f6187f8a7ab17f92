/*
 * hold.c: when a batch goes although it could still grow; see hold.h.
 *
 * Clients that wait for their answers come back together, right after a batch is answered.  Sent at once, the
 * first of them would make a small batch, the others the next one, and the two groups would take turns for
 * ever, each paying the fixed price of a transaction and its flush.  So after an answer the next batch is
 * held back until as many requests have come, appends or others, as appends were around when the answer came
 * (less an eighth: some come back later, some not), for at most HOLD_US, less than what a flush takes.  A
 * client that is alone is never held back.  Measured in bench/README.md.  A batch also gathers while another
 * is in flight (batch.c), and goes when it is full (gather.c).
 *
 * What reads at the primary is sent behind the batch of a small crowd that is held.  Sent before it, it takes
 * the processor on which the batch is about to run; behind it, it runs while the batch waits for the disk.
 *
 * Of a larger crowd fewer are enough: while Postgres is at their batch the others are answered and ask again,
 * so that it and the server work at the same time, and the price of a transaction is shared by many anyway.
 * Of a large one more again, as then the processors are busy, and larger batches take less of them.  What
 * else these ask makes no difference then.
 *
 * The timer is a descriptor of its own: libevent's are exact to a millisecond, or else it sets one in every
 * loop turn, with a system call, whether a batch is held or not.
 */
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "db/hold.h"

#define HOLD_US 200
#define SMALL_CROWD 24
#define LARGE_CROWD 96

/* How many appends of a crowd are waited for: of a small one all but an eighth and those that do else now. */
static unsigned enough_of(unsigned crowd, unsigned others)
{
	unsigned most = crowd - crowd / 8;

	if (crowd < SMALL_CROWD)
		return most > others ? most - others : 0;
	return crowd < LARGE_CROWD ? crowd / 3 : crowd / 2;
}

bool hold_has_enough(const struct hold *hold, unsigned waiting)
{
	return hold->crowd <= 1 || waiting >= enough_of(hold->crowd, hold->others);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hold *hold = arg;
	uint64_t times;

	(void)what;
	if (read(fd, &times, sizeof(times)) != (ssize_t)sizeof(times))
		return; /* it was stopped meanwhile */
	hold->ticking = false;
	hold->on_over(hold->arg);
}

void hold_init(struct hold *hold, struct event_base *base, void (*on_over)(void *arg), void *arg)
{
	*hold = (struct hold){.fd = -1, .base = base, .on_over = on_over, .arg = arg};
}

/* Made when first needed; false: out of descriptors. */
static bool has_timer(struct hold *hold)
{
	if (hold->fd >= 0)
		return true;
	hold->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (hold->fd < 0)
		return false;
	event_assign(&hold->timer, hold->base, hold->fd, EV_READ | EV_PERSIST, on_timer, hold);
	if (event_add(&hold->timer, NULL) == 0)
		return true;
	close(hold->fd);
	hold->fd = -1;
	return false;
}

/* 0: never. */
static bool set_timer(struct hold *hold, uint64_t us)
{
	struct itimerspec time = {.it_value.tv_nsec = (long)us * 1000};

	hold->ticking = timerfd_settime(hold->fd, 0, &time, NULL) == 0 && us > 0;
	return hold->ticking || us == 0;
}

void hold_begin(struct hold *hold, unsigned crowd)
{
	hold->crowd = crowd;
	hold->others = 0;
	hold->since_us = clock_us();
}

void hold_note_other(struct hold *hold)
{
	hold->others++;
}

void hold_end(struct hold *hold)
{
	hold->crowd = 0;
	if (hold->ticking)
		(void)set_timer(hold, 0);
}

void hold_free(struct hold *hold)
{
	hold_end(hold);
	if (hold->fd < 0)
		return;
	event_del(&hold->timer);
	close(hold->fd);
	hold->fd = -1;
}

bool hold_lasts(struct hold *hold, unsigned waiting)
{
	uint64_t now;

	if (hold_has_enough(hold, waiting))
		return false;
	now = clock_us();
	if (clock_passed(now, hold->since_us, HOLD_US))
		return false;
	return hold->ticking || (has_timer(hold) && set_timer(hold, clock_span(now, hold->since_us + HOLD_US)));
}

bool hold_comes_first(const struct hold *hold)
{
	return hold->ticking && hold->crowd < SMALL_CROWD;
}
