/*
 * config: every setting of the program, in one table a command; see config.h.
 *
 * A row of the table is a flag (--name), an environment variable (MILLRACE_NAME, upper case,
 * dashes as underscores), a default, a range, and a line of help.  Values stay what they came
 * in: strings point into argv, the environment or the table, so only secrets, which are moved, are freed.
 */
#include "base/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_internal.h"
#include "base/version.h"

#ifndef MILLRACE_PG_BINDIR
#define MILLRACE_PG_BINDIR ""
#endif

static const struct setting serve_settings[] = {
	{"port", "Listening", NUMBER(port, NUMBER, 8080, 0, 65535), .value = "N",
	 .help = "TCP port of the HTTP API; 0 takes a free one"},
	{"listen", "Listening", TEXT(listen, NULL), .value = "ADDRESS",
	 .help = "address of the HTTP API (default: all, IPv4 and IPv6)"},
	{"admin-listen", "Listening", TEXT(admin_listen, NULL), .value = "HOST:PORT",
	 .help = "of /ready, /metrics, /debug (default: " CONFIG_ADMIN_LISTEN " if it is free; none: nowhere)",
	 .optional = true, .none = true},
	{"tls-cert", "Listening", TEXT(tls_cert, NULL), .value = "FILE",
	 .help = "speak https with this certificate, in PEM, its chain behind it; SIGHUP reads it again"},
	{"tls-key", "Listening", TEXT(tls_key, NULL), .value = "FILE",
	 .help = "the certificate's key, in PEM, without a passphrase"},
	{"cors-origin", "Listening", TEXT(cors_origin, NULL), .value = "ORIGIN",
	 .help = "let pages of this origin, or of these with commas between, call /rpc from a browser (* for "
			 "any; default: none)"},
	{"allowed-hosts", "Listening", TEXT(allowed_hosts, NULL), .value = "NAMES",
	 .help = "names, with commas between, under which the admin listener and --test-mode may be addressed "
			 "(besides IP addresses and localhost; * for any)"},
	{"ui", "Listening", TEXT(ui, "on"), .words = "|on|off|", .value = "WORD",
	 .help = "the web page at /ui/: on or off"},
	{"workers", "Listening", NUMBER(workers, NUMBER, 0, 0, 256), .value = "N",
	 .help = "worker threads; 0: one for two cores, at least 1, at most 4"},

	{"database", "Database", TEXT(database, NULL), .value = "CONNINFO",
	 .help =
		 "your PostgreSQL, as any libpq connection string or URI; without it the server runs a private one",
	 .secret = true},
	{"database-file", "Database", TEXT(database_file, NULL), .value = "FILE",
	 .help = "a file with that and nothing else; better where there is a password in it"},
	{"read-database", "Database", TEXT(read_database, NULL), .value = "CONNINFO",
	 .help = "its standbys, in the same way: reads, exports and subscriptions go to one of them, and to "
			 "--database while there is none",
	 .secret = true},
	{"read-database-file", "Database", TEXT(read_database_file, NULL), .value = "FILE",
	 .help = "a file with that and nothing else"},
	{"min-position-wait", "Database", NUMBER(min_position_wait, SECONDS, 5, 0, 3600), .value = "SECONDS",
	 .help = "how long a read with minPosition waits for a standby to have that, before it goes to the "
			 "primary"},
	{"directory", "Database", TEXT(directory, NULL), .value = "CONNINFO",
	 .help = "the database in which it is said at which cluster each namespace is; needs --cluster",
	 .secret = true},
	{"directory-file", "Database", TEXT(directory_file, NULL), .value = "FILE",
	 .help = "a file with that and nothing else"},
	{"directory-copy", "Database", TEXT(directory_copy, NULL), .value = "FILE",
	 .help = "where what the directory says is kept, so that the server can start while that is away"},
	{"cluster", "Database", TEXT(cluster, NULL), .value = "NAME",
	 .help = "which of the directory's clusters --database is"},
	{"data-dir", "Database", TEXT(data_dir, "./millrace-data"), .value = "PATH",
	 .help = "where the private PostgreSQL keeps its data; made on first use"},
	{"pg-bindir", "Database", TEXT(pg_bindir, MILLRACE_PG_BINDIR), .value = "PATH",
	 .help = "where initdb and postgres of the private PostgreSQL are"},
	{"cluster-cache", "Database", TEXT(cluster_cache, NULL), .value = "PATH",
	 .help = "where a prepared PostgreSQL cluster is kept, with which new data directories begin (default: "
			 "millrace in the user's cache folder; none: there is none)",
	 .optional = true, .none = true},
	{"test-mode", "Database", .type = SETTING_SWITCH, .offset = offsetof(struct config, test_mode),
	 .help = "a private PostgreSQL in a temporary folder, nothing durable, no authentication; never for real "
			 "data"},
	{"without-authentication", "Database", .type = SETTING_SWITCH,
	 .offset = offsetof(struct config, without_authentication), .flag_only = true,
	 .help = "let --test-mode open --database to everybody on this machine; --listen must be a loopback "
			 "address"},
	{"read-connections", "Database", NUMBER(read_connections, NUMBER, 2, 1, 64), .value = "N",
	 .help = "connections for reads, a worker (seven more are for appends, namespace calls, import, export "
			 "and subscriptions)"},
	{"retry-window", "Database", NUMBER(retry_window, SECONDS, 60, 0, 3600), .value = "SECONDS",
	 .help = "how long a request may wait for a lost database before it fails"},
	{"answer-timeout", "Database", NUMBER(answer_timeout, SECONDS, 30, 1, 3600), .value = "SECONDS",
	 .help =
		 "how long PostgreSQL may be silent when it was asked something, before the server connects anew; "
		 "ten times that for namespace calls, imports and exports"},
	{"sweep-interval", "Database", NUMBER(sweep_interval, SECONDS, 60, 0, 86400), .value = "SECONDS",
	 .help = "how often what the policies of namespaces no longer want is removed; 0: never by this server"},

	{"token", "Access", TEXT(token, NULL), .value = "TOKEN",
	 .help = "set the token of namespace default; better from a file or as MILLRACE_TOKEN", .secret = true},
	{"token-file", "Access", TEXT(token_file, NULL), .value = "FILE",
	 .help = "a file with that token and nothing else"},
	{"new-token-file", "Access", TEXT(new_token_file, NULL), .value = "FILE",
	 .help = "where the first start writes the token that it makes, instead of printing it"},

	{"log-level", "Logging", TEXT(log_level, "info"), .words = "|debug|info|warning|error|", .value = "LEVEL",
	 .help = "least severity that is logged: debug, info, warning, error"},
	{"log-format", "Logging", TEXT(log_format, "text"), .words = "|text|json|", .value = "FORMAT",
	 .help = "text or json, one line an event, on stderr"},
	{"log-slow", "Logging", NUMBER(log_slow, NUMBER, 1000, 0, 3600000), .value = "MILLISECONDS",
	 .help = "requests that take at least that long are logged; 0: all"},
	{"trace-metadata", "Logging", .type = SETTING_SWITCH, .offset = offsetof(struct config, trace_metadata),
	 .help = "put a request's traceparent into the metadata of its messages"},

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
	{"max-imports", "Limits", NUMBER(max_imports, NUMBER, 16, 1, 10000), .value = "N",
	 .help = "imports at a time, a worker; beyond it: 503"},
	{"max-exports", "Limits", NUMBER(max_exports, NUMBER, 64, 1, 10000), .value = "N",
	 .help = "exports at a time, a worker; beyond it: 503"},
	{"buffer-bytes", "Limits", NUMBER(buffer_bytes, BYTES, 512 * MIB, MIB, 64 * GIB), .value = "BYTES",
	 .help = "memory for requests, as much for unread replies, as much for results of batches, a worker; at "
			 "least twice --max-body and --max-header together"},
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

static const struct setting export_settings[] = {
	SERVER_SETTINGS,

	{"categories", "What", TEXT(categories, NULL), .value = "A,B",
	 .help = "only messages of these categories (default: all)", .optional = true},
	{"query", "What", TEXT(query, NULL), .value = "JSON",
	 .help = "only messages that match this query over types and tags", .optional = true},
	{"since", "What", TEXT(since, NULL), .value = "TIME",
	 .help = "only messages of that time and later, as 2025-01-31T12:00:00Z or 2025-01-31", .optional = true},
	{"until", "What", TEXT(until, NULL), .value = "TIME", .help = "only messages before that time",
	 .optional = true},

	{"output", "Where to", TEXT(output, "-"), .value = "FILE",
	 .help = "written whole or not at all; - is the standard output"},
	{"gzip", "Where to", .type = SETTING_SWITCH, .offset = offsetof(struct config, gzip),
	 .help = "compress, on the server already"},
};

static const struct setting import_settings[] = {
	SERVER_SETTINGS,

	{"input", "What", TEXT(input, "-"), .value = "FILE", .help = "the export; - is the standard input"},
	{"gzip", "What", .type = SETTING_SWITCH, .offset = offsetof(struct config, gzip),
	 .help = "the file is compressed with gzip"},
	{"progress", "What", .type = SETTING_SWITCH, .offset = offsetof(struct config, progress),
	 .help =
		 "have the server tell how far it is while the file is sent; not through proxies that take an early "
		 "answer for the end"},

	{"force", "Where to", .type = SETTING_SWITCH, .offset = offsetof(struct config, force),
	 .help = "delete every message of the namespace first; asks before it does", .flag_only = true},
	{"yes", "Where to", .type = SETTING_SWITCH, .offset = offsetof(struct config, yes), .help = "do not ask",
	 .flag_only = true},
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define SERVE_ALONE                                                                                          \
	"`millrace serve` alone is a whole server: it runs a private PostgreSQL in ./millrace-data,\n"           \
	"listens on port 8080, and at its first start prints the token of namespace default.\n"
#define EXIT_STATUS                                                                                          \
	"\n"                                                                                                     \
	"A flag may have one dash or two, and its value behind it or behind a =.\n"                              \
	"Every flag but --force and --yes is also an environment variable: --url is MILLRACE_URL. Flags beat\n"  \
	"the environment, the environment beats defaults.\n"                                                     \
	"\n"                                                                                                     \
	"Progress is shown on stderr when that is a terminal.\n"                                                 \
	"\n"                                                                                                     \
	"Exit status:\n"                                                                                         \
	"  0 all of it was done; 1 it failed: stderr says why; 2 wrong usage\n"                                  \
	"\n"                                                                                                     \
	"Examples:\n"

static const struct command commands[] = {
	{
		.name = "serve",
		.number = COMMAND_SERVE,
		.settings = serve_settings,
		.nsettings = LENGTH(serve_settings),
		.summary = "run the server",
		.usage = "millrace [serve] [--name value | --name=value]...",
		.description = SERVE_ALONE,
		.notes = "\n"
				 "A flag may have one dash or two. The word serve may be left out where a flag follows.\n"
				 "Bytes may end in k, M or G. Every flag but --without-authentication is also an\n"
				 "environment variable: --log-level is MILLRACE_LOG_LEVEL, an empty one is none. Flags\n"
				 "beat the environment, the environment beats defaults.\n"
				 "\n"
				 "Signals:\n"
				 "  SIGTERM, SIGINT              stop accepting, finish what is in flight, exit; a second "
				 "one exits "
				 "at once\n"
				 "  SIGHUP                       read --tls-cert and --tls-key again\n"
				 "\n"
				 "Exit status:\n"
				 "  0 stopped as asked; 1 could not start, or failed; 2 wrong usage, or wrong settings\n"
				 "\n"
				 "Examples:\n"
				 "  millrace serve --data-dir /var/lib/millrace\n"
				 "  millrace serve --database 'host=db1,db2 dbname=events user=millrace'\n"
				 "  millrace serve --test-mode --port 0\n",
	},
	{
		.name = "export",
		.number = COMMAND_EXPORT,
		.settings = export_settings,
		.nsettings = LENGTH(export_settings),
		.summary = "write the messages of a namespace to a file",
		.usage =
			"millrace export [--url URL] [--ca-file FILE] [--token TOKEN | --token-file FILE]\n"
			"                  [--categories A,B] [--query JSON] [--since TIME] [--until TIME] [--gzip]\n"
			"                  [--output FILE]",
		.description = "Writes the messages of the token's namespace as NDJSON, one object a line, in the "
					   "order of their\n"
					   "global positions:\n"
					   "\n"
					   "  "
					   "{\"id\":...,\"stream\":...,\"type\":...,\"pos\":...,\"gpos\":...,\"data\":...,"
					   "\"meta\":...,\"time\":...}\n"
					   "\n"
					   "The file appears under its name when all of it is there and safe on disk; on any "
					   "failure, and when\n"
					   "interrupted, nothing is left behind.\n",
		.notes = EXIT_STATUS
		"  millrace export --output orders.ndjson --categories order,invoice\n"
		"  millrace export --gzip --output backup.ndjson.gz --url http://events.internal:8080\n"
		"  millrace export --since 2025-01-01 | jq -r .type | sort | uniq -c\n",
	},
	{
		.name = "import",
		.number = COMMAND_IMPORT,
		.settings = import_settings,
		.nsettings = LENGTH(import_settings),
		.summary = "store the messages of such a file in a namespace",
		.usage = "millrace import [--url URL] [--ca-file FILE] [--token TOKEN | --token-file FILE]\n"
				 "                  [--input FILE] [--gzip] [--force [--yes]]",
		.description = "Stores what `millrace export` wrote in the token's namespace: ids, positions, global "
					   "positions and\n"
					   "times stay exactly what they are, and must not be taken yet. New messages then get "
					   "global positions\n"
					   "above all of them.\n"
					   "\n"
					   "A thousand messages are one transaction. At the first line that cannot be stored the "
					   "import stops\n"
					   "and names it; the thousands before it stay stored.\n",
		.notes = EXIT_STATUS
		"  millrace import --input orders.ndjson\n"
		"  millrace import --gzip --input backup.ndjson.gz --force --yes\n"
		"  millrace export --url http://old:8080 --token \"$OLD\" | millrace import --token \"$NEW\"\n",
	},
	{
		.name = "consume",
		.number = COMMAND_CONSUME,
		.settings = config_consume_settings,
		.nsettings = CONFIG_CONSUME_SETTINGS,
		.argument = "consumer",
		.summary = "print the messages of a consumer, or run a command for each",
		.usage = config_consume_usage,
		.description = config_consume_description,
		.notes = config_consume_notes,
	},
	{
		.name = "archive",
		.number = COMMAND_ARCHIVE,
		.settings = config_archive_settings,
		.nsettings = CONFIG_ARCHIVE_SETTINGS,
		.summary = "move the oldest messages of a category into a file",
		.usage = config_archive_usage,
		.description = config_archive_description,
		.notes = config_archive_notes,
	},
	{
		.name = "purge",
		.number = COMMAND_PURGE,
		.settings = config_purge_settings,
		.nsettings = CONFIG_PURGE_SETTINGS,
		.summary = "free what removed messages have left on disk",
		.usage = config_purge_usage,
		.description = config_purge_description,
		.notes = config_purge_notes,
	},
	{
		.name = "move",
		.number = COMMAND_MOVE,
		.settings = config_move_settings,
		.nsettings = CONFIG_MOVE_SETTINGS,
		.argument = "namespace",
		.summary = "take a namespace to another cluster while it is in use",
		.usage = config_move_usage,
		.description = config_move_description,
		.notes = config_move_notes,
	},
};

#define NCOMMANDS LENGTH(commands)

static void set_defaults(struct config *config, const struct command *command)
{
	for (size_t i = 0; i < command->nsettings; i++)
	{
		const struct setting *setting = &command->settings[i];
		char *field = (char *)config + setting->offset;

		if (setting->type == SETTING_TEXT)
			*(const char **)field = setting->text;
		else if (setting->type == SETTING_SWITCH)
			*(bool *)field = false;
		else
			*(int64_t *)field = setting->number;
	}
}

/*
 * Kubernetes gives every container MILLRACE_PORT=tcp://10.96.0.12:8080 where there is a service called
 * millrace.
 */
static bool is_of_kubernetes(const struct setting *setting, const char *text)
{
	return strcmp(setting->name, "port") == 0 &&
		   (strncmp(text, "tcp://", 6) == 0 || strncmp(text, "udp://", 6) == 0 ||
			strncmp(text, "sctp://", 7) == 0);
}

/* For what no flag has set.  An empty variable is none: compose makes one of ${X} where there is no X. */
static bool set_from_environment(struct config *config, const struct command *command)
{
	char variable[VARIABLE_MAX];

	for (size_t i = 0; i < command->nsettings; i++)
	{
		const struct setting *setting = &command->settings[i];
		char *text;

		config_variable_name(setting->name, variable);
		text = setting->flag_only ? NULL : getenv(variable);
		if (text == NULL || text[0] == '\0' || is_of_kubernetes(setting, text))
			continue;
		if (config->sources[i] == SOURCE_FLAG)
		{
			if (setting->secret)
				config_blot(text);
			continue;
		}
		if (!config_set(config, setting, variable, text))
			return false;
		config->sources[i] = SOURCE_ENVIRONMENT;
	}
	return true;
}

static void help(FILE *out)
{
	fputs("millrace: an event and message store inside PostgreSQL, served as JSON-RPC over HTTP\n"
		  "\n"
		  "Usage:\n",
		  out);
	for (size_t i = 0; i < NCOMMANDS; i++)
		fprintf(out, "  millrace %-18s %s\n", commands[i].name, commands[i].summary);
	fprintf(out, "  millrace %-18s %s\n  millrace %-18s %s\n", "version", "print the version",
			"help [COMMAND]", "this, or a command with all its settings");
	fputs("\n" SERVE_ALONE "`millrace help serve` lists its settings.\n", out);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < NCOMMANDS; i++)
	{
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* Something behind one dash or two. */
static bool is_flag(const char *argument)
{
	return argument[0] == '-' && argument[1] != '\0' && strcmp(argument, "--") != 0;
}

static bool is_help(const char *argument)
{
	return strcmp(argument, "-h") == 0 || strcmp(argument, "-help") == 0 || strcmp(argument, "--help") == 0;
}

static void complain_argument(const char *argument)
{
	fprintf(stderr, "millrace: unexpected argument \"%s\"; ", argument);
	if (find_command(argument) != NULL)
		fprintf(stderr, "the command comes first: millrace %s\n", argument);
	else
		fprintf(stderr, "flags are --name value or --name=value\n");
}

/* What stands without a flag. */
static bool take_argument(struct config *config, const struct command *command, const char *argument)
{
	if (command->argument != NULL)
		return config_take_argument(config, command, argument);
	complain_argument(argument);
	return false;
}

/* Its flags are argv[at] and what follows. */
static int parse_command(struct config *config, const struct command *command, int argc, char **argv, int at)
{
	int code;

	config->command = command->number;
	set_defaults(config, command);
	for (; at < argc; at++)
	{
		if (is_help(argv[at]))
		{
			config_help(stdout, command);
			return 0;
		}
		if (is_flag(argv[at]) ? !config_take_flag(config, command, argc, argv, &at)
							  : !take_argument(config, command, argv[at]))
			return 2;
	}
	if (!set_from_environment(config, command))
		return 2;
	code = config_read_secret_files(config, command);
	if (code < 0 && command->number == COMMAND_SERVE &&
		(!config_check_buffer_bytes(config) || !config_check_postgres(config, command) ||
		 !config_check_directory(config)))
		return 2;
	if (code < 0 && command->number == COMMAND_CONSUME && !config_check_consume(config))
		return 2;
	if (code < 0 && command->number == COMMAND_MOVE && !config_check_move(config))
		return 2;
	if (code < 0 && command->number == COMMAND_ARCHIVE && !config_check_archive(config))
		return 2;
	return code;
}

static int complain_command(const char *name)
{
	fprintf(stderr, "millrace: there is no command \"%s\"; `millrace help` lists them all\n", name);
	return 2;
}

static int parse_help(int argc, char **argv)
{
	const struct command *command = argc > 2 ? find_command(argv[2]) : NULL;

	if (command != NULL)
		config_help(stdout, command);
	else if (argc > 2 && strcmp(argv[2], "version") != 0 && strcmp(argv[2], "help") != 0)
		return complain_command(argv[2]);
	else
		help(stdout);
	return 0;
}

int config_parse(struct config *config, int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	const struct command *command = find_command(name);

	if (command != NULL)
		return parse_command(config, command, argc, argv, 2);
	if (strcmp(name, "version") == 0 || strcmp(name, "-version") == 0 || strcmp(name, "--version") == 0)
	{
		puts("millrace " MILLRACE_VERSION);
		return 0;
	}
	if (strcmp(name, "help") == 0 || is_help(name))
		return parse_help(argc, argv);
	if (name[0] == '-')
		return parse_command(config, find_command("serve"), argc, argv, 1);
	if (name[0] != '\0')
		return complain_command(name);
	help(stderr);
	return 2;
}
