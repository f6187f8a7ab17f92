/*
 * members: a closed loop of members that take messages from Postgres and settle them.
 *
 * A member is one connection.  It asks for messages with one prepared statement and, when it has them, says
 * with another that they are dealt with, each in a transaction of its own; without the second one the next
 * question says so, too.  All members share one thread, and nothing is done with a message, so that the
 * generator takes little of the processor that Postgres beside it needs.
 *
 * The statements' parameters: $1 is the token, made of the first column of the messages that the member got
 * last: of the first row, of the last one, or an array of all; NULL at first.  $2 is the number of the
 * member, from 0.  $3 of --settle says which messages failed, as JSON; with --fail the second and third
 * column are stream and position.
 *
 * Ends when --messages are settled, or after --seconds.  The result is one line of JSON: messages settled,
 * seconds until then, and times of --next that brought messages, in ms.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_MEMBERS 1000
#define SECOND INT64_C(1000000000)
#define IDLE (SECOND / 1000) /* before a member that got nothing asks again */

enum token
{
	TOKEN_FIRST,
	TOKEN_LAST,
	TOKEN_ALL
};

struct options
{
	const char *connection;
	const char *next, *settle;
	const char *fail;	/* of streams whose name begins so every message fails */
	const char *ignore; /* of streams whose name begins so no message counts */
	enum token token;
	long members, messages, batch;
	double rate; /* messages a second that may be asked for; 0: as fast as it goes */
	double seconds;
};

static struct options options = {.members = 8, .messages = 200000, .batch = 100, .seconds = 600};

struct text
{
	char *bytes;
	size_t len, size;
};

enum state
{
	WAITING, /* until `due` */
	ASKING,
	SETTLING
};

struct member
{
	PGconn *connection;
	enum state state;
	int number;
	int64_t due;
	int64_t asked;
	long counted; /* messages to count once they are settled */
	struct text token, failed;
};

static struct member members[MAX_MEMBERS];
static int next_parameters, settle_parameters;
static int64_t began, ended;
static long settled, taken; /* taken: with what is asked for at this moment */
static int64_t *times;
static size_t ntimes, times_size;

/* ---- small things ------------------------------------------------------------------------------- */

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("members: ", stderr);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static void text_clear(struct text *text)
{
	text->len = 0;
}

static void text_add(struct text *text, const char *bytes)
{
	size_t len = strlen(bytes);

	if (len + 1 > text->size - text->len)
	{
		text->size = (text->len + len + 1) * 2;
		text->bytes = realloc(text->bytes, text->size);
		if (!text->bytes)
			die("out of memory");
	}
	memcpy(text->bytes + text->len, bytes, len + 1);
	text->len += len;
}

static void add_time(int64_t time)
{
	if (ntimes == times_size)
	{
		times_size = times_size ? times_size * 2 : 1024;
		times = realloc(times, times_size * sizeof(*times));
		if (!times)
			die("out of memory");
	}
	times[ntimes++] = time;
}

static bool begins_with(const char *name, const char *prefix)
{
	return prefix && strncmp(name, prefix, strlen(prefix)) == 0;
}

/* ---- what a member says ------------------------------------------------------------------------- */

/* Sends one of the two statements, with as many parameters as it has. */
static void send_statement(struct member *member, enum state state)
{
	bool next = state == ASKING;
	char member_number[16];
	const char *values[3] = {member->token.len ? member->token.bytes : NULL, member_number,
							 member->failed.len ? member->failed.bytes : NULL};

	snprintf(member_number, sizeof(member_number), "%d", member->number);
	if (!PQsendQueryPrepared(member->connection, next ? "next" : "settle",
							 next ? next_parameters : settle_parameters, values, NULL, NULL, 0) ||
		PQflush(member->connection) != 0)
		die("%s", PQerrorMessage(member->connection));
	member->state = state;
}

static void ask(struct member *member)
{
	int64_t time = now();

	if (options.rate > 0)
	{
		int64_t due = began + (int64_t)((double)taken / options.rate * (double)SECOND);

		if (due > time)
		{
			member->due = due;
			member->state = WAITING;
			return;
		}
	}
	taken += options.batch;
	member->asked = time;
	send_statement(member, ASKING);
}

