/*
 * load: a closed loop of workers against `millrace serve`.
 *
 * A worker is one keep-alive connection that sends a request, waits for the answer, and sends
 * the next one at once.  It picks a stream at random, and writes to it or reads its first messages
 * as --mix says; with --category the reads are of the whole category.  All workers share one thread
 * and one epoll set, so that the generator takes little of the CPU that the server beside it needs.
 *
 * With --rate requests begin at that rate instead, whether or not the answers keep up: each takes a worker
 * that is free.  Where none is, it is counted as unsent.  Answers 503 are counted as rejected, and are no
 * errors then.
 *
 * With --tags race a read and a write take turns in each worker, and answers 409 are counted as refused.
 *
 * Latency is counted from before the send until the last byte of the answer, in a histogram whose
 * buckets are at most 1/128 wide.  What begins in the warm-up is not counted.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"

static int epoll_fd;
static struct worker *free_workers; /* with --rate */

static void show_progress(double seconds, uint64_t operations)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%5.0f s  %8" PRIu64 " operations/s  %" PRIu64 " errors ", seconds, operations,
				counted.errors);
}

static void handle(struct worker *worker, int64_t counts_from)
{
	int verdict = worker_receive(worker);

	if (verdict == 0)
		return;
	if (verdict < 0)
	{
		worker_reconnect(worker);
		return;
	}
	if (worker->began >= counts_from)
		count_answer(worker);
	request_answered(worker);
	if (options.rate > 0)
	{
		worker->next_free = free_workers;
		free_workers = worker;
	}
	else if (!worker_begin(worker))
		worker_reconnect(worker);
}

/* Begins the requests that are due by now; returns how many have been in all. */
static uint64_t begin_due(int64_t since, uint64_t begun, int64_t counts_from)
{
	int64_t time = now();
	uint64_t due = (uint64_t)((double)(time - since) / (double)SECOND * (double)options.rate);

	for (; begun < due; begun++)
	{
		struct worker *worker = free_workers;

		if (worker == NULL)
		{
			counted.unsent += time >= counts_from ? due - begun : 0;
			return due;
		}
		free_workers = worker->next_free;
		if (!worker_begin(worker))
			worker_reconnect(worker);
	}
	return begun;
}

static void start_workers(struct worker *workers)
{
	for (long i = 0; i < options.workers; i++)
	{
		if (options.rate > 0)
		{
			workers[i].next_free = free_workers;
			free_workers = &workers[i];
		}
		else if (!worker_begin(&workers[i]))
			worker_reconnect(&workers[i]);
	}
}

/* Runs all workers; returns how long was counted, in seconds. */
static double run(struct worker *workers)
{
	int64_t began = now();
	int64_t counts_from = began + (int64_t)(options.warmup * (double)SECOND);
	int64_t end = counts_from + (int64_t)(options.duration * (double)SECOND);
	int64_t next_second = counts_from + SECOND;
	uint64_t before = 0, begun = 0;
	int64_t time;
	struct epoll_event events[256];

	start_workers(workers);
	while ((time = now()) < end)
	{
		int64_t until = options.rate > 0 ? time + 1 : next_second < end ? next_second : end;
		int ready = epoll_wait(epoll_fd, events, 256, until > time ? (int)((until - time) / 1000000 + 1) : 0);

		if (ready < 0 && errno != EINTR)
			fail("epoll_wait: %s", strerror(errno));
		for (int i = 0; i < ready; i++)
			handle(events[i].data.ptr, counts_from);
		if (options.rate > 0)
			begun = begin_due(began, begun, counts_from);
		if (now() >= next_second)
		{
			show_progress((double)(next_second - counts_from) / (double)SECOND,
						  counted.latency.count - before);
			before = counted.latency.count;
			next_second += SECOND;
		}
	}
	if (isatty(STDERR_FILENO))
		fputc('\n', stderr);
	return (double)(time - counts_from) / (double)SECOND;
}

int main(int argc, char **argv)
{
	struct worker *workers;
	char version[100];
	double seconds;
	FILE *file;

	parse_options(argc, argv);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		fail("epoll_create1: %s", strerror(errno));
	workers_prepare(epoll_fd);
	workers = allocate((size_t)options.workers * sizeof(*workers));
	for (long i = 0; i < options.workers; i++)
		worker_connect(&workers[i]);
	ask_version(&workers[0], version, sizeof(version));

	seconds = run(workers);

	print_table(seconds, version);
	file = fopen(options.output, "w");
	if (file == NULL)
		fail("%s: %s", options.output, strerror(errno));
	print_json(file, seconds, version);
	if (fclose(file) != 0)
		fail("%s: %s", options.output, strerror(errno));
	free(workers);
	return counted.errors > 0 || counted.latency.count == 0 ? 1 : 0;
}
