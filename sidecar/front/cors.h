/*
 * cors: which pages of other sites may call /rpc (--cors-origin) and /subscribe (all) from a browser, with
 * which headers.
 */
#ifndef MILLRACE_CORS_H
#define MILLRACE_CORS_H

#include <stdbool.h>

#include "base/slice.h"

struct cors;

/* `origins` is "*", an origin, or several with commas between them.  NULL: out of memory. */
struct cors *cors_new(const char *origins);
void cors_free(struct cors *cors);
/*
 * Header lines of a reply to a page of that origin (.bytes NULL: it named none), good as long as `cors`; NULL
 * where that is NULL.
 */
const char *cors_headers(const struct cors *cors, struct slice origin);
/* Whether pages of that origin are allowed by name or by "*". */
bool cors_allows(const struct cors *cors, struct slice origin);

/* What a page may read of a reply, besides its body. */
#define CORS_EXPOSE "Access-Control-Expose-Headers: Retry-After, X-Request-Id\r\n"
/* Header lines of every reply on /subscribe, errors included: pages of any origin may read it. */
#define CORS_ANY_ORIGIN "Access-Control-Allow-Origin: *\r\n" CORS_EXPOSE

/* Header lines of the answer to a preflight, behind those of a reply. */
#define CORS_PREFLIGHT(methods, headers)                                                                     \
	"Access-Control-Allow-Methods: " methods "\r\n"                                                          \
	"Access-Control-Allow-Headers: " headers "\r\n"                                                          \
	"Access-Control-Max-Age: 600\r\n"
#define CORS_PREFLIGHT_RPC                                                                                   \
	CORS_PREFLIGHT("POST", "Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent")
#define CORS_PREFLIGHT_SUBSCRIBE                                                                             \
	CORS_PREFLIGHT("GET", "Authorization, Cache-Control, Last-Event-ID, X-Request-Id")

#endif
