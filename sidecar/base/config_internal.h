/*
 * config_internal: what the files of the config family share; they alone include it.
 *
 *     config.c         the tables of settings, and which command is meant
 *     config_flag.c    flags: finding the setting, and the nearest one when there is none
 *     config_value.c   text into a setting's value
 *     config_check.c   settings that contradict one another
 *     config_limits.c  limits that do not fit together
 *     config_help.c    --help
 *     config_secret.c  secrets
 *     config_consume.c the settings of consume
 *     config_retention.c  those of archive and purge
 *     config_move.c    those of move
 */
#ifndef MILLRACE_CONFIG_INTERNAL_H
#define MILLRACE_CONFIG_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/config.h"

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define NAME_MAX_LEN 32

/* Says on stderr what is wrong with the settings; false, for the caller to return. */
static inline bool config_complain(const char *what)
{
	fprintf(stderr, "millrace: %s\n", what);
	return false;
}

enum setting_type
{
	SETTING_NUMBER,
	SETTING_SECONDS,
	SETTING_BYTES, /* a number, with k, M or G behind it if you like */
	SETTING_TEXT,
	SETTING_SWITCH,
};

enum setting_source
{
	SOURCE_DEFAULT,
	SOURCE_ENVIRONMENT,
	SOURCE_FLAG,
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
	bool flag_only; /* no environment variable: too dangerous to be left lying about */
	bool secret;	/* SETTING_TEXT: config_internal.h */
	bool optional;	/* SETTING_TEXT: may be empty */
	bool none;		/* SETTING_TEXT: `none` means empty; an empty variable can't, it is no setting */
};

struct command
{
	const char *name;
	enum config_command number;
	const struct setting *settings;
	size_t nsettings;
	const char *argument; /* the setting that may be given without its flag; NULL = none */
	const char *summary;  /* one line, for `millrace help` */
	const char *usage, *description, *notes;
};

/* ---- rows of the tables --------------------------------------------------- */

#define NUMBER(field, kind, standard, low, high)                                                             \
	.type = SETTING_##kind, .offset = offsetof(struct config, field), .number = (standard), .min = (low),    \
	.max = (high)
#define TEXT(field, standard)                                                                                \
	.type = SETTING_TEXT, .offset = offsetof(struct config, field), .text = (standard)

/* clang-format off */
#define SERVER_SETTINGS \
	{"url", "Server", TEXT(url, "http://localhost:8080"), .value = "URL", \
	 .help = "where the server is, http or https"}, \
	{"ca-file", "Server", TEXT(ca_file, NULL), .value = "FILE", \
	 .help = "https: trust these certificates, in PEM, and not those of this machine"}, \
	{"token", "Server", TEXT(token, NULL), .value = "TOKEN", \
	 .help = "the namespace's token; better from a file or as MILLRACE_TOKEN", .secret = true}, \
	{"token-file", "Server", TEXT(token_file, NULL), .value = "FILE", \
	 .help = "a file with that token and nothing else"}
/* clang-format on */

#define VARIABLE_MAX (NAME_MAX_LEN + 16)

/* ---- config_flag.c -------------------------------------------------------- */

/*
 * Takes the flag at argv[*at], which has one dash or two, and its value; false when something is wrong
 * (printed).
 */
bool config_take_flag(struct config *config, const struct command *command, int argc, char **argv, int *at);

/* The same for what stands without a flag: command->argument. */
bool config_take_argument(struct config *config, const struct command *command, const char *value);

/* ---- config_value.c ------------------------------------------------------- */

/* Sets one field from text; `source` is where it stands, for the error. Prints what is wrong. */
bool config_set(struct config *config, const struct setting *setting, const char *source, const char *text);
/* Writes 104857600 as "100M". */
void config_format_bytes(int64_t bytes, char *out, size_t size);
/* The same for settings of bytes, digits for others. */
void config_format_number(const struct setting *setting, int64_t number, char *out, size_t size);

/* ---- config_check.c ------------------------------------------------------- */

/* Writes "admin-listen" as "MILLRACE_ADMIN_LISTEN". */
void config_variable_name(const char *name, char out[VARIABLE_MAX]);
/* Writes the setting as it was given, as a flag or as a variable; returns where it was given. */
enum setting_source config_source(const struct config *config, const struct command *command,
								  const char *name, char written[VARIABLE_MAX]);
/* Says that only one of them can be meant; false. */
bool config_refuse_both(const char *first, const char *second);
/*
 * For serve: says which of the settings that name a PostgreSQL contradict one another; false when some do
 * (printed).
 */
bool config_check_postgres(const struct config *config, const struct command *command);

/* The same of those about several clusters. */
bool config_check_directory(const struct config *config);

/* ---- config_consume.c ----------------------------------------------------- */

#define CONFIG_CONSUME_SETTINGS 10

extern const struct setting config_consume_settings[CONFIG_CONSUME_SETTINGS];
extern const char config_consume_usage[], config_consume_description[], config_consume_notes[];

/* False when something is missing (printed). */
bool config_check_consume(const struct config *config);

/* ---- config_retention.c --------------------------------------------------- */

#define CONFIG_ARCHIVE_SETTINGS 10
#define CONFIG_PURGE_SETTINGS 6

extern const struct setting config_archive_settings[CONFIG_ARCHIVE_SETTINGS];
extern const char config_archive_usage[], config_archive_description[], config_archive_notes[];
extern const struct setting config_purge_settings[CONFIG_PURGE_SETTINGS];
extern const char config_purge_usage[], config_purge_description[], config_purge_notes[];

/* False when something is missing or wrong (printed). */
bool config_check_archive(const struct config *config);

/* ---- config_move.c -------------------------------------------------------- */

#define CONFIG_MOVE_SETTINGS 10

extern const struct setting config_move_settings[CONFIG_MOVE_SETTINGS];
extern const char config_move_usage[], config_move_description[], config_move_notes[];

/* False when something is missing or contradicts another (printed). */
bool config_check_move(const struct config *config);

/* ---- config_limits.c ------------------------------------------------------ */

/* For serve: false when --buffer-bytes is too little (printed). */
bool config_check_buffer_bytes(const struct config *config);

/* ---- config_help.c -------------------------------------------------------- */

void config_help(FILE *out, const struct command *command);

/* ---- config_secret.c ------------------------------------------------------
 *
 * The list of processes shows every user the arguments of every program, and child processes inherit the
 * environment.  So a secret is copied from where it came in, and what stays there is made illegible.
 */

/* Makes a secret illegible where it stands. */
void config_blot(char *text);
/* *field is NULL or an earlier secret.  Prints what is wrong. */
bool config_take_secret(const char **field, char *text);

/*
 * Sets config->token from --token-file and config->database from --database-file, if there is one; an exit
 * code as config_parse.
 */
int config_read_secret_files(struct config *config, const struct command *command);

#endif