static void wait_a_little(struct member *member)
{
	member->due = now() + IDLE;
	member->state = WAITING;
}

/* ---- what it hears ------------------------------------------------------------------------------ */

static void take_token(struct member *member, const PGresult *result, int rows)
{
	text_clear(&member->token);
	if (options.token != TOKEN_ALL)
	{
		text_add(&member->token, PQgetvalue(result, options.token == TOKEN_FIRST ? 0 : rows - 1, 0));
		return;
	}
	for (int row = 0; row < rows; row++)
	{
		text_add(&member->token, row ? "," : "{");
		text_add(&member->token, PQgetvalue(result, row, 0));
	}
	text_add(&member->token, "}");
}

static void take_failed(struct member *member, const PGresult *result, int row)
{
	text_add(&member->failed, member->failed.len ? ",{\"stream\":\"" : "[{\"stream\":\"");
	text_add(&member->failed, PQgetvalue(result, row, 1));
	text_add(&member->failed, "\",\"position\":");
	text_add(&member->failed, PQgetvalue(result, row, 2));
	text_add(&member->failed, ",\"error\":\"poison\"}");
}

static void count_settled(struct member *member)
{
	settled += member->counted;
	member->counted = 0;
	if (settled >= options.messages && !ended)
		ended = now();
}

static void got_messages(struct member *member, const PGresult *result)
{
	int rows = PQntuples(result);

	if (!options.settle)
		count_settled(member);
	taken += rows - options.batch;
	text_clear(&member->failed);
	if (rows == 0)
	{
		if (options.token != TOKEN_LAST) /* that is where it goes on */
			text_clear(&member->token);
		wait_a_little(member);
		return;
	}
	add_time(now() - member->asked);
	take_token(member, result, rows);
	for (int row = 0; row < rows; row++)
	{
		bool failed = options.fail && begins_with(PQgetvalue(result, row, 1), options.fail);

		if (failed)
			take_failed(member, result, row);
		else if (!options.ignore || !begins_with(PQgetvalue(result, row, 1), options.ignore))
			member->counted++;
	}
	if (member->failed.len)
		text_add(&member->failed, "]");
	if (options.settle)
		send_statement(member, SETTLING);
	else
		ask(member);
}

/* Reads what has come; when the answer is whole, the member goes on. */
static void hear(struct member *member)
{
	PGresult *result, *more;
	ExecStatusType status;

	if (!PQconsumeInput(member->connection))
		die("%s", PQerrorMessage(member->connection));
	if (PQisBusy(member->connection))
		return;
	result = PQgetResult(member->connection);
	status = PQresultStatus(result);
	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
		die("%s", PQresultErrorMessage(result));
	while ((more = PQgetResult(member->connection)) != NULL)
		PQclear(more);
	if (member->state == ASKING)
		got_messages(member, result);
	else
	{
		count_settled(member);
		ask(member);
	}
	PQclear(result);
}

/* ---- all of them -------------------------------------------------------------------------------- */

/* Prepares a statement; returns how many parameters it has. */
static int prepare(PGconn *connection, const char *name, const char *query)
{
	PGresult *result = PQprepare(connection, name, query, 0, NULL);
	int parameters;

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s", PQresultErrorMessage(result));
	PQclear(result);
	result = PQdescribePrepared(connection, name);
	parameters = PQnparams(result);
	PQclear(result);
	if (parameters > 3)
		die("a statement has more than three parameters: %s", query);
	return parameters;
}

static void connect_all(void)
{
	for (int i = 0; i < options.members; i++)
	{
		struct member *member = &members[i];

		member->number = i;
		member->connection = PQconnectdb(options.connection);
		if (PQstatus(member->connection) != CONNECTION_OK)
			die("%s", PQerrorMessage(member->connection));
		next_parameters = prepare(member->connection, "next", options.next);
		if (options.settle)
			settle_parameters = prepare(member->connection, "settle", options.settle);
	}
}

