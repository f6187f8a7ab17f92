/*
 * clock: what time it is.  Nothing else in the program asks the system.
 *
 * A point is ms or us on a clock that only goes forward.  Its zero is about when the machine started, so a
 * point may be smaller than any timeout; and it may tick between any two looks.  So nothing is subtracted
 * from a point before it is compared: what is compared are points, or a point and the sum of an earlier one
 * and a length.
 */
#ifndef MILLRACE_CLOCK_H
#define MILLRACE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

uint64_t clock_ms(void); /* to a few ms, and cheap: for timeouts */
uint64_t clock_us(void); /* exact: for measuring.  Not to be compared with clock_ms */

/* The calendar's time, which may be set forward and back: for people and for ids. */
struct timespec clock_calendar(void);
struct timespec clock_boot(void); /* when the machine started, by the calendar */

/* Whether a length of time has passed since a point; never before it. */
static inline bool clock_passed(uint64_t now, uint64_t since, uint64_t length)
{
	return now >= since + length;
}

/* How long it is from one point to another; 0 when the other is not later. */
static inline uint64_t clock_span(uint64_t since, uint64_t until)
{
	return until > since ? until - since : 0;
}

#endif
