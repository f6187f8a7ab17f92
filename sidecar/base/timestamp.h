/*
 * timestamp: from RFC 3339 text to what Postgres counts: microseconds since 2000-01-01 UTC.
 */
#ifndef MILLRACE_TIMESTAMP_H
#define MILLRACE_TIMESTAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/*
 * Any offset; up to nine digits of a second, of which six count.  Years may have five or six digits, because
 * our own export writes them.  False: it is not a time, or there is no such day.
 */
bool timestamp_parse(struct slice text, int64_t *microseconds);
/*
 * The same, where a date alone means its midnight in UTC and a blank in front of an offset is a plus: what
 * people put into a URL.
 */
bool timestamp_parse_loosely(struct slice text, int64_t *microseconds);

#endif
