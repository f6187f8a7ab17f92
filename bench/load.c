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
 * Latency is counted from before the send until the last byte of the answer, in a histogram whose
 * buckets are at most 1/128 wide.  What begins in the warm-up is not counted.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORKERS 10000
#define MAX_SIZE (16 << 20)
#define SECOND INT64_C(1000000000)

struct options
{
	const char *url;
	const char *token;
	const char *output;
	const char *durable;	 /* told to us, for the record */
	double duration, warmup; /* s */
	long rate;				 /* requests a second; 0: closed loop */
	long workers, streams, size;
	long category; /* read it, from a random position up to this one; 0: read streams */
	unsigned write_share, read_share;
};

static struct options options = {
	.url = "http://127.0.0.1:8080",
	.token = "",
	.output = "load-test-results.json",
	.durable = "unknown",
	.duration = 30,
	.warmup = 1,
	.workers = 10,
	.streams = 100,
	.size = 300,
	.write_share = 9,
	.read_share = 1,
};

/* ---- latencies -------------------------------------------------------- */

#define SUB_BITS 7
#define BUCKETS ((64 - SUB_BITS) << SUB_BITS)

struct histogram
{
	uint64_t buckets[BUCKETS]; /* by nanoseconds: exact below 128, then 128 buckets to a power of two */
	uint64_t count;
	double sum;
	int64_t max;
};

static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < (1u << SUB_BITS))
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
	return ((shift + 1) << SUB_BITS) + (unsigned)((value >> shift) - (1u << SUB_BITS));
}

/* The middle of a bucket. */
static double bucket_value(unsigned bucket)
{
	unsigned shift = bucket >> SUB_BITS;
	double low;

	if (shift == 0)
		return bucket;
	low = (double)((uint64_t)((bucket & ((1u << SUB_BITS) - 1)) | (1u << SUB_BITS)) << (shift - 1));
	return low + (double)((UINT64_C(1) << (shift - 1)) - 1) / 2;
}

static void histogram_add(struct histogram *histogram, int64_t value)
{
	if (value < 0)
		value = 0;
	histogram->buckets[bucket_of((uint64_t)value)]++;
	histogram->count++;
	histogram->sum += (double)value;
	if (value > histogram->max)
		histogram->max = value;
}

/* The latency in ms that the given part of all did not exceed. */
static double histogram_quantile(const struct histogram *histogram, double part)
{
	uint64_t wanted = (uint64_t)(part * (double)histogram->count + 0.5);
	uint64_t seen = 0;

	for (unsigned bucket = 0; bucket < BUCKETS; bucket++)
	{
		seen += histogram->buckets[bucket];
		if (seen >= wanted && seen > 0)
			return bucket_value(bucket) / 1e6;
	}
	return 0;
}

/* ---- what is counted ---------------------------------------------------- */

static struct
{
	struct histogram latency;
	uint64_t writes, reads, errors;
	uint64_t rejected, unsent; /* with --rate only */
	uint64_t by_status[600];   /* of the errors; 0 = the connection was lost */
	bool shown;				   /* the first error's body */
} counted;

/* ---- small things -------------------------------------------------------- */

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list arguments;

	fputs("load: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static void *allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (memory == NULL)
		fail("out of memory");
	return memory;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static uint64_t random_number(void)
{
	static uint64_t state = UINT64_C(0x9E3779B97F4A7C15);

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* ---- one worker ----------------------------------------------------------- */

enum body_kind
{
	BODY_UNKNOWN, /* the header is not complete */
	BODY_SIZED,
	BODY_CHUNKED,
};

struct worker
{
	struct worker *next_free; /* with --rate */
	int fd;
	bool is_read; /* the request in flight */
	int64_t began;
	char *out; /* the request, and how much of it was sent */
	size_t out_len, out_sent;
	char *in; /* the answer as it came */
	size_t in_len, in_cap;
	enum body_kind kind;
	size_t body;   /* where the body begins */
	size_t length; /* BODY_SIZED: its length; BODY_CHUNKED: where the next chunk begins */
	int status;
};

static struct addrinfo *address;
static char host[256], port[16] = "80";
static char head[1024];
static size_t head_len;
static char *filler;
static int epoll_fd;
static struct worker *free_workers;
static uint64_t message_number;

static void parse_url(void)
{
	const char *rest = options.url;
	size_t len;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	int error;

	if (strncmp(rest, "http://", 7) != 0)
		fail("--url must begin with http://");
	rest += 7;
	len = strcspn(rest, ":/");
	if (len == 0 || len >= sizeof(host))
		fail("--url has no host: %s", options.url);
	memcpy(host, rest, len);
	rest += len;
	if (*rest == ':')
	{
		len = strspn(++rest, "0123456789");
		if (len == 0 || len >= sizeof(port))
			fail("--url has a bad port: %s", options.url);
		memcpy(port, rest, len);
		port[len] = '\0';
	}
	error = getaddrinfo(host, port, &hints, &address);
	if (error != 0)
		fail("%s: %s", host, gai_strerror(error));
}

static void worker_connect(struct worker *worker)
{
	int one = 1;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = worker};

	worker->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (worker->fd < 0)
		fail("socket: %s", strerror(errno));
	if (connect(worker->fd, address->ai_addr, address->ai_addrlen) != 0)
		fail("cannot connect to %s: %s", options.url, strerror(errno));
	setsockopt(worker->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, worker->fd, &event) != 0)
		fail("epoll_ctl: %s", strerror(errno));
}

