/*
 * log: one line an event, to stderr; see log.h.
 *
 * The level and the format are set once, before any thread starts, and only read afterwards.
 * A line is built on the stack and leaves in one write, so lines of threads never mix; what
 * doesn't fit is cut.  Whatever it says, a line holds no token: see hide_secrets.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "extension/hex.h"

#define LOG_TEXT_MAX 2048
#define LOG_VALUE_MAX 300
/* JSON may write one byte as two. */
#define LOG_LINE_MAX (LOG_TEXT_MAX * 2 + LOG_MAX_FIELDS * (LOG_VALUE_MAX * 2 + 40) + 128)

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

/* How many bytes the character here has; 0: it is a control character, or no UTF-8. */
static size_t printable_len(const char *at, const char *end)
{
	if ((unsigned char)*at < 0x20 || *at == 0x7F)
		return 0;
	return json_utf8_len((const unsigned char *)at, (const unsigned char *)end);
}

/* Puts stars over what may be a token's secret. */
static void hide_secrets(char *text)
{
	while (*text != '\0')
	{
		size_t run = strspn(text, HEX_DIGITS "ABCDEF");

		if (run >= LOG_HIDDEN_DIGITS)
			memset(text, '*', run);
		text += run > 0 ? run : 1;
	}
}

/*
 * An event is one line of well-formed UTF-8 without control characters, whatever it says: these become spaces
 * (Postgres likes newlines), other bytes question marks.
 */
static void clean(char *text)
{
	size_t len = strlen(text);
	const char *end;

	while (len > 0 && strchr("\r\n ", text[len - 1]) != NULL)
		text[--len] = '\0';
	end = text + len;
	hide_secrets(text);
	while (text < end)
	{
		unsigned char c = (unsigned char)*text;
		size_t character = printable_len(text, end);

		if (character == 0)
			*text = c < 0x20 || c == 0x7F ? ' ' : '?';
		text += character > 0 ? character : 1;
	}
}

struct line
{
	char bytes[LOG_LINE_MAX];
	size_t len;
};

static void add(struct line *line, const char *text)
{
	size_t len = strlen(text);

	memcpy(line->bytes + line->len, text, len);
	line->len += len;
}

/* Of clean text; the caller made room for two bytes a byte. */
static void add_escaped(struct line *line, const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			line->bytes[line->len++] = '\\';
		line->bytes[line->len++] = *text;
	}
}

/* As text a value is put in quotes only where it would look like more than one word. */
static void add_field(struct line *line, const struct log_field *field)
{
	char value[LOG_VALUE_MAX];
	bool quoted;

	snprintf(value, sizeof(value), "%.*s",
			 (int)(field->value.len < sizeof(value) ? field->value.len : sizeof(value)),
			 field->value.len > 0 ? field->value.bytes : "");
	clean(value);
	quoted = log_as_json ? !field->is_number : value[0] == '\0' || strpbrk(value, " \"\\=") != NULL;
	add(line, log_as_json ? ",\"" : " ");
	add(line, field->name);
	add(line, log_as_json ? "\":" : "=");
	add(line, quoted ? "\"" : "");
	add_escaped(line, value);
	add(line, quoted ? "\"" : "");
}

static void add_time(struct line *line)
{
	struct timespec now = clock_calendar();
	struct tm utc;

	gmtime_r(&now.tv_sec, &utc);
	line->len += strftime(line->bytes + line->len, 32, "%Y-%m-%dT%H:%M:%S", &utc);
	line->len += (size_t)sprintf(line->bytes + line->len, ".%03ldZ", now.tv_nsec / 1000000);
}

static void log_line(enum log_level level, const struct log_field *fields, unsigned nfields,
					 const char *format, va_list args)
{
	char text[LOG_TEXT_MAX];
	struct line line;

	line.len = 0;
	vsnprintf(text, sizeof(text), format, args);
	clean(text);
	add(&line, log_as_json ? "{\"time\":\"" : "");
	add_time(&line);
	if (log_as_json)
	{
		add(&line, "\",\"level\":\"");
		add(&line, level_names[level]);
		add(&line, "\",\"message\":\"");
		add_escaped(&line, text);
		add(&line, "\"");
	}
	else
	{
		line.len += (size_t)sprintf(line.bytes + line.len, " %-7s ", level_names[level]);
		add(&line, text);
	}
	for (unsigned i = 0; i < nfields && i < LOG_MAX_FIELDS; i++)
		add_field(&line, &fields[i]);
	add(&line, log_as_json ? "}\n" : "\n");
	/* When stderr itself fails there is nowhere to say so. */
	if (write(STDERR_FILENO, line.bytes, line.len) < 0)
		return;
}

bool log_is_debug(void)
{
	return log_lowest == LOG_LEVEL_DEBUG;
}

void log_event(enum log_level level, const struct log_field *fields, unsigned nfields, const char *format,
			   ...)
{
	va_list args;

	if (level < log_lowest)
		return;
	va_start(args, format);
	log_line(level, fields, nfields, format, args);
	va_end(args);
}

#define LOG_AT(level, format)                                                                                \
	do                                                                                                       \
	{                                                                                                        \
		va_list args;                                                                                        \
                                                                                                             \
		if ((level) < log_lowest)                                                                            \
			return;                                                                                          \
		va_start(args, format);                                                                              \
		log_line(level, NULL, 0, format, args);                                                              \
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
