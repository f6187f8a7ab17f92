/*
 * question: which calls of a queue are asked for next; see waiting.c, whose queues these are.
 *
 * Where more wait than fit into a question, half of it is for those that were not asked for yet or whose
 * time is over, and the rest for those that came first.
 */
#ifndef MILLRACE_METHODS_QUESTION_H
#define MILLRACE_METHODS_QUESTION_H

#include <event2/event_struct.h>

#include "methods/internal.h"

TAILQ_HEAD(call_list, method_call);
TAILQ_HEAD(queue_list, consumer_queue);

struct consumer_queue
{
	TAILQ_ENTRY(consumer_queue) link; /* of the worker's */
	struct consumers *consumers;
	struct call_list calls; /* the first to have come first */
	bool asking;
	bool woken;			/* while it was asking */
	bool busy;			/* in a function that must find it afterwards */
	unsigned releasing; /* claims that are being given back */
	uint64_t due_ms;	/* when something is due; UINT64_MAX: not known */
	uint64_t locked_ms; /* how long to wait for another session */
	uint64_t bit;		/* of the namespace */
	struct event timer;
	char *consumer;
	char namespace_name[];
};

/* Marks the calls of the next question as asked. */
void question_choose(struct consumer_queue *queue);
/* The first call of the question at or behind one; NULL: there is none. */
struct method_call *question_first(struct method_call *call);
/* Their requests as one JSON array, with a NUL. */
void question_write(struct consumer_queue *queue, struct buf *requests);
/* Whether a call is left that must be asked for at once. */
bool question_is_left(const struct consumer_queue *queue);

#endif
