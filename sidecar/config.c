/*
 * config: every setting of the program, in one table; see config.h.
 *
 * A row of the table is a flag (--name), an environment variable (MILLRACE_NAME, upper case,
 * dashes as underscores), a default, a range, and a line of help.  Values stay what they came
 * in: strings point into argv, the environment or the table, so nothing here is ever freed.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "version.h"

#ifndef MILLRACE_PG_BINDIR
#define MILLRACE_PG_BINDIR ""
#endif

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define NAME_MAX_LEN 32

enum setting_type
{
	SETTING_NUMBER,
	SETTING_SECONDS,
	SETTING_BYTES, /* a number, with k, M or G behind it if you like */
	SETTING_TEXT,
	SETTING_SWITCH,
};

struct setting
{
	const char *name;
	const char *subject; /* the heading in --help; rows of one subject stand together */
	enum setting_type type;
	size_t offset; /* in struct config */
	int64_t number, min, max;
	const char *text;  /* default of SETTING_TEXT */
	const char *words; /* SETTING_TEXT: what is allowed, between bars ("|a|b|"); NULL = anything */
	const char *value; /* what --help calls it */
	const char *help;
};

#define NUMBER(field, kind, standard, low, high)                                                             \
	.type = SETTING_##kind, .offset = offsetof(struct config, field), .number = (standard), .min = (low),    \
	.max = (high)
#define TEXT(field, standard)                                                                                \
	.type = SETTING_TEXT, .offset = offsetof(struct config, field), .text = (standard)

static const struct setting settings[] = {
	{"port", "Listening", NUMBER(port, NUMBER, 8080, 0, 65535), .value = "N",
	 .help = "TCP port of the HTTP API; 0 takes a free one"},
	{"listen", "Listening", TEXT(listen, NULL), .value = "ADDRESS",
	 .help = "address of the HTTP API (default: all, IPv4 and IPv6)"},
	{"admin-listen", "Listening", TEXT(admin_listen, NULL), .value = "HOST:PORT",
	 .help = "where /live and /ready are (default: 127.0.0.1:9090 if it is free; empty: nowhere)"},
	{"cors-origin", "Listening", TEXT(cors_origin, NULL), .value = "ORIGIN",
	 .help = "let pages of this origin call /rpc from a browser (* for any; default: none)"},
	{"workers", "Listening", NUMBER(workers, NUMBER, 0, 0, 256), .value = "N",
	 .help = "worker threads; 0: one a core, at most 4"},

	{"database", "Database", TEXT(database, NULL), .value = "CONNINFO",
	 .help =
		 "your PostgreSQL, as any libpq connection string or URI; without it the server runs a private one"},
	{"data-dir", "Database", TEXT(data_dir, "./millrace-data"), .value = "PATH",
	 .help = "where the private PostgreSQL keeps its data; made on first use"},
	{"pg-bindir", "Database", TEXT(pg_bindir, MILLRACE_PG_BINDIR), .value = "PATH",
	 .help = "where initdb and postgres of the private PostgreSQL are"},
	{"test-mode", "Database", .type = SETTING_SWITCH, .offset = offsetof(struct config, test_mode),
	 .help = "a private PostgreSQL in a temporary folder, nothing durable, no authentication; never for real "
			 "data"},
	{"read-connections", "Database", NUMBER(read_connections, NUMBER, 2, 1, 64), .value = "N",
	 .help = "connections for reads, a worker (three more are for appends and namespace calls)"},
	{"retry-window", "Database", NUMBER(retry_window, SECONDS, 30, 0, 3600), .value = "SECONDS",
	 .help = "how long a request may wait for a lost database before it fails"},

	{"token", "Access", TEXT(token, NULL), .value = "TOKEN",
	 .help = "set the token of namespace default; better as MILLRACE_TOKEN, which other users can't see"},

	{"log-level", "Logging", TEXT(log_level, "info"), .words = "|debug|info|warning|error|", .value = "LEVEL",
	 .help = "least severity that is logged: debug, info, warning, error"},
	{"log-format", "Logging", TEXT(log_format, "text"), .words = "|text|json|", .value = "FORMAT",
	 .help = "text or json, one line an event, on stderr"},

	{"max-body", "Limits", NUMBER(max_body, BYTES, 100 * MIB, KIB, 512 * MIB), .value = "BYTES",
	 .help = "largest request body"},
	{"max-header", "Limits", NUMBER(max_header, BYTES, 64 * KIB, 16 * KIB, MIB), .value = "BYTES",
	 .help = "largest request head"},
	{"request-timeout", "Limits", NUMBER(request_timeout, SECONDS, 30, 1, 3600), .value = "SECONDS",
	 .help = "a request must have arrived whole by then"},
	{"idle-timeout", "Limits", NUMBER(idle_timeout, SECONDS, 120, 1, 86400), .value = "SECONDS",
	 .help = "a connection without requests is closed after that"},
	{"max-connections", "Limits", NUMBER(max_connections, NUMBER, 20000, 1, 1000000), .value = "N",
	 .help = "client connections, a worker"},
	{"queue-requests", "Limits", NUMBER(queue_requests, NUMBER, 10000, 1, 10000000), .value = "N",
	 .help = "requests that wait for the database, a worker; beyond it: 503"},
	{"queue-bytes", "Limits", NUMBER(queue_bytes, BYTES, 256 * MIB, MIB, 64 * GIB), .value = "BYTES",
	 .help = "the same in bytes"},
	{"batch-messages", "Limits", NUMBER(batch_messages, NUMBER, 1000, 1, 100000), .value = "N",
	 .help = "messages that are appended in one transaction"},
	{"batch-bytes", "Limits", NUMBER(batch_bytes, BYTES, 8 * MIB, KIB, 512 * MIB), .value = "BYTES",
	 .help = "the same in bytes; one larger request goes alone"},
	{"drain-timeout", "Limits", NUMBER(drain_timeout, SECONDS, 30, 0, 3600), .value = "SECONDS",
	 .help = "at SIGTERM, how long requests in flight may take to finish"},
};

