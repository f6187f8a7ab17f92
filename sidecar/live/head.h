/*
 * subscribe_head: where a subscription is, compared with the head, the last position there is.
 *
 * One that wants to begin above it: its client saw what is gone: the namespace was deleted and made again,
 * messages were deleted by hand, or a crash took what was not on disk.  Or it asks for what is not there yet.
 * Following in silence, it would miss what comes below.
 *
 * And one that has caught up with it may want to be told.
 */
#ifndef MILLRACE_SUBSCRIBE_HEAD_H
#define MILLRACE_SUBSCRIBE_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "db/calls_feed.h"

/* Where a subscription is. */
struct subscribe_place
{
	bool by_stream;
	int64_t next;  /* the first position wanted, of the stream or global */
	int64_t after; /* a stream's: only messages above this global position; -1: any */
};

struct subscribe_head
{
	int64_t position; /* that is above the head */
	int64_t head;	  /* the last position of the same kind; -1: no such stream, 0: an empty namespace */
	int64_t last_global;
};

#define SUBSCRIBE_HEAD_TEXT 128

/* Whether the place may be above the head, by the feed's position; only db_subscribe_head knows. */
bool subscribe_place_may_be_above(const struct subscribe_place *place, int64_t feed_position);
/*
 * Judges the place by what db_subscribe_head answered.  True: it is above the head, and *head and *below are
 * set, the latter to the place just behind the head.  Never on a standby, which may not have got there yet.
 */
bool subscribe_head_judge(const struct db_heads *heads, const struct subscribe_place *place,
						  struct subscribe_head *head, struct subscribe_place *below);
/* For a client that knows the event; and a comment, for one that takes each event for a message. */
void subscribe_head_write_reset(const struct subscribe_head *head, bool ids, char text[SUBSCRIBE_HEAD_TEXT]);
/*
 * That everything up to the head was sent, or is none of the subscription's.  Without an id: one above it may
 * have been sent already.
 */
void subscribe_head_write_reached(int64_t head, char text[SUBSCRIBE_HEAD_TEXT]);
void subscribe_head_write_comment(const struct subscribe_head *head, char text[SUBSCRIBE_HEAD_TEXT]);

#endif