/* Writes the part of the head that all requests have, once. */
static void prepare_head(void)
{
	head_len = (size_t)snprintf(head, sizeof(head),
								"POST /rpc HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
								"%s%.200s%sContent-Length: ",
								host, *options.token ? "Authorization: Bearer " : "", options.token,
								*options.token ? "\r\n" : "");
}

/* Writes a whole request with this body into worker->out. */
static void worker_prepare(struct worker *worker, const char *body, int length)
{
	char *out = worker->out;

	if (out == NULL)
		out = worker->out = allocate((size_t)options.size + 2048);
	memcpy(out, head, head_len);
	out += head_len;
	out += sprintf(out, "%d\r\n\r\n", length);
	memcpy(out, body, (size_t)length);
	worker->out_len = (size_t)(out + length - worker->out);
	worker->out_sent = 0;
	worker->in_len = 0;
	worker->kind = BODY_UNKNOWN;
}

/* Sends what is left of the request; false when the connection is lost. */
static bool worker_send(struct worker *worker)
{
	while (worker->out_sent < worker->out_len)
	{
		ssize_t sent = send(worker->fd, worker->out + worker->out_sent, worker->out_len - worker->out_sent,
							MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		worker->out_sent += (size_t)sent;
	}
	return true;
}

static bool worker_begin(struct worker *worker)
{
	static char *body;
	uint64_t stream = random_number() % (uint64_t)options.streams;
	int length;

	if (body == NULL)
		body = allocate((size_t)options.size + 512);
	worker->is_read = random_number() % (options.write_share + options.read_share) >= options.write_share;
	if (worker->is_read && options.category > 0)
		length = sprintf(body, "[\"category.get\",\"load\",{\"position\":%" PRIu64 ",\"batchSize\":1000}]",
						 1 + random_number() % (uint64_t)options.category);
	else if (worker->is_read)
		length =
			sprintf(body, "[\"stream.get\",\"load-%" PRIu64 "\",{\"position\":0,\"batchSize\":10}]", stream);
	else
	{
		/* 27 bytes of data around the filler make --size bytes. */
		length = sprintf(body,
						 "[\"stream.write\",\"load-%" PRIu64
						 "\",{\"type\":\"Loaded\",\"data\":{\"n\":%011" PRIu64 ",\"text\":\"",
						 stream, UINT64_C(10000000000) + message_number++);
		memcpy(body + length, filler, (size_t)options.size - 27);
		length += (int)options.size - 27;
		length += sprintf(body + length, "\"}}]");
	}
	worker_prepare(worker, body, length);
	worker->began = now();
	return worker_send(worker);
}

/* The value of a header line; NULL when it is another header's. */
static const char *header_value(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncasecmp(line, name, len) == 0 ? line + len + strspn(line + len, " \t") : NULL;
}

/* Looks at a head that has just become complete: `end` is where the last line ends. */
static void worker_parse_head(struct worker *worker, char *end)
{
	char *line = worker->in;
	const char *value;

	end[1] = '\0'; /* behind the \r */
	if (strncmp(line, "HTTP/1.", 7) != 0)
		fail("not an HTTP answer: %.60s", line);
	worker->status = atoi(line + strlen("HTTP/1.1 "));
	if (worker->status < 100 || worker->status >= 600)
		fail("not an HTTP answer: %.60s", line);
	worker->body = (size_t)(end - worker->in) + 4;
	worker->kind = BODY_SIZED;
	worker->length = 0;
	while ((line = strchr(line, '\n')) != NULL)
	{
		line++;
		if ((value = header_value(line, "Content-Length:")) != NULL)
			worker->length = (size_t)strtoull(value, NULL, 10);
		else if ((value = header_value(line, "Transfer-Encoding:")) != NULL &&
				 strncasecmp(value, "chunked", 7) == 0)
		{
			worker->kind = BODY_CHUNKED;
			worker->length = worker->body;
			return;
		}
	}
}

/* Whether the last chunk has come. */
static bool chunks_complete(struct worker *worker)
{
	for (;;)
	{
		char *line = worker->in + worker->length;
		char *end;
		size_t size;

		if (worker->length >= worker->in_len)
			return false;
		end = memmem(line, worker->in_len - worker->length, "\r\n", 2);
		if (end == NULL)
			return false;
		size = (size_t)strtoull(line, NULL, 16);
		if (size > worker->in_len) /* more than has come, and no overflow below */
			return false;
		if (size == 0)
			return worker->in_len - (size_t)(end - worker->in) >= 4;
		worker->length = (size_t)(end - worker->in) + 2 + size + 2;
	}
}

static bool answer_complete(struct worker *worker)
{
	if (worker->kind == BODY_UNKNOWN)
	{
		char *end = memmem(worker->in, worker->in_len, "\r\n\r\n", 4);

		if (end == NULL)
			return false;
		worker_parse_head(worker, end);
	}
	if (worker->kind == BODY_CHUNKED)
		return chunks_complete(worker);
	return worker->in_len - worker->body >= worker->length;
}

/* Takes what has come: 1 the answer is complete, 0 not yet, -1 the connection is lost. */
static int worker_receive(struct worker *worker)
{
	ssize_t received;

	if (worker->in_cap - worker->in_len < 4096)
	{
		worker->in_cap = worker->in_cap == 0 ? 65536 : worker->in_cap * 2;
		worker->in = realloc(worker->in, worker->in_cap + 1);
		if (worker->in == NULL)
			fail("out of memory");
	}
	received = recv(worker->fd, worker->in + worker->in_len, worker->in_cap - worker->in_len, 0);
	if (received < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (received <= 0)
		return -1;
	worker->in_len += (size_t)received;
	worker->in[worker->in_len] = '\0';
	return answer_complete(worker) ? 1 : 0;
}

static void count_error(int status, const char *body)
{
	counted.errors++;
	counted.by_status[status]++;
	if (!counted.shown)
		fprintf(stderr, "load: the first error, status %d: %.500s\n", status, body);
	counted.shown = true;
}

static void count_answer(const struct worker *worker)
{
	if (options.rate > 0 && worker->status == 503)
	{
		counted.rejected++;
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

/* A lost connection is an error, and the worker goes on with a new one. */
static void worker_reconnect(struct worker *worker)
{
	do
	{
		count_error(0, "the connection was lost");
		close(worker->fd);
		worker_connect(worker);
	} while (!worker_begin(worker));
}

/* ---- the run ------------------------------------------------------------- */

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

/* Asks the server for its version, over a worker's connection before the run. */
static void ask_version(struct worker *worker, char *version, size_t size)
{
	static const char body[] = "[\"sys.version\"]";
	int verdict;
	char *text, *quote;

	worker_prepare(worker, body, (int)sizeof(body) - 1);
	if (!worker_send(worker))
		fail("the server closed the connection");
	while ((verdict = worker_receive(worker)) == 0)
		;
	if (verdict < 0)
		fail("the server closed the connection");
	text = worker->in + worker->body;
	if (worker->status != 200)
		fail("sys.version: status %d: %s", worker->status, text);
	text += strspn(text, "\"");
	quote = strchr(text, '"');
	snprintf(version, size, "%.*s", quote == NULL ? 0 : (int)(quote - text), text);
}

/* ---- the result ------------------------------------------------------------ */

/* One line of JSON; latencies in ms. */
static void print_json(FILE *file, double seconds, const char *version)
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
	if (options.rate > 0)
		fprintf(file, "\"rate\":%ld,\"rejected\":%" PRIu64 ",\"unsent\":%" PRIu64 ",", options.rate,
				counted.rejected, counted.unsent);
	fprintf(file,
			"\"settings\":{\"workers\":%ld,\"streams\":%ld,\"mix\":\"%u:%u\",\"size\":%ld,\"warmup\":%.1f,"
			"\"durable\":\"%s\",\"server_version\":\"%s\"}}\n",
			options.workers, options.streams, options.write_share, options.read_share, options.size,
			options.warmup, options.durable, version);
}

static void print_table(double seconds, const char *version)
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
	if (options.rate > 0)
		printf("asked for    %ld /s: %" PRIu64 " rejected, %" PRIu64 " unsent\n", options.rate,
			   counted.rejected, counted.unsent);
	printf("errors       %" PRIu64 "\n", counted.errors);
	for (int status = 0; status < 600; status++)
		if (counted.by_status[status] > 0)
			printf("  status %3d  %" PRIu64 "%s\n", status, counted.by_status[status],
				   status ? "" : " (connection lost)");
}

/* ---- settings -------------------------------------------------------------- */

static long number_between(const char *name, const char *text, long low, long high)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < low || value > high)
		fail("--%s must be a number from %ld to %ld, not %s", name, low, high, text);
	return value;
}

