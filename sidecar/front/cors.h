/*
 * cors: which pages of other sites may call /rpc from a browser (--cors-origin).
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

#define CORS_PREFLIGHT(methods, headers)                                                                     \
	"Access-Control-Allow-Methods: " methods "\r\n"                                                          \
	"Access-Control-Allow-Headers: " headers "\r\n"                                                          \
	"Access-Control-Max-Age: 600\r\n"
#define CORS_EXPOSE "Access-Control-Expose-Headers: Retry-After, X-Request-Id\r\n"

#endif
