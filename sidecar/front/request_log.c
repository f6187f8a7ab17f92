/*
 * request_log.c: the statuses that are counted, and the lines of requests that failed or were slow (see
 * request_log.h).
 */
#include "front/request_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/stats.h"
#include "http/http.h"
#include "rpc/rpc.h"

#define OTHER_STATUS (STATS_STATUSES - 1)
#define LOG_LINES_MAX 100 /* about requests, in a second */

/* The most frequent first. */
static const char *const status_names[] = {"200", "204", "304", "409", "503", "500", "400",
										   "401", "403", "404", "405", "408", "413", "415",
										   "417", "429", "431", "501", "505"};

#define N_STATUSES (sizeof(status_names) / sizeof(status_names[0]))

_Static_assert(N_STATUSES <= OTHER_STATUS, "STATS_STATUSES");

const char *request_status_name(unsigned index)
{
	if (index < N_STATUSES)
		return status_names[index];
	return index == OTHER_STATUS ? "other" : NULL;
}

size_t request_status_index(int status)
{
	const char name[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
						 (char)('0' + status % 10), '\0'};

	for (size_t i = 0; i < N_STATUSES; i++)
	{
		if (memcmp(status_names[i], name, sizeof(name)) == 0)
			return i;
	}
	return OTHER_STATUS;
}

/* A server that is failing has better things to do than to say so ten thousand times a second. */
static bool may_log(struct request_log *log)
{
	uint64_t second = clock_ms() / 1000;

	if (second != log->second)
	{
		if (log->left_out > 0)
			log_warning("%u more requests failed or were slow within a second", log->left_out);
		log->second = second;
		log->lines = log->left_out = 0;
	}
	if (log->lines < LOG_LINES_MAX)
	{
		log->lines++;
		return true;
	}
	log->left_out++;
	return false;
}

struct log_line
{
	struct log_field fields[LOG_MAX_FIELDS];
	unsigned n;
};

static void add_field(struct log_line *line, const char *name, struct slice value, bool is_number)
{
	if (value.len > 0)
		line->fields[line->n++] = (struct log_field){name, value, is_number};
}

static struct slice print_number(char text[24], uint64_t number)
{
	return (struct slice){text, (size_t)snprintf(text, 24, "%" PRIu64, number)};
}

struct trace request_trace(const struct http_request *request)
{
	struct slice header;

	return trace_read(http_header_once(request, "traceparent", &header) ? header : (struct slice){NULL, 0});
}

/*
 * What was asked for is read from the request once more, as few are logged.  The path alone: there may be
 * a token behind the question mark.
 */
static void log_request(enum log_level level, const char *what, const struct request_log_entry *entry,
						struct http_request *request, const struct http_outcome *outcome)
{
	struct rpc_description asked = {.calls = 0};
	struct log_line line = {.n = 0};
	struct http_client client;
	char status[24], ms[24], calls[24];

	http_request_describe(request, &client);
	if (entry->has_calls)
		rpc_describe(http_body(request), &asked);
	add_field(&line, "id", outcome->id, false);
	add_field(&line, "trace", request_trace(request).id, false);
	add_field(&line, "method", http_method(request), false);
	add_field(&line, "path", http_path(request), false);
	add_field(&line, "status", print_number(status, (uint64_t)outcome->status), true);
	add_field(&line, "ms", print_number(ms, outcome->ms), true);
	add_field(&line, "namespace", slice_of(entry->namespace_name), false);
	add_field(&line, "rpc", asked.method, false);
	if (asked.calls > 0)
		add_field(&line, "calls", print_number(calls, asked.calls), true);
	add_field(&line, "stream", asked.name, false);
	add_field(&line, "peer", slice_of(client.peer), false);
	log_event(level, line.fields, line.n, "%s%s%s", what, outcome->note != NULL ? ": " : "",
			  outcome->note != NULL ? outcome->note : "");
}

void request_log_add(struct request_log *log, const struct request_log_entry *entry,
					 struct http_request *request, const struct http_outcome *outcome)
{
	bool failed = outcome->status >= 500 || outcome->note != NULL;

	if (log_is_debug() && !failed && !entry->slow)
		log_request(LOG_LEVEL_DEBUG, "request", entry, request, outcome);
	else if ((failed || entry->slow) && (log_is_debug() || may_log(log)))
		log_request(outcome->status == 500 ? LOG_LEVEL_ERROR
					: failed			   ? LOG_LEVEL_WARNING
										   : LOG_LEVEL_INFO,
					failed ? "request failed" : "slow request", entry, request, outcome);
}