static double seconds_of(const char *name, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*text == '\0' || *end != '\0' || !(value >= 0 && value <= 1e6))
		fail("--%s must be a number of seconds, not %s", name, text);
	return value;
}

/* Text that goes into the JSON as it is. */
static const char *plain_text(const char *name, const char *text)
{
	if (strpbrk(text, "\"\\\r\n") != NULL)
		fail("--%s: no quotes, backslashes or line ends", name);
	return text;
}

static void parse_mix(const char *text)
{
	char rest;

	if (sscanf(text, "%u:%u%c", &options.write_share, &options.read_share, &rest) != 2 ||
		options.write_share > 1000000 || options.read_share > 1000000 ||
		options.write_share + options.read_share == 0)
		fail("--mix must be writes:reads, such as 9:1, not %s", text);
}

static void usage(void)
{
	printf("usage: load [--url http://host:port] [--token T] [--duration s] [--warmup s] [--workers n]\n"
		   "            [--streams n] [--mix writes:reads] [--size bytes] [--rate n] [--durable yes|no]\n"
		   "            [--output file]\n"
		   "            [--category n]  reads are 1000 messages of the category, from a random position up "
		   "to n\n"
		   "defaults: %s, %.0f s after %.0f s of warm-up, %ld workers, %ld streams,\n"
		   "          9:1, %ld bytes, %s\n",
		   options.url, options.duration, options.warmup, options.workers, options.streams, options.size,
		   options.output);
	exit(0);
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"url", required_argument, NULL, 'u'},	   {"token", required_argument, NULL, 't'},
		{"output", required_argument, NULL, 'o'},  {"duration", required_argument, NULL, 'd'},
		{"warmup", required_argument, NULL, 'W'},  {"workers", required_argument, NULL, 'w'},
		{"streams", required_argument, NULL, 's'}, {"size", required_argument, NULL, 'b'},
		{"mix", required_argument, NULL, 'm'},	   {"durable", required_argument, NULL, 'D'},
		{"rate", required_argument, NULL, 'r'},	   {"category", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},		   {NULL, 0, NULL, 0},
	};
	int index = 0;
	int letter;

	while ((letter = getopt_long(argc, argv, "", known, &index)) != -1)
	{
		switch (letter)
		{
			case 'u':
				options.url = optarg;
				break;
			case 't':
				options.token = plain_text("token", optarg);
				break;
			case 'o':
				options.output = optarg;
				break;
			case 'd':
				options.duration = seconds_of("duration", optarg);
				break;
			case 'W':
				options.warmup = seconds_of("warmup", optarg);
				break;
			case 'w':
				options.workers = number_between("workers", optarg, 1, MAX_WORKERS);
				break;
			case 's':
				options.streams = number_between("streams", optarg, 1, 1000000000);
				break;
			case 'b':
				options.size = number_between("size", optarg, 27, MAX_SIZE);
				break;
			case 'm':
				parse_mix(optarg);
				break;
			case 'r':
				options.rate = number_between("rate", optarg, 1, 10000000);
				break;
			case 'c':
				options.category = number_between("category", optarg, 1, 1000000000);
				break;
			case 'D':
				options.durable = plain_text("durable", optarg);
				break;
			case 'h':
				usage();
				break;
			default:
				exit(2);
		}
	}
	if (optind < argc)
		fail("surplus argument %s", argv[optind]);
}

int main(int argc, char **argv)
{
	struct worker *workers;
	char version[100];
	double seconds;
	FILE *file;

	parse_options(argc, argv);
	parse_url();
	prepare_head();
	filler = allocate((size_t)options.size);
	for (long i = 0; i < options.size - 27; i++)
		filler[i] = (char)('a' + random_number() % 26);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		fail("epoll_create1: %s", strerror(errno));
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
