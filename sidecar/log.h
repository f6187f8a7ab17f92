/*
 * log: one line an event, to stderr, as text or as JSON.  Thread-safe: a line is one write.
 *
 * Three severities above info, by who has to act: WARNING (soft, we go on), ERROR (the
 * operator), and log_bug (ours; aborts in sanitizer builds).  Never log a token.
 */
#ifndef MILLRACE_LOG_H
#define MILLRACE_LOG_H

#include <stdbool.h>

enum log_level
{
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR,
};

bool log_setup(const char *level, const char *format); /* false: unknown word */
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_bug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
