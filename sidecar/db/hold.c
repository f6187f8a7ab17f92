/*
 * db_hold: when a batch goes although it could still grow; see internal.h.
 *
 * Clients that wait for their answers come back together, right after a batch is answered.  Sent at once, the
 * first of them would make a small batch, the others the next one, and the two groups would take turns for
 * ever, each paying the fixed price of a transaction and its flush.  So after an answer the next batch is
 * held back until as many requests have gathered as were around when the answer came (less a quarter: some
 * come back later, some not), for at most HOLD_US, less than what a flush takes.  A client that is alone is
 * never held back.  Measured in bench/README.md.  A batch also gathers while another is in flight (batch.c),
 * and goes when it is full (gather.c).
 */
#include "base/clock.h"
#include "db/internal.h"

#define HOLD_US 200

/* A quarter of the crowd is not waited for. */
static bool is_most(unsigned waiting, unsigned crowd)
{
	return waiting >= crowd - crowd / 4;
}

void hold_init(struct hold *hold, struct event_base *base, event_callback_fn on_over, void *arg)
{
	event_assign(&hold->timer, base, -1, 0, on_over, arg);
}

void hold_begin(struct hold *hold, unsigned crowd)
{
	hold->crowd = crowd;
	hold->since_us = clock_us();
}

void hold_end(struct hold *hold)
{
	hold->crowd = 0;
	event_del(&hold->timer);
}

bool hold_lasts(struct hold *hold, unsigned waiting)
{
	struct timeval left = {0};
	uint64_t now;

	if (hold->crowd <= 1 || is_most(waiting, hold->crowd))
		return false;
	now = clock_us();
	if (clock_passed(now, hold->since_us, HOLD_US))
		return false;
	left.tv_usec = (suseconds_t)clock_span(now, hold->since_us + HOLD_US);
	if (!event_pending(&hold->timer, EV_TIMEOUT, NULL))
		event_add(&hold->timer, &left);
	return true;
}
