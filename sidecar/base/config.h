/*
 * config: every setting of the program, in one table a command.
 *
 * config.c holds the tables (name, type, default, range, help text); they drive the
 * parsing of flags, of MILLRACE_* environment variables, and `--help`.
 * Flags beat environment beat defaults.
 */
#ifndef MILLRACE_CONFIG_H
#define MILLRACE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_SETTINGS_MAX 64 /* of a command */
#define CONFIG_ADMIN_LISTEN "127.0.0.1:8079"

enum config_command
{
	COMMAND_SERVE,
	COMMAND_EXPORT,
	COMMAND_IMPORT,
};

struct config
{
	enum config_command command; /* only its settings are set */
	/*
	 * Where each setting came from, in the order of the command's table: enum setting_source of
	 * config_internal.h
	 */
	unsigned char sources[CONFIG_SETTINGS_MAX];
	/* serve */
	int64_t port;		/* 8080; 0 = any free port */
	const char *listen; /* address; NULL = all, IPv4 and IPv6 */
	const char *
		admin_listen; /* host:port of the admin listener; empty = none; NULL = 127.0.0.1:8079 if it is free */
	const char *database;	   /* libpq connection string; NULL = the embedded Postgres */
	const char *database_file; /* where it came from; NULL = not from a file */
	const char *data_dir;	   /* of the embedded Postgres; default ./millrace-data */
	const char *pg_bindir;	   /* where initdb and postgres are; default from pg_config at build time */
	const char *cluster_cache; /* folder of the prepared cluster; empty = none; NULL = the user's cache */
	const char *token;		/* serve: sets the token of namespace default; export, import: the namespace's */
	const char *token_file; /* where it came from; NULL = not from a file */
	const char *tls_cert, *tls_key; /* files; NULL = plain HTTP */
	const char *new_token_file;		/* NULL: a new token is printed */
	const char *allowed_hosts;		/* of listeners without tokens, with commas between; NULL = none */
	bool test_mode;
	bool without_authentication; /* test mode may serve a database that is not its own */
	int64_t workers;			 /* 0 = one for two cores, at least 1, at most 4 */
	const char *log_level;		 /* debug, info, warning, error */
	const char *log_format;		 /* text, json */
	int64_t log_slow;			 /* ms, 1000 */
	const char *cors_origin;	 /* NULL = off */
	/* limits */
	int64_t max_body;		  /* bytes, 100 MiB */
	int64_t max_header;		  /* bytes, 64 KiB */
	int64_t request_timeout;  /* s, 30: the whole request must have arrived */
	int64_t idle_timeout;	  /* s, 120 */
	int64_t max_connections;  /* client connections a worker, 20000 */
	int64_t max_imports;	  /* at a time, a worker, 16 */
	int64_t max_exports;	  /* at a time, a worker, 64 */
	int64_t buffer_bytes;	  /* of requests, and as many of unread replies, a worker, 512 MiB */
	int64_t read_connections; /* to Postgres, a worker, 2 */
	int64_t queue_requests;	  /* waiting requests a worker, 10000 */
	int64_t queue_bytes;	  /* waiting bytes a worker, 256 MiB */
	int64_t batch_messages;	  /* in one append batch, 1000 */
	int64_t batch_bytes;	  /* in one append batch, 8 MiB (one larger request goes alone) */
	int64_t retry_window;	  /* s, 60 */
	int64_t answer_timeout;	  /* s, 30; ten times that for namespace calls, import and export */
	int64_t drain_timeout;	  /* s, 30: at SIGTERM */
	/* export and import */
	const char *url;						/* of the server */
	const char *ca_file;					/* of certificates to trust; NULL = the system's */
	bool gzip;								/* the file is compressed */
	const char *output;						/* "-" = stdout */
	const char *input;						/* "-" = stdin */
	const char *categories, *since, *until; /* NULL = without */
	bool force, yes, progress;
};

/* Fills in *config; returns an exit code: -1 go on, else exit with it (message already printed). */
int config_parse(struct config *config, int argc, char **argv);
/* After config_parse, whatever it returned. */
void config_free(struct config *config);

#endif
