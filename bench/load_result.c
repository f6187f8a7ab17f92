/*
 * load_result.c: what the answers are counted as, and what is said of them at the end.
 */
#define _GNU_SOURCE

#include <inttypes.h>

#include "load.h"

struct counted counted;

void count_error(int status, const char *body)
{
	counted.errors++;
	counted.by_status[status]++;
	if (!counted.shown)
		fprintf(stderr, "load: the first error, status %d: %.500s\n", status, body);
	counted.shown = true;
}

void count_answer(const struct worker *worker)
{
	if (options.rate > 0 && worker->status == 503)
	{
		counted.rejected++;
		return;
	}
	if (options.tags == TAGS_RACE && worker->status == 409)
	{
		counted.refused++;
		return;
	}
	if (worker->status != 200)
	{
		count_error(worker->status, worker->in + worker->body);
		return;
	}
	histogram_add(&counted.latency, now() - worker->began);
	if (worker->is_read)
		counted.reads++;
	else
		counted.writes++;
}

void print_json(FILE *file, double seconds, const char *version)
{
	const struct histogram *latency = &counted.latency;

	fprintf(file,
			"{\"throughput\":%.1f,\"avg_latency\":%.3f,\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f,",
			(double)latency->count / seconds,
			latency->count ? latency->sum / (double)latency->count / 1e6 : 0,
			histogram_quantile(latency, 0.50), histogram_quantile(latency, 0.95),
			histogram_quantile(latency, 0.99), (double)latency->max / 1e6);
	fprintf(file,
			"\"total_ops\":%" PRIu64 ",\"writes\":%" PRIu64 ",\"reads\":%" PRIu64 ",\"errors\":%" PRIu64
			",\"duration\":%.2f,",
			latency->count, counted.writes, counted.reads, counted.errors, seconds);
	if (options.tags == TAGS_RACE)
		fprintf(file, "\"refused\":%" PRIu64 ",", counted.refused);
	if (options.rate > 0)
		fprintf(file, "\"rate\":%ld,\"rejected\":%" PRIu64 ",\"unsent\":%" PRIu64 ",", options.rate,
				counted.rejected, counted.unsent);
	fprintf(file,
			"\"settings\":{\"workers\":%ld,\"streams\":%ld,\"mix\":\"%u:%u\",\"size\":%ld,\"warmup\":%.1f,"
			"\"durable\":\"%s\",\"server_version\":\"%s\"}}\n",
			options.workers, options.streams, options.write_share, options.read_share, options.size,
			options.warmup, options.durable, version);
}

void print_table(double seconds, const char *version)
{
	const struct histogram *latency = &counted.latency;

	printf("server       %s, durable: %s\n", version, options.durable);
	printf("workers      %ld over %ld streams, %ld bytes, writes to reads %u:%u\n", options.workers,
		   options.streams, options.size, options.write_share, options.read_share);
	printf("duration     %.2f s\n", seconds);
	printf("operations   %" PRIu64 " (%" PRIu64 " writes, %" PRIu64 " reads)\n", latency->count,
		   counted.writes, counted.reads);
	printf("throughput   %.0f /s\n", (double)latency->count / seconds);
	printf("latency      average %.3f ms, p50 %.3f, p95 %.3f, p99 %.3f, max %.3f\n",
		   latency->count ? latency->sum / (double)latency->count / 1e6 : 0,
		   histogram_quantile(latency, 0.50), histogram_quantile(latency, 0.95),
		   histogram_quantile(latency, 0.99), (double)latency->max / 1e6);
	if (options.tags == TAGS_RACE)
		printf("refused      %" PRIu64 "\n", counted.refused);
	if (options.rate > 0)
		printf("asked for    %ld /s: %" PRIu64 " rejected, %" PRIu64 " unsent\n", options.rate,
			   counted.rejected, counted.unsent);
	printf("errors       %" PRIu64 "\n", counted.errors);
	for (int status = 0; status < 600; status++)
		if (counted.by_status[status] > 0)
			printf("  status %3d  %" PRIu64 "%s\n", status, counted.by_status[status],
				   status ? "" : " (connection lost)");
}