#define NSETTINGS (sizeof(settings) / sizeof(settings[0]))

/* "admin-listen" -> "MILLRACE_ADMIN_LISTEN" */
static void environment_name(const char *name, char *out)
{
	out += sprintf(out, "MILLRACE_");
	for (; *name != '\0'; name++)
		*out++ = *name == '-' ? '_' : (char)toupper((unsigned char)*name);
	*out = '\0';
}

/* Writes 104857600 as "100M". */
static void format_bytes(int64_t bytes, char *out, size_t size)
{
	if (bytes >= GIB && bytes % GIB == 0)
		snprintf(out, size, "%" PRId64 "G", bytes / GIB);
	else if (bytes >= MIB && bytes % MIB == 0)
		snprintf(out, size, "%" PRId64 "M", bytes / MIB);
	else if (bytes >= KIB && bytes % KIB == 0)
		snprintf(out, size, "%" PRId64 "k", bytes / KIB);
	else
		snprintf(out, size, "%" PRId64, bytes);
}

static void format_number(const struct setting *setting, int64_t number, char *out, size_t size)
{
	if (setting->type == SETTING_BYTES)
		format_bytes(number, out, size);
	else
		snprintf(out, size, "%" PRId64, number);
}

static void help_setting(FILE *out, const struct setting *setting)
{
	char flag[2 * NAME_MAX_LEN];
	char standard[32] = "";

	snprintf(flag, sizeof(flag), "--%s%s%s", setting->name, setting->value ? " " : "",
			 setting->value ? setting->value : "");
	fprintf(out, "  %-28s %s", flag, setting->help);
	if (setting->type == SETTING_TEXT)
	{
		if (setting->text != NULL && setting->text[0] != '\0')
			fprintf(out, " (default: %s)", setting->text);
	}
	else if (setting->type != SETTING_SWITCH)
	{
		format_number(setting, setting->number, standard, sizeof(standard));
		fprintf(out, " (default: %s)", standard);
	}
	fputc('\n', out);
}

