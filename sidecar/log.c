/*
 * log: one line an event, to stderr; see log.h.
 *
 * The level and the format are set once, before any thread starts, and only read afterwards.
 * A line is built on the stack and leaves in one write, so lines of threads never mix; what
 * doesn't fit is cut.
 */
#include "log.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_TEXT_MAX 2048
#define LOG_LINE_MAX (LOG_TEXT_MAX * 6 + 128) /* JSON may write one byte as \u00XX */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOG_BUG_ABORTS true
#else
#define LOG_BUG_ABORTS false
#endif

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static enum log_level log_lowest = LOG_LEVEL_INFO;
static bool log_as_json = false;

bool log_setup(const char *level, const char *format)
{
	bool known = false;

	for (int i = LOG_LEVEL_DEBUG; i <= LOG_LEVEL_ERROR; i++)
	{
		if (strcmp(level, level_names[i]) == 0)
		{
			log_lowest = (enum log_level)i;
			known = true;
		}
	}
	log_as_json = strcmp(format, "json") == 0;
	return known && (log_as_json || strcmp(format, "text") == 0);
}

/* Writes `text` as the inside of a JSON string; the caller made room for six bytes a byte. */
static size_t escape_json(char *out, const char *text)
{
	char *start = out;

	for (; *text != '\0'; text++)
	{
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
		{
			*out++ = '\\';
			*out++ = (char)c;
		}
		else if (c < 0x20)
			out += sprintf(out, "\\u%04x", c);
		else
			*out++ = (char)c;
	}
	return (size_t)(out - start);
}

/* An event is one line: what came from outside (Postgres likes newlines) is joined. */
static void join_lines(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
	for (; *text != '\0'; text++)
	{
		if (*text == '\n' || *text == '\r' || *text == '\t')
			*text = ' ';
	}
}

static void log_line(enum log_level level, const char *format, va_list args)
{
	char text[LOG_TEXT_MAX];
	char line[LOG_LINE_MAX];
	char when[32];
	struct timespec now;
	struct tm utc;
	size_t len;

	vsnprintf(text, sizeof(text), format, args);
	join_lines(text);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
	if (log_as_json)
	{
		len = (size_t)sprintf(line, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"message\":\"", when,
							  now.tv_nsec / 1000000, level_names[level]);
		len += escape_json(line + len, text);
		len += (size_t)sprintf(line + len, "\"}\n");
	}
	else
		len = (size_t)sprintf(line, "%s.%03ldZ %-7s %s\n", when, now.tv_nsec / 1000000, level_names[level],
							  text);
	/* Nobody is left to tell when stderr itself fails. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}

#define LOG_AT(level, format)                                                                                \
	do                                                                                                       \
	{                                                                                                        \
		va_list args;                                                                                        \
                                                                                                             \
		if ((level) < log_lowest)                                                                            \
			return;                                                                                          \
		va_start(args, format);                                                                              \
		log_line(level, format, args);                                                                       \
		va_end(args);                                                                                        \
	} while (0)

void log_debug(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_DEBUG, format);
}

void log_info(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_INFO, format);
}

void log_warning(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_WARNING, format);
}

void log_error(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_ERROR, format);
}

void log_bug(const char *format, ...)
{
	LOG_AT(LOG_LEVEL_ERROR, format);
	if (LOG_BUG_ABORTS)
		abort();
}
