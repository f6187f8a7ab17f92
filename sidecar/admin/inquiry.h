/*
 * admin_inquiry: asks every worker something, waits for their answers, and replies with those that came.
 *
 * What a worker owns only its own thread may look at.  So each gets a part of the inquiry, into which it
 * writes its answer.  A part is its worker's until it is answered, then the admin's.  The inquiry belongs to
 * all its holders: the admin, and each worker that has not answered yet; the last one frees it.
 */
#ifndef MILLRACE_ADMIN_INQUIRY_H
#define MILLRACE_ADMIN_INQUIRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "admin/internal.h"
#include "serve/worker.h"

/* It begins a larger struct, that of the kind, which is all zero at first. */
struct inquiry_part
{
	struct worker_question question; /* first: the worker gets it and we cast */
	struct inquiry *inquiry;
	unsigned worker; /* its number */
	_Atomic bool answered;
	bool known; /* the admin's: it was answered when the reply was begun */
};

struct inquiry_kind
{
	size_t part_size;
	unsigned timeout_ms; /* from the question, or the last answer */
	/* On the worker's thread, as worker_question.answer; calls inquiry_answer, now or later. */
	void (*ask)(struct inquiry_part *part, struct service *service, struct db *db);
	/* Replies to inquiry->request with the parts that are known. */
	void (*reply)(struct inquiry *inquiry);
	/* Frees what a part owns. */
	void (*release)(struct inquiry_part *part);
};

struct inquiry
{
	const struct inquiry_kind *kind;
	_Atomic unsigned holders;
	int answer_fd; /* counts answers */
	/* The admin's alone: */
	LIST_ENTRY(inquiry) link;
	struct admin *admin;
	struct http_request *request;
	struct event *on_answer;
	unsigned nanswers;

	unsigned nparts;
	_Alignas(max_align_t) char parts[]; /* one a worker */
};

/* NULL: out of memory or descriptors, and that was replied. */
struct inquiry *inquiry_new(struct admin *admin, struct http_request *request,
							const struct inquiry_kind *kind);
/* The part of a worker; its kind says of which type it is. */
void *inquiry_part(struct inquiry *inquiry, unsigned worker);
/* Asks all workers: their parts are theirs now. */
void inquiry_ask(struct inquiry *inquiry);
/* On the worker's thread, once: the part is answered, and the admin's. */
void inquiry_answer(struct inquiry_part *part);
/* Ends all that wait for answers. */
void inquiry_end_all(struct admin *admin);

#endif
