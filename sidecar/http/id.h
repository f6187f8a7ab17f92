/*
 * id: ids of requests, by which a line of the log and a reply find each other.
 *
 * A client may bring its own in the header X-Request-Id.
 */
#ifndef MILLRACE_HTTP_ID_H
#define MILLRACE_HTTP_ID_H

#include <stdbool.h>

#include "base/slice.h"

#define HTTP_ID_LEN 16
#define HTTP_ID_MAX 64

/*
 * 1 to HTTP_ID_MAX letters, digits, dots, dashes and underscores: too short for a token, and harmless
 * wherever it is written.
 */
bool http_id_is_sane(struct slice id);
/* A random one. */
void http_id_make(char id[HTTP_ID_LEN + 1]);

#endif
