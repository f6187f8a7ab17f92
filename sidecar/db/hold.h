/*
 * hold: how long a batch may gather although nothing is in flight; see hold.c.
 */
#ifndef MILLRACE_DB_HOLD_H
#define MILLRACE_DB_HOLD_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

struct hold
{
	struct event_base *base;
	void (*on_over)(void *arg);
	void *arg;
	struct event timer;
	int fd; /* of the timer, owned; -1: it was never needed */
	bool ticking;
	unsigned crowd;	 /* appends that were around when the last answer came; 0: no hold */
	unsigned others; /* requests that came since and are none, the server's own too */
	uint64_t since_us;
};

void hold_init(struct hold *hold, struct event_base *base, void (*on_over)(void *arg), void *arg);
void hold_free(struct hold *hold);
void hold_begin(struct hold *hold, unsigned crowd);
void hold_end(struct hold *hold);
/* A request came that is no append. */
void hold_note_other(struct hold *hold);
/* Whether so many appends are not held back any more. */
bool hold_has_enough(const struct hold *hold, unsigned waiting);
/* True while a batch of that many appends is to wait for more; the timer then calls on_over. */
bool hold_lasts(struct hold *hold, unsigned waiting);
/* Whether a batch is held that is to be sent before what reads at the primary. */
bool hold_comes_first(const struct hold *hold);

#endif
