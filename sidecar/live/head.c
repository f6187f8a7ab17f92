/*
 * head.c: compares a subscription's place with what there is (see head.h).
 */
#include "live/head.h"

#include <inttypes.h>
#include <stdio.h>

bool subscribe_place_may_be_above(const struct subscribe_place *place, int64_t feed_position)
{
	if (place->by_stream)
		return place->next > 0 || place->after >= feed_position;
	return place->next > feed_position;
}

bool subscribe_head_judge(const struct db_heads *heads, const struct subscribe_place *place,
						  struct subscribe_head *head, struct subscribe_place *below)
{
	int64_t last = heads->last_global;
	int64_t version = place->by_stream ? heads->version : last;

	*below = *place;
	*head = (struct subscribe_head){.last_global = last};
	if (heads->in_recovery)
		return false;
	if (place->next - 1 > version) /* which may be the last position there is */
	{
		head->position = place->next;
		head->head = version;
		below->next = version + 1;
	}
	if (place->by_stream && place->after > last)
	{
		head->position = place->after;
		head->head = last;
		below->after = last;
	}
	return below->next != place->next || below->after != place->after;
}

static void write_event(const char *name, int64_t head, bool ids, int64_t id, char text[SUBSCRIBE_HEAD_TEXT])
{
	char line[32] = "";

	if (ids)
		snprintf(line, sizeof(line), "id: %" PRId64 "\n", id);
	snprintf(text, SUBSCRIBE_HEAD_TEXT, "%sevent: %s\ndata: {\"head\":%" PRId64 "}\n\n", line, name, head);
}

void subscribe_head_write_reset(const struct subscribe_head *head, bool ids, char text[SUBSCRIBE_HEAD_TEXT])
{
	write_event("reset", head->head, ids, head->last_global, text);
}

void subscribe_head_write_reached(int64_t head, char text[SUBSCRIBE_HEAD_TEXT])
{
	write_event("head", head, false, 0, text);
}

void subscribe_head_write_comment(const struct subscribe_head *head, char text[SUBSCRIBE_HEAD_TEXT])
{
	snprintf(text, SUBSCRIBE_HEAD_TEXT, ": position %" PRId64 " is above the head %" PRId64 "\n",
			 head->position, head->head);
}
