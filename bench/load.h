/*
 * load.h: what the files of bench/load share.  Its single thread runs all workers, so what is counted needs
 * no lock.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SECOND INT64_C(1000000000) /* times are in ns of the monotonic clock */
#define SIZE_AROUND_TEXT 27		   /* bytes of a message's data beside its text */
#define MAX_PREFIX 100			   /* bytes of what tags begin with */

/* ---- load_options.c: the settings --------------------------------------- */

enum tags
{
	TAGS_NONE,
	TAGS_ONLY,		  /* each write has a tag of its own */
	TAGS_CONDITIONAL, /* the same, on condition that nothing has that tag */
	TAGS_RACE, /* all have one tag: each worker reads what came with it, and writes if that is still all */
};

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
	enum tags tags;
	const char *prefix; /* of tags; with TAGS_RACE the tag */
};

extern struct options options;

/* Reads the command line into `options`; ends the program where it is wrong, and after --help. */
void parse_options(int argc, char **argv);

/* ---- load_histogram.c: latencies ----------------------------------------- */

#define SUB_BITS 7
#define BUCKETS ((64 - SUB_BITS) << SUB_BITS)

struct histogram
{
	uint64_t buckets[BUCKETS]; /* by nanoseconds: exact below 128, then 128 buckets to a power of two */
	uint64_t count;
	double sum;
	int64_t max;
};

/* Counts a latency in ns; one below 0 as 0. */
void histogram_add(struct histogram *histogram, int64_t value);

/* The latency in ms that the given part (0 to 1) of all did not exceed; 0 when there is none. */
double histogram_quantile(const struct histogram *histogram, double part);

struct worker;

/* ---- load_request.c: what is asked for -------------------------------------- */

/* Makes the text of messages. */
void requests_prepare(void);

/* How many bytes the body of a request has at most. */
size_t request_room(void);

/* Writes the body of a worker's next request, which --mix and --tags choose; returns its length. */
int request_write(struct worker *worker, char *body);

/* Looks at a complete answer, which the next request may depend on. */
void request_answered(struct worker *worker);

/* ---- load_worker.c: a connection, its requests and answers ----------------- */

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
	uint64_t after; /* TAGS_RACE: up to where it has read */
	char *out;		/* the request, and how much of it was sent */
	size_t out_len, out_sent;
	char *in; /* the answer as it came */
	size_t in_len, in_cap;
	enum body_kind kind;
	size_t body;   /* where the body begins */
	size_t length; /* BODY_SIZED: its length; BODY_CHUNKED: where the next chunk begins */
	int status;
};

/* Finds the server that --url names, and makes what all requests have in common. */
void workers_prepare(int epoll);

/* Connects; the program ends when it cannot. */
void worker_connect(struct worker *worker);

/* Begins a request; false when the connection is lost. */
bool worker_begin(struct worker *worker);

/* Takes what has come: 1 the answer is complete, 0 not yet, -1 the connection is lost. */
int worker_receive(struct worker *worker);

/* Begins a request over a new connection.  That the old one was lost is counted as an error. */
void worker_reconnect(struct worker *worker);

/* Writes the server's version into `version`, by a request over a worker's connection before the run. */
void ask_version(struct worker *worker, char *version, size_t size);

/* ---- load_result.c: what is counted, and said at the end --------------------- */

struct counted
{
	struct histogram latency;
	uint64_t writes, reads, errors;
	uint64_t refused;		   /* with TAGS_RACE only: somebody else was first */
	uint64_t rejected, unsent; /* with --rate only */
	uint64_t by_status[600];   /* of the errors; 0 = the connection was lost */
	bool shown;				   /* the first error's body */
};

extern struct counted counted;

/* Counts an error by the answer's status, 0 for a lost connection, and shows the first one's text. */
void count_error(int status, const char *body);

/* Counts a complete answer: its latency, or an error, or what it was refused for. */
void count_answer(const struct worker *worker);

/* Writes a line of JSON for a run of so many seconds; latencies in ms. */
void print_json(FILE *file, double seconds, const char *version);

/* Prints the same for people. */
void print_table(double seconds, const char *version);

/* ---- load_base.c ------------------------------------------------------------ */

/* Prints a message and ends the program with exit code 1. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Memory that is all zero; ends the program when there is none. */
void *allocate(size_t size);

int64_t now(void);

/* The same numbers in each run. */
uint64_t random_number(void);

#endif
