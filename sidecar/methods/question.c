/*
 * question.c: see question.h.
 */
#include "methods/question.h"

#include "base/clock.h"

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

void question_write(struct consumer_queue *queue, struct buf *requests)
{
	struct method_call *call = question_first(TAILQ_FIRST(&queue->calls));
	const char *comma = "[";

	for (; call != NULL; call = question_first(TAILQ_NEXT(call, link)))
	{
		const char *settle = args_get(call, NEXT_SETTLE);

		buf_add_str(requests, comma);
		buf_add_str(requests, settle != NULL ? settle : args_get(call, NEXT_REQUEST));
		comma = ",";
	}
	buf_add(requests, "]", 2);
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
