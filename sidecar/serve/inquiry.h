/*
 * inquiry: asks every worker something, waits for their answers, and replies with those that came.
 *
 * What a worker owns only its own thread may look at.  So each gets a part of the inquiry, into which it
 * writes its answer.  A part is its worker's until it is answered, then the inquirer's.  The inquiry belongs
 * to all its holders: the inquirer, and each worker that has not answered yet; the last one frees it.
 */
#ifndef MILLRACE_INQUIRY_H
#define MILLRACE_INQUIRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "serve/worker.h"

struct event_base;

/* Who asks; of the thread in which its loop turns.  The first three are its owner's to set. */
struct inquirer
{
	struct event_base *base;
	struct worker *const *workers; /* they outlive it */
	unsigned nworkers;
	LIST_HEAD(inquiry_list, inquiry) inquiries; /* that wait for answers; all zero at first */
};

/* It begins a larger struct, that of the kind, which is all zero at first. */
struct inquiry_part
{
	struct worker_question question; /* first: the worker gets it and we cast */
	struct inquiry *inquiry;
	unsigned worker; /* its number */
	_Atomic bool answered;
	bool known; /* the inquirer's: it was answered when the reply was begun */
};

struct inquiry_kind
{
	size_t part_size;
	unsigned timeout_ms; /* from the question, or the last answer */
	/* On the worker's thread, as worker_question.answer; calls inquiry_answer, now or later. */
	void (*ask)(struct inquiry_part *part, struct service *service, struct places *places);
	/* Replies to who asked, inquiry->owner and inquiry->request, with the parts that are known. */
	void (*reply)(struct inquiry *inquiry);
	/* Replies that the inquirer has ended. */
	void (*end)(struct inquiry *inquiry);
	/* Frees what a part owns. */
	void (*release)(struct inquiry_part *part);
};

struct inquiry
{
	const struct inquiry_kind *kind;
	_Atomic unsigned holders;
	int answer_fd; /* counts answers */
	/* The inquirer's alone: */
	LIST_ENTRY(inquiry) link;
	struct inquirer *inquirer;
	void *owner, *request;
	struct event *on_answer;
	unsigned nanswers;

	unsigned nparts;
	_Alignas(max_align_t) char parts[]; /* one a worker */
};

/* NULL: out of memory or descriptors. */
struct inquiry *inquiry_new(struct inquirer *inquirer, const struct inquiry_kind *kind, void *owner,
							void *request);
/* The part of a worker; its kind says of which type it is. */
void *inquiry_part(struct inquiry *inquiry, unsigned worker);
/* Asks all workers: their parts are theirs now. */
void inquiry_ask(struct inquiry *inquiry);
/* On the worker's thread, once: the part is answered, and the inquirer's. */
void inquiry_answer(struct inquiry_part *part);
/* Ends all that wait for answers. */
void inquiry_end_all(struct inquirer *inquirer);

#endif
