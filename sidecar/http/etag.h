/*
 * etag: entity tags of bodies that clients keep (RFC 9110, 8.8.3 and 13.1.2).
 *
 * Ours are weak, as the same body may go out in several codings.
 */
#ifndef MILLRACE_HTTP_ETAG_H
#define MILLRACE_HTTP_ETAG_H

#include <stdbool.h>

#include "base/slice.h"

#define HTTP_ETAG_LEN 20

/* The tag of these bytes, W/"16 hex digits": by their 64-bit FNV-1a hash, the same in every process. */
void http_etag_make(struct slice bytes, char etag[HTTP_ETAG_LEN + 1]);
/*
 * Whether the value of If-None-Match (.bytes NULL: there is none) names the tag: in its list, weak or strong,
 * or by "*".  What is no list of tags names those in front of where it goes wrong.
 */
bool http_etag_matches(struct slice if_none_match, const char *etag);

#endif
