/*
 * request_log: what is counted and logged of requests when they have ended.
 */
#ifndef MILLRACE_REQUEST_LOG_H
#define MILLRACE_REQUEST_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/trace.h"

struct http_outcome;
struct http_request;

/* How many lines a second: the rest is counted.  All zero at first. */
struct request_log
{
	uint64_t second;   /* the last one in which a request was logged, */
	unsigned lines;	   /* how many were, */
	unsigned left_out; /* and how many were not */
};

struct request_log_entry
{
	const char *namespace_name; /* "": not known */
	bool has_calls;				/* its body is one of /rpc, whose calls are named */
	bool slow;
};

/*
 * Logs a request that failed or was slow, while this second still takes a line; at log level debug each
 * request.
 */
void request_log_add(struct request_log *log, const struct request_log_entry *entry,
					 struct http_request *request, const struct http_outcome *outcome);

/* What its traceparent says; nothing where there are two that differ. */
struct trace request_trace(const struct http_request *request);

/* The place of a status among those that are counted in stats, and its name there; NULL: there is none. */
size_t request_status_index(int status);
const char *request_status_name(unsigned index);

#endif
