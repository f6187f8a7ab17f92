/*
 * config: every setting of the program, in one table a command.
 *
 * config.c holds the tables (name, type, default, range, help text), by which flags and MILLRACE_*
 * environment variables are read and `--help` is written.  Flags beat the environment, the environment
 * beats defaults.
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
	COMMAND_CONSUME,
	COMMAND_ARCHIVE,
	COMMAND_PURGE,
};

struct config
{
	enum config_command command; /* only its settings are set */
	/* Where each setting came from, an enum setting_source, in the order of the command's table. */
	unsigned char sources[CONFIG_SETTINGS_MAX];
	/* serve */
	int64_t port;			   /* 0 = any free port */
	const char *listen;		   /* address; NULL = all, IPv4 and IPv6 */
	const char *admin_listen;  /* host:port; empty = none; NULL = CONFIG_ADMIN_LISTEN if it is free */
	const char *database;	   /* libpq connection string; NULL = the private PostgreSQL */
	const char *database_file; /* where it came from; NULL = not from a file */
	const char *read_database; /* the same of its standbys; NULL = all reads go to `database` */
	const char *read_database_file;
	const char *data_dir;	   /* of the private PostgreSQL */
	const char *pg_bindir;	   /* where initdb and postgres are */
	const char *cluster_cache; /* folder of the prepared cluster; empty = none; NULL = the user's cache */
	const char *token;		   /* serve: becomes that of namespace default; else that of the namespace */
	const char *token_file;	   /* where it came from; NULL = not from a file */
	const char *tls_cert, *tls_key; /* files; NULL = plain HTTP */
	const char *new_token_file;		/* NULL: a new token is printed */
	const char *allowed_hosts;		/* of listeners without tokens, with commas between; NULL = none */
	const char *ui;					/* on or off */
	bool test_mode;
	bool without_authentication; /* test mode may serve a database that is not its own */
	int64_t workers;			 /* 0 = by the number of cores */
	const char *log_level;
	const char *log_format;
	bool trace_metadata;	 /* traceparent goes into messages */
	int64_t log_slow;		 /* ms */
	const char *cors_origin; /* NULL = off */
	/* limits */
	int64_t max_body;		   /* bytes */
	int64_t max_header;		   /* bytes */
	int64_t request_timeout;   /* s, until the whole request must have arrived */
	int64_t idle_timeout;	   /* s */
	int64_t max_connections;   /* client connections a worker */
	int64_t max_imports;	   /* at a time, a worker */
	int64_t max_exports;	   /* at a time, a worker */
	int64_t buffer_bytes;	   /* of requests, and as many of unread replies, a worker */
	int64_t read_connections;  /* to PostgreSQL, a worker */
	int64_t queue_requests;	   /* waiting requests a worker */
	int64_t queue_bytes;	   /* waiting bytes a worker */
	int64_t batch_messages;	   /* in one append batch */
	int64_t batch_bytes;	   /* in one append batch; one larger request goes alone */
	int64_t retry_window;	   /* s */
	int64_t min_position_wait; /* s, at a standby */
	int64_t answer_timeout;	   /* s; ten times that for namespace calls, import and export */
	int64_t sweep_interval;	   /* s; 0 = never */
	int64_t drain_timeout;	   /* s, at SIGTERM */
	/* all but serve */
	const char *url;								/* of the server */
	const char *ca_file;							/* of certificates to trust; NULL = the system's */
	bool gzip;										/* the file is compressed */
	const char *output;								/* "-" = stdout */
	const char *input;								/* "-" = stdin */
	const char *categories, *query, *since, *until; /* NULL = without */
	bool force, yes, progress;
	/* archive and purge */
	const char *category, *before;
	const char *namespace_name;
	bool remove, full;
	/* consume */
	const char *consumer; /* its name */
	const char *exec;	  /* a shell's command; NULL = messages are printed */
	const char *member;	  /* NULL: made of the host's name and the process id */
	int64_t max;		  /* messages of a claim */
	int64_t lease;		  /* s; 0 = the consumer's */
	bool once;
};

/* Fills in *config.  Returns -1, or the code to exit with: help, or what is wrong, was printed. */
int config_parse(struct config *config, int argc, char **argv);
/* After config_parse, whatever it returned. */
void config_free(struct config *config);

#endif
