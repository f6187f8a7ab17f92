/*
 * errors: what a client is told when its request fails (README.md, "Errors").
 *
 * An error has a code, a message for people and, where a program can use them, details.  The tables
 * in errors.c give each code its HTTP status and each SQLSTATE its code.
 */
#ifndef MILLRACE_ERRORS_H
#define MILLRACE_ERRORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum error_code
{
	ERROR_NONE,
	ERROR_INVALID_REQUEST,
	ERROR_METHOD_NOT_FOUND,
	ERROR_NOT_FOUND,
	ERROR_AUTH_REQUIRED,
	ERROR_AUTH_INVALID_TOKEN,
	ERROR_AUTH_UNAUTHORIZED,
	ERROR_PAYLOAD_TOO_LARGE,
	ERROR_BACKEND_ERROR,
	ERROR_STREAM_VERSION_CONFLICT,
	ERROR_MESSAGE_ID_CONFLICT,
	ERROR_APPEND_CONDITION_FAILED,
	ERROR_STREAM_CLOSED,
	ERROR_RESERVED_TYPE,
	ERROR_NAMESPACE_EXISTS,
	ERROR_NAMESPACE_NOT_FOUND,
	ERROR_CONSUMER_NOT_FOUND,
	ERROR_CONSUMER_EXISTS,
	ERROR_CONSUMER_MOVED,
	ERROR_CLAIM_LOST,
	ERROR_TOKEN_EXISTS,
	ERROR_TOKEN_NOT_FOUND,
	ERROR_POSITION_REMOVED,
	ERROR_RETENTION_HELD,
	ERROR_NAMESPACE_SEALED,
	ERROR_NAMESPACE_MOVED,
	ERROR_RATE_LIMITED,
	ERROR_NOT_YET_REPLICATED,
	ERROR_OVERLOADED,
	ERROR_BACKEND_UNAVAILABLE,
	ERROR_INTERNAL_ERROR,
	ERROR_CODES
};

/* The codes of JSON-RPC 2.0, section 5.1. */
enum jsonrpc_code
{
	JSONRPC_PARSE_ERROR = -32700,
	JSONRPC_INVALID_REQUEST = -32600,
	JSONRPC_METHOD_NOT_FOUND = -32601,
	JSONRPC_INVALID_PARAMS = -32602,
	JSONRPC_INTERNAL_ERROR = -32603,
	JSONRPC_OURS = -32000,
};

struct error
{
	enum error_code code;
	unsigned retry_after; /* s; of ERROR_RATE_LIMITED only */
	char message[600];	  /* longer ones are cut */
	char details[600];	  /* a JSON object, or empty */
};

/* Sets code and message, without details.  A message that does not fit is cut. */
void error_set(struct error *error, enum error_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * From what Postgres said; the strings are never NULL.  `pid` is that of its backend, by which its log is
 * searched.
 */
void error_from_sqlstate(struct error *error, const char *sqlstate, const char *message, const char *hint,
						 int pid);
/* Details that do not fit are left out: half a JSON object is none. */
void error_set_details(struct error *error, const struct buf *text);
/* The details of a version conflict: {"expected":N,"actual":N}. */
void error_set_versions(struct error *error, int64_t expected, int64_t actual);

/*
 * The details of a condition that does not hold: {"after":N,"position":N,"stream":S,"type":S}; of names so
 * long that they don't fit only the positions.
 */
void error_set_match(struct error *error, int64_t after, int64_t position, const char *stream,
					 const char *type);

const char *error_code_name(enum error_code code); /* as clients see it */
int error_status(enum error_code code);			   /* of HTTP */
/* For the header Retry-After, in seconds; 0: the same request fails again. */
unsigned error_retry_after(const struct error *error);

/* {"error":{...}}, the body of HTTP errors and of the array form. */
void error_write_body(struct buf *out, const struct error *error);
/* {"jsonrpc":"2.0","error":{...},"id":ID}; id is JSON text. */
void error_write_jsonrpc(struct buf *out, const struct error *error, struct slice id);
/* The same for the protocol's own errors, which have no code of ours. */
void error_write_jsonrpc_plain(struct buf *out, enum jsonrpc_code code, const char *message, struct slice id);

#endif
