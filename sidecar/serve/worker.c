/*
 * worker: a thread with an event loop; see worker.h.
 *
 * Other threads say two things to it, each through an eventfd.  "Stop": it then drains, the service
 * finishes what is in flight, or the drain timeout ends the loop.  "Here is a question": it answers all that
 * are on the list, which `lock` guards.
 */
#include "serve/worker.h"

#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/config.h"
#include "places/places.h"
#include "net/listener.h"
#include "base/log.h"
#include "front/service.h"
#include "base/stats.h"
#include "serve/sweeper.h"

struct worker
{
	const struct config *config;
	struct event_base *base;
	struct stats *stats;
	struct places *places;
	struct service *service;
	struct sweeper *sweeper; /* NULL: another worker's task, or nobody's */
	struct event *stop_event, *drain_event, *ask_event;
	int stop_fd, ask_fd;
	pthread_mutex_t lock;
	struct worker_question *questions; /* not answered yet, the newest first */
	pthread_t thread;
	bool started;
	_Atomic bool running;
};

static void on_drained(void *arg)
{
	struct worker *worker = arg;

	event_base_loopbreak(worker->base);
}

static void on_drain_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;

	(void)fd;
	(void)what;
	log_warning("requests were still in flight after %d s; they are cut off",
				(int)worker->config->drain_timeout);
	event_base_loopbreak(worker->base);
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct timeval limit = {.tv_sec = worker->config->drain_timeout};

	(void)fd;
	(void)what;
	event_del(worker->stop_event);
	event_add(worker->drain_event, &limit);
	if (worker->sweeper != NULL)
		sweeper_stop(worker->sweeper);
	service_drain(worker->service, on_drained, worker);
}

static struct worker_question *take_questions(struct worker *worker)
{
	struct worker_question *questions;

	pthread_mutex_lock(&worker->lock);
	questions = worker->questions;
	worker->questions = NULL;
	pthread_mutex_unlock(&worker->lock);
	return questions;
}

static void on_asked(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct worker_question *question, *next;
	uint64_t asked;

	(void)what;
	if (read(fd, &asked, sizeof(asked)) < 0)
		return;
	for (question = take_questions(worker); question != NULL; question = next)
	{
		next = question->next;
		question->answer(question, worker->service, worker->places);
	}
}

static void *run(void *arg)
{
	struct worker *worker = arg;

	event_base_dispatch(worker->base);
	atomic_store(&worker->running, false);
	return NULL;
}

static struct places *new_places(struct worker *worker, const char *conninfo, const struct shared *shared)
{
	const struct places_options options = {.config = worker->config,
										   .conninfo = conninfo,
										   .pooled = shared->pooled,
										   .directory = shared->directory,
										   .stats = worker->stats};

	return places_new(worker->base, &options);
}

struct worker *worker_new(const struct config *config, const char *conninfo, struct shared *shared,
						  struct listeners *listeners)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (worker == NULL)
	{
		listener_close(listeners);
		return NULL;
	}
	worker->config = config;
	worker->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	worker->ask_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&worker->lock, NULL);
	worker->base = event_base_new();
	worker->stats = stats_new();
	if (worker->base != NULL && worker->stats != NULL && worker->stop_fd >= 0 && worker->ask_fd >= 0)
	{
		worker->ask_event = event_new(worker->base, worker->ask_fd, EV_READ | EV_PERSIST, on_asked, worker);
		worker->stop_event = event_new(worker->base, worker->stop_fd, EV_READ, on_stop, worker);
		worker->drain_event = evtimer_new(worker->base, on_drain_timeout, worker);
		worker->places = new_places(worker, conninfo, shared);
	}
	if (worker->places != NULL && worker->stop_event != NULL && worker->drain_event != NULL &&
		worker->ask_event != NULL && event_add(worker->stop_event, NULL) == 0 &&
		event_add(worker->ask_event, NULL) == 0)
		worker->service =
			service_new(worker->base, config, worker->places, shared, listeners->sockets, listeners->count);
	if (worker->service != NULL)
		return worker;
	listener_close(listeners);
	worker_free(worker);
	return NULL;
}

void worker_set_process(struct worker *worker, const struct process_view *process)
{
	service_set_process(worker->service, process);
}

bool worker_sweep(struct worker *worker)
{
	if (worker->config->sweep_interval == 0)
		return true;
	worker->sweeper = sweeper_new(worker->base, worker->config, worker->places, worker->stats);
	return worker->sweeper != NULL;
}

struct event_base *worker_base(const struct worker *worker)
{
	return worker->base;
}

bool worker_start(struct worker *worker)
{
	sigset_t all, before;

	/* Signals are the main thread's, but for the one by which a CPU profile looks at the thread that runs. */
	sigfillset(&all);
	sigdelset(&all, SIGPROF);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	worker->running = true;
	worker->started = pthread_create(&worker->thread, NULL, run, worker) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return worker->started;
}

const struct stats *worker_stats(const struct worker *worker)
{
	return worker->stats;
}

bool worker_readable(const struct worker *worker)
{
	return places_readable(worker->places, DIRECTORY_OWN);
}

bool worker_reads_from_standby(const struct worker *worker)
{
	return places_reads_from_standby(worker->places, DIRECTORY_OWN);
}

bool worker_ready(const struct worker *worker)
{
	return places_ready(worker->places, DIRECTORY_OWN);
}

struct places *worker_places(const struct worker *worker)
{
	return worker->places;
}

void worker_ask(struct worker *worker, struct worker_question *question)
{
	uint64_t one = 1;

	pthread_mutex_lock(&worker->lock);
	question->next = worker->questions;
	worker->questions = question;
	pthread_mutex_unlock(&worker->lock);
	if (write(worker->ask_fd, &one, sizeof(one)) < 0)
		log_bug("could not wake a worker to ask it");
}

void worker_stop(struct worker *worker)
{
	uint64_t one = 1;

	if (write(worker->stop_fd, &one, sizeof(one)) < 0)
		log_bug("could not wake a worker to stop it");
}

bool worker_ended(const struct worker *worker)
{
	return !worker->started || !atomic_load(&worker->running);
}

void worker_free(struct worker *worker)
{
	struct worker_question *question, *next;

	if (worker == NULL)
		return;
	if (worker->started)
		pthread_join(worker->thread, NULL);
	for (question = take_questions(worker); question != NULL; question = next)
	{
		next = question->next;
		question->answer(question, NULL, NULL);
	}
	/* Closing answers what waits, through the service; ending the service asks again, and is refused. */
	if (worker->sweeper != NULL)
		sweeper_stop(worker->sweeper);
	if (worker->places != NULL)
		places_close(worker->places);
	sweeper_free(worker->sweeper);
	if (worker->service != NULL)
		service_free(worker->service);
	places_free(worker->places);
	if (worker->stop_event != NULL)
		event_free(worker->stop_event);
	if (worker->drain_event != NULL)
		event_free(worker->drain_event);
	if (worker->ask_event != NULL)
		event_free(worker->ask_event);
	if (worker->base != NULL)
		event_base_free(worker->base);
	if (worker->stop_fd >= 0)
		close(worker->stop_fd);
	if (worker->ask_fd >= 0)
		close(worker->ask_fd);
	pthread_mutex_destroy(&worker->lock);
	free(worker->stats);
	free(worker);
}
