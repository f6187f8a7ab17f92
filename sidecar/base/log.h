/*
 * log: one line an event, to stderr, as text or as JSON.  Thread-safe: a line is one write.
 *
 * Three severities above info.  log_warning: the program goes on by itself; log_error: the operator has to
 * act; log_bug: a mistake in the program, logged as an error (sanitizer builds abort).  A token is never
 * logged; LOG_HIDDEN_DIGITS hexadecimal digits in a row or more come out as stars.
 */
#ifndef MILLRACE_LOG_H
#define MILLRACE_LOG_H

#include <stdbool.h>

#include "base/slice.h"

enum log_level
{
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR,
};

#define LOG_MAX_FIELDS 11	 /* of a line */
#define LOG_HIDDEN_DIGITS 64 /* those of a token's secret */

/* Something that a program will look for; as text ` name=value`, as JSON a member. */
struct log_field
{
	const char *name; /* a lowercase word of at most 30 letters */
	struct slice value;
	bool is_number;
};

bool log_setup(const char *level, const char *format); /* false: unknown word */
bool log_is_debug(void);
/* A line with up to LOG_MAX_FIELDS fields behind its text; their values are cut at 300 bytes. */
void log_event(enum log_level level, const struct log_field *fields, unsigned nfields, const char *format,
			   ...) __attribute__((format(printf, 4, 5)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_bug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
