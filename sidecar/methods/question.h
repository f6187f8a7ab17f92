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
/*
 * The requests as one JSON array, with a NUL: of those that have something to settle, and true, or where none
 * has, of all.
 */
bool question_write(struct consumer_queue *queue, struct buf *requests);
/* Keeps with the calls of the question what came of what they had to settle, and counts it. */
void question_take_settled(struct consumer_queue *queue, const struct db_reply *reply, struct stats *stats);
/* Whether a call is left that must be asked for at once. */
bool question_is_left(const struct consumer_queue *queue);

/* ---- answer.c: what ends a call, and takes it out of its queue ----------------------------------- */

/* The members of an answer, and of what was settled. */
void answer_call(struct consumer_queue *queue, struct method_call *call, struct db_reply *reply,
				 struct slice body);
/* There is nothing for it. */
void answer_nothing(struct consumer_queue *queue, struct method_call *call);
/* A call that has settled something is not told of an error, but of that. */
void answer_error(struct consumer_queue *queue, struct method_call *call, struct db_reply *reply);
void answer_locked(struct consumer_queue *queue, struct method_call *call);
/* It stays, and waits; among other calls of a batch it can't. */
void answer_waits(struct method_call *call);

#endif