void config_help(FILE *out)
{
	const char *subject = "";

	fputs("millrace: an event and message store inside PostgreSQL, served as JSON-RPC over HTTP\n"
		  "\n"
		  "Usage:\n"
		  "  millrace serve [--name value | --name=value]...\n"
		  "  millrace version\n"
		  "  millrace help\n"
		  "\n"
		  "`millrace serve` alone is a whole server: it runs a private PostgreSQL in ./millrace-data,\n"
		  "listens on port 8080, and at its first start prints the token of namespace default.\n",
		  out);
	for (size_t i = 0; i < NSETTINGS; i++)
	{
		if (strcmp(subject, settings[i].subject) != 0)
		{
			subject = settings[i].subject;
			fprintf(out, "\n%s:\n", subject);
		}
		help_setting(out, &settings[i]);
	}
	fputs("\n"
		  "Bytes may end in k, M or G. Every flag is also an environment variable: --log-level is\n"
		  "MILLRACE_LOG_LEVEL. Flags beat the environment, the environment beats defaults.\n"
		  "\n"
		  "Signals:\n"
		  "  SIGTERM, SIGINT              stop accepting, finish what is in flight, exit; a second one exits "
		  "at once\n"
		  "\n"
		  "Exit status:\n"
		  "  0 stopped as asked; 1 could not start, or failed; 2 wrong usage\n"
		  "\n"
		  "Examples:\n"
		  "  millrace serve --data-dir /var/lib/millrace\n"
		  "  millrace serve --database 'host=db1,db2 dbname=events user=millrace'\n"
		  "  millrace serve --test-mode --port 0\n",
		  out);
}

/* Reads a whole number, for bytes with k, M or G behind it; false when it isn't one. */
static bool read_number(const char *text, bool bytes, int64_t *number)
{
	int64_t unit = 1;
	char *end;

	errno = 0;
	*number = strtoll(text, &end, 10);
	if (end == text || errno != 0 || isspace((unsigned char)text[0]))
		return false;
	if (bytes && *end != '\0')
	{
		unit = *end == 'k' || *end == 'K' ? KIB : *end == 'M' ? MIB : *end == 'G' ? GIB : 0;
		end++;
		if (unit == 0 || *number > INT64_MAX / unit || *number < 0)
			return false;
	}
	*number *= unit;
	return *end == '\0';
}

static bool read_switch(const char *text, bool *on)
{
	static const char yes[] = "|true|on|yes|1|";
	static const char no[] = "|false|off|no|0|";
	char word[16];

	if (strlen(text) > 8 || strchr(text, '|') != NULL)
		return false;
	snprintf(word, sizeof(word), "|%s|", text);
	*on = strstr(yes, word) != NULL;
	return *on || strstr(no, word) != NULL;
}

static bool set_number(struct config *config, const struct setting *setting, const char *source,
					   const char *text)
{
	int64_t *field = (int64_t *)((char *)config + setting->offset);
	char low[32], high[32];
	int64_t number;

	if (!read_number(text, setting->type == SETTING_BYTES, &number))
	{
		fprintf(stderr, "millrace: %s: \"%s\" is not a whole number%s\n", source, text,
				setting->type == SETTING_BYTES ? " of bytes (k, M or G may follow it)" : "");
		return false;
	}
	if (number < setting->min || number > setting->max)
	{
		format_number(setting, setting->min, low, sizeof(low));
		format_number(setting, setting->max, high, sizeof(high));
		fprintf(stderr, "millrace: %s: %s is out of range (%s to %s)\n", source, text, low, high);
		return false;
	}
	*field = number;
	return true;
}

static bool set_text(struct config *config, const struct setting *setting, const char *source,
					 const char *text)
{
	char word[NAME_MAX_LEN];

	snprintf(word, sizeof(word), "|%s|", text);
	if (setting->words != NULL &&
		(strlen(text) > 16 || strchr(text, '|') || strstr(setting->words, word) == NULL))
	{
		fprintf(stderr, "millrace: %s: \"%s\" is none of %.*s\n", source, text,
				(int)strlen(setting->words) - 2, setting->words + 1);
		return false;
	}
	*(const char **)((char *)config + setting->offset) = text;
	return true;
}

