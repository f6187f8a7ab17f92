/*
 * inquiry: asks every worker; see inquiry.h.
 */
#include "serve/inquiry.h"

#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

void *inquiry_part(struct inquiry *inquiry, unsigned worker)
{
	return inquiry->parts + worker * inquiry->kind->part_size;
}

/* One of its holders needs it no more. */
static void drop(struct inquiry *inquiry)
{
	if (atomic_fetch_sub(&inquiry->holders, 1) > 1)
		return;
	for (unsigned i = 0; i < inquiry->nparts; i++)
		inquiry->kind->release(inquiry_part(inquiry, i));
	if (inquiry->answer_fd >= 0)
		close(inquiry->answer_fd);
	free(inquiry);
}

/* ---- in the worker's thread --------------------------------------------------- */

void inquiry_answer(struct inquiry_part *part)
{
	struct inquiry *inquiry = part->inquiry;
	uint64_t one = 1;

	atomic_store(&part->answered, true);
	/* Its counter can't be full.  Should it fail all the same, the inquiry's time runs out. */
	(void)!write(inquiry->answer_fd, &one, sizeof(one));
	drop(inquiry);
}

static void on_question(struct worker_question *question, struct service *service, struct places *places)
{
	struct inquiry_part *part = (struct inquiry_part *)question;

	part->inquiry->kind->ask(part, service, places);
}

/* ---- in the inquirer's ----------------------------------------------------------- */

static void leave(struct inquiry *inquiry)
{
	LIST_REMOVE(inquiry, link);
	if (inquiry->on_answer != NULL)
		event_free(inquiry->on_answer);
	drop(inquiry);
}

static void reply(struct inquiry *inquiry)
{
	for (unsigned i = 0; i < inquiry->nparts; i++)
	{
		struct inquiry_part *part = inquiry_part(inquiry, i);

		part->known = atomic_load(&part->answered);
	}
	inquiry->kind->reply(inquiry);
	leave(inquiry);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct inquiry *inquiry = arg;
	uint64_t answers = 0;

	if ((what & EV_READ) && read(fd, &answers, sizeof(answers)) == (ssize_t)sizeof(answers))
		inquiry->nanswers += (unsigned)answers;
	if ((what & EV_TIMEOUT) || inquiry->nanswers >= inquiry->nparts)
		reply(inquiry);
}

/* Begins to wait for answers; false: out of memory or descriptors. */
static bool listen_for_answers(struct inquiry *inquiry)
{
	unsigned ms = inquiry->kind->timeout_ms;
	const struct timeval timeout = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000L};

	inquiry->answer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (inquiry->answer_fd < 0)
		return false;
	inquiry->on_answer =
		event_new(inquiry->inquirer->base, inquiry->answer_fd, EV_READ | EV_PERSIST, on_answer, inquiry);
	return inquiry->on_answer != NULL && event_add(inquiry->on_answer, &timeout) == 0;
}

struct inquiry *inquiry_new(struct inquirer *inquirer, const struct inquiry_kind *kind, void *owner,
							void *request)
{
	struct inquiry *inquiry = calloc(1, sizeof(*inquiry) + inquirer->nworkers * kind->part_size);

	if (inquiry == NULL)
		return NULL;
	inquiry->kind = kind;
	inquiry->holders = 1;
	inquiry->inquirer = inquirer;
	inquiry->owner = owner;
	inquiry->request = request;
	inquiry->nparts = inquirer->nworkers;
	LIST_INSERT_HEAD(&inquirer->inquiries, inquiry, link);
	if (listen_for_answers(inquiry))
		return inquiry;
	leave(inquiry);
	return NULL;
}

void inquiry_ask(struct inquiry *inquiry)
{
	atomic_fetch_add(&inquiry->holders, inquiry->nparts);
	for (unsigned i = 0; i < inquiry->nparts; i++)
	{
		struct inquiry_part *part = inquiry_part(inquiry, i);

		part->question.answer = on_question;
		part->inquiry = inquiry;
		part->worker = i;
		worker_ask(inquiry->inquirer->workers[i], &part->question);
	}
}

void inquiry_end_all(struct inquirer *inquirer)
{
	struct inquiry *next;

	for (struct inquiry *inquiry = LIST_FIRST(&inquirer->inquiries); inquiry != NULL; inquiry = next)
	{
		next = LIST_NEXT(inquiry, link);
		inquiry->kind->end(inquiry);
		leave(inquiry);
	}
}
