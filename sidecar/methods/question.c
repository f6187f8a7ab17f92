/*
 * question.c: see question.h.
 */
#include "methods/question.h"

#include "base/clock.h"
#include "base/stats.h"

#define MAX_ASKED 100 /* calls in one question */

struct method_call *question_first(struct method_call *call)
{
	while (call != NULL && !call->asked)
		call = TAILQ_NEXT(call, link);
	return call;
}

/* Whether a call is to be asked for now, whatever waits before it. */
static bool is_urgent(const struct method_call *call, uint64_t now)
{
	return !call->asked_once || call->deadline_ms <= now;
}

/* Marks up to `most` calls in all as asked; returns how many are. */
static unsigned mark(struct consumer_queue *queue, bool urgent, unsigned most, unsigned nasked)
{
	uint64_t now = clock_ms();
	struct method_call *call;

	TAILQ_FOREACH(call, &queue->calls, link)
	{
		if (nasked == most)
			break;
		if (call->asked || (urgent && !is_urgent(call, now)))
			continue;
		call->asked = true;
		nasked++;
	}
	return nasked;
}

/* One that may be at fault comes alone. */
void question_choose(struct consumer_queue *queue)
{
	struct method_call *call;

	TAILQ_FOREACH(call, &queue->calls, link)
	{
		if (call->alone)
		{
			call->asked = true;
			return;
		}
	}
	(void)mark(queue, false, MAX_ASKED, mark(queue, true, MAX_ASKED / 2, 0));
}

/* The first at or behind one that has something to settle. */
static struct method_call *first_settling(struct method_call *call)
{
	call = question_first(call);
	while (call != NULL && args_get(call, NEXT_SETTLE) == NULL)
		call = question_first(TAILQ_NEXT(call, link));
	return call;
}

bool question_write(struct consumer_queue *queue, struct buf *requests)
{
	struct method_call *call = first_settling(TAILQ_FIRST(&queue->calls));
	bool settles = call != NULL;
	const char *comma = "[";

	if (!settles)
		call = question_first(TAILQ_FIRST(&queue->calls));
	while (call != NULL)
	{
		buf_add_str(requests, comma);
		buf_add_str(requests, args_get(call, settles ? NEXT_SETTLE : NEXT_REQUEST));
		comma = ",";
		call = TAILQ_NEXT(call, link);
		call = settles ? first_settling(call) : question_first(call);
	}
	buf_add(requests, "]", 2);
	return settles;
}

/* Members behind those of the call's answer, and its end. */
static void keep_settled(struct method_call *call, struct slice settled)
{
	call->texts[NEXT_SETTLED] = (ssize_t)call->text.len;
	buf_add(&call->text, settled.bytes, settled.len);
	buf_add(&call->text, "}", 2);
	call->texts[NEXT_SETTLE] = -1;
}

void question_take_settled(struct consumer_queue *queue, const struct db_reply *reply, struct stats *stats)
{
	struct method_call *call, *next = first_settling(TAILQ_FIRST(&queue->calls));

	for (unsigned i = 0; (call = next) != NULL; i++)
	{
		const struct db_settled settled = db_settled_of(reply, i);

		next = first_settling(TAILQ_NEXT(call, link));
		stats_add(&stats->claims_settled, (uint64_t)settled.claims_settled);
		stats_add(&stats->claims_fenced, (uint64_t)settled.claims_lost);
		stats_add(&stats->messages_failed, (uint64_t)settled.messages_failed);
		keep_settled(call, settled.settled);
	}
}

bool question_is_left(const struct consumer_queue *queue)
{
	uint64_t now = clock_ms();
	const struct method_call *call;

	TAILQ_FOREACH(call, &queue->calls, link)
	{
		if (call->alone || is_urgent(call, now))
			return true;
	}
	return false;
}
