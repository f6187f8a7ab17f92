/*
 * admin_inquiry: asks every worker; see inquiry.h.
 */
#include "admin/inquiry.h"

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

static void on_question(struct worker_question *question, struct service *service, struct db *db)
{
	struct inquiry_part *part = (struct inquiry_part *)question;

	part->inquiry->kind->ask(part, service, db);
}

/* ---- in the admin's ----------------------------------------------------------- */

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
		event_new(inquiry->admin->base, inquiry->answer_fd, EV_READ | EV_PERSIST, on_answer, inquiry);
	return inquiry->on_answer != NULL && event_add(inquiry->on_answer, &timeout) == 0;
}

struct inquiry *inquiry_new(struct admin *admin, struct http_request *request,
							const struct inquiry_kind *kind)
{
	struct inquiry *inquiry = calloc(1, sizeof(*inquiry) + admin->nworkers * kind->part_size);

	if (inquiry != NULL)
	{
		inquiry->kind = kind;
		inquiry->holders = 1;
		inquiry->admin = admin;
		inquiry->request = request;
		inquiry->nparts = admin->nworkers;
		LIST_INSERT_HEAD(&admin->inquiries, inquiry, link);
		if (listen_for_answers(inquiry))
			return inquiry;
		leave(inquiry);
	}
	admin_refuse(request, 500, "out of memory or descriptors");
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
		worker_ask(inquiry->admin->workers[i], &part->question);
	}
}

void inquiry_end_all(struct admin *admin)
{
	struct inquiry *next;

	for (struct inquiry *inquiry = LIST_FIRST(&admin->inquiries); inquiry != NULL; inquiry = next)
	{
		next = LIST_NEXT(inquiry, link);
		admin_refuse(inquiry->request, 503, "the server stops");
		leave(inquiry);
	}
}
