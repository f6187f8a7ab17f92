/*
 * url_query: the parameters behind the question mark of a URL.
 */
#ifndef MILLRACE_URL_QUERY_H
#define MILLRACE_URL_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/*
 * Appends the first parameter of that name to `out`, percent and `+` decoded; one without `=` is empty.
 * False: there is none.  Out of memory shows in out->failed.
 */
bool url_query_find(struct slice query, const char *name, struct buf *out);

/* Takes the next parameter off the query; its name as it was sent.  False: there is none left. */
bool url_query_next(struct slice *query, struct slice *name);

/*
 * False: the query has a name that is not known and nearly one that is; `problem` says which.  `known` ends
 * with NULL.
 */
bool url_query_check_names(struct slice query, const char *const known[], char problem[200]);

/*
 * Takes the next byte off a text that is not empty: %40 and its like are one, and with `plus` a + is a space.
 * What is no escape stands for itself.
 */
char url_query_take(struct slice *text, bool plus);

/* Reads all of a value as a decimal integer; false: it is none that fits. */
bool url_query_integer(struct slice value, int64_t *number);

/* What a parameter that is handed to Postgres as JSON must be and is not; NULL: it is. */
const char *url_query_check_json(struct slice value);

#endif