/* Sets one field from text; `source` is what the user wrote it as. Prints what is wrong. */
static bool set(struct config *config, const struct setting *setting, const char *source, const char *text)
{
	switch (setting->type)
	{
		case SETTING_NUMBER:
		case SETTING_SECONDS:
		case SETTING_BYTES:
			return set_number(config, setting, source, text);
		case SETTING_TEXT:
			return set_text(config, setting, source, text);
		case SETTING_SWITCH:
			if (read_switch(text, (bool *)((char *)config + setting->offset)))
				return true;
			fprintf(stderr, "millrace: %s: \"%s\" is neither true nor false\n", source, text);
			return false;
	}
	return false;
}

static bool set_defaults_and_environment(struct config *config)
{
	char variable[NAME_MAX_LEN + 16];

	for (size_t i = 0; i < NSETTINGS; i++)
	{
		const struct setting *setting = &settings[i];
		char *field = (char *)config + setting->offset;
		const char *text;

		if (setting->type == SETTING_TEXT)
			*(const char **)field = setting->text;
		else if (setting->type == SETTING_SWITCH)
			*(bool *)field = false;
		else
			*(int64_t *)field = setting->number;
		environment_name(setting->name, variable);
		text = getenv(variable);
		if (text != NULL && !set(config, setting, variable, text))
			return false;
	}
	return true;
}

/* Levenshtein's distance, for "did you mean"; names are short. */
static unsigned distance(const char *a, size_t alen, const char *b)
{
	unsigned row[NAME_MAX_LEN + 1];
	size_t blen = strlen(b);

	if (alen > NAME_MAX_LEN || blen > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (size_t j = 0; j <= blen; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= alen; i++)
	{
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= blen; j++)
		{
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[blen];
}

static void complain_unknown(const char *name, size_t len)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (size_t i = 0; i < NSETTINGS; i++)
	{
		unsigned d = distance(name, len, settings[i].name);

		if (d < best)
		{
			best = d;
			nearest = settings[i].name;
		}
	}
	fprintf(stderr, "millrace: there is no flag --%.*s", (int)len, name);
	if (nearest != NULL)
		fprintf(stderr, "; did you mean --%s?\n", nearest);
	else
		fputs("; `millrace help` lists them all\n", stderr);
}

static const struct setting *find_setting(const char *name, size_t len)
{
	for (size_t i = 0; i < NSETTINGS; i++)
	{
		if (strlen(settings[i].name) == len && memcmp(settings[i].name, name, len) == 0)
			return &settings[i];
	}
	return NULL;
}

/* Takes the flag at argv[*at] and its value; false when something is wrong (printed). */
static bool take_flag(struct config *config, int argc, char **argv, int *at)
{
	const char *name = argv[*at] + 2;
	size_t len = strcspn(name, "=");
	const char *value = name[len] == '=' ? name + len + 1 : NULL;
	const struct setting *setting = find_setting(name, len);
	char source[NAME_MAX_LEN + 4];

	if (setting == NULL)
	{
		complain_unknown(name, len);
		return false;
	}
	if (value == NULL && setting->type == SETTING_SWITCH)
		value = "true";
	if (value == NULL && *at + 1 < argc)
		value = argv[++*at];
	if (value == NULL)
	{
		fprintf(stderr, "millrace: --%s wants a value: --%s %s\n", setting->name, setting->name,
				setting->value);
		return false;
	}
	snprintf(source, sizeof(source), "--%s", setting->name);
	return set(config, setting, source, value);
}

static int parse_serve(struct config *config, int argc, char **argv)
{
	if (!set_defaults_and_environment(config))
		return 2;
	for (int at = 2; at < argc; at++)
	{
		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0)
		{
			config_help(stdout);
			return 0;
		}
		if (strncmp(argv[at], "--", 2) != 0)
		{
			fprintf(stderr, "millrace: unexpected argument \"%s\"; flags are --name value or --name=value\n",
					argv[at]);
			return 2;
		}
		if (!take_flag(config, argc, argv, &at))
			return 2;
	}
	return -1;
}

int config_parse(struct config *config, int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "serve") == 0)
		return parse_serve(config, argc, argv);
	if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0)
	{
		puts("millrace " MILLRACE_VERSION);
		return 0;
	}
	if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
	{
		config_help(stdout);
		return 0;
	}
	if (command[0] == '\0')
		config_help(stderr);
	else
		fprintf(stderr, "millrace: there is no command \"%s\"; try `millrace serve` or `millrace help`\n",
				command);
	return 2;
}