static void run(void)
{
	struct pollfd waits[MAX_MEMBERS];
	int64_t last;

	began = now();
	last = began + (int64_t)(options.seconds * (double)SECOND);
	for (int i = 0; i < options.members; i++)
	{
		waits[i] = (struct pollfd){.fd = PQsocket(members[i].connection), .events = POLLIN};
		ask(&members[i]);
	}
	while (!ended)
	{
		int64_t time = now(), until = last;
		struct timespec rest;

		if (time >= last)
			break;
		for (int i = 0; i < options.members; i++)
		{
			if (members[i].state == WAITING && members[i].due <= time)
				ask(&members[i]);
			if (members[i].state == WAITING && members[i].due < until)
				until = members[i].due;
		}
		rest.tv_sec = until > time ? (until - time) / SECOND : 0;
		rest.tv_nsec = until > time ? (until - time) % SECOND : 0;
		if (ppoll(waits, (nfds_t)options.members, &rest, NULL) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		for (int i = 0; i < options.members && !ended; i++)
			if (waits[i].revents)
				hear(&members[i]);
	}
	if (!ended)
		ended = now();
}

static int by_value(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return left < right ? -1 : left > right;
}

/* The time in ms that the given part of all did not exceed. */
static double quantile(double part)
{
	return ntimes ? (double)times[(size_t)(part * (double)(ntimes - 1))] / 1e6 : 0;
}

static void print_result(void)
{
	qsort(times, ntimes, sizeof(*times), by_value);
	printf("{\"messages\": %ld, \"seconds\": %.6f, \"calls\": %zu, \"p50\": %.4f, \"p99\": %.4f, \"max\": "
		   "%.4f}\n",
		   settled, (double)(ended - began) / (double)SECOND, ntimes, quantile(0.5), quantile(0.99),
		   quantile(1));
}

/* ---- options ------------------------------------------------------------------------------------ */

static const struct option long_options[] = {
	{"connection", required_argument, NULL, 'c'}, {"next", required_argument, NULL, 'n'},
	{"settle", required_argument, NULL, 's'},	  {"fail", required_argument, NULL, 'f'},
	{"ignore", required_argument, NULL, 'i'},	  {"token", required_argument, NULL, 't'},
	{"members", required_argument, NULL, 'm'},	  {"messages", required_argument, NULL, 'l'},
	{"batch", required_argument, NULL, 'b'},	  {"rate", required_argument, NULL, 'r'},
	{"seconds", required_argument, NULL, 'd'},	  {NULL, 0, NULL, 0},
};

static long number(const char *name, const char *value, long least, long most)
{
	char *end;
	long parsed;

	errno = 0;
	parsed = strtol(value, &end, 10);
	if (errno || end == value || *end || parsed < least || parsed > most)
		die("--%s %s is not a number from %ld to %ld", name, value, least, most);
	return parsed;
}

static double fraction(const char *name, const char *value)
{
	char *end;
	double parsed = strtod(value, &end);

	if (end == value || *end || !(parsed >= 0) || parsed > 1e9)
		die("--%s %s is not a number from 0 to a billion", name, value);
	return parsed;
}

static enum token token(const char *value)
{
	static const char *const words[] = {"first", "last", "all"};

	for (int i = 0; i < 3; i++)
		if (strcmp(value, words[i]) == 0)
			return (enum token)i;
	die("--token %s is not first, last or all", value);
}

static void parse_options(int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		switch (option)
		{
			case 'c':
				options.connection = optarg;
				break;
			case 'n':
				options.next = optarg;
				break;
			case 's':
				options.settle = optarg;
				break;
			case 'f':
				options.fail = optarg;
				break;
			case 'i':
				options.ignore = optarg;
				break;
			case 't':
				options.token = token(optarg);
				break;
			case 'm':
				options.members = number("members", optarg, 1, MAX_MEMBERS);
				break;
			case 'l':
				options.messages = number("messages", optarg, 1, INT32_MAX);
				break;
			case 'b':
				options.batch = number("batch", optarg, 1, 1000);
				break;
			case 'r':
				options.rate = fraction("rate", optarg);
				break;
			case 'd':
				options.seconds = fraction("seconds", optarg);
				break;
			default:
				exit(2);
		}
	if (!options.connection || !options.next || optind < argc)
		die("say --connection and --next, and nothing but options");
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	connect_all();
	run();
	print_result();
	return 0;
}
