/*
 * main: the program `millrace`.
 *
 * `serve` starts from the bottom up: the listening sockets, Postgres (when it is ours), the database's
 * contents, the workers; and stops the other way round.  The main thread then only waits for signals, for the
 * end of Postgres and for the admin listener's requests.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/allocations.h"
#include "serve/bootstrap.h"
#include "serve/certificate.h"
#include "cli/cli.h"
#include "base/clock.h"
#include "base/config.h"
#include "db/db.h"
#include "serve/descriptors.h"
#include "serve/embedded.h"
#include "live/feed.h"
#include "net/listener.h"
#include "base/log.h"
#include "serve/machine.h"
#include "move/move.h"
#include "serve/notify.h"
#include "serve/own_cluster.h"
#include "front/service.h"
#include "net/tls.h"
#include "places/directory.h"
#include "base/version.h"
#include "serve/connections.h"
#include "serve/worker.h"

#define READY_WAIT_MS 10000
#define POLL_MS 2

/* What signal handlers touch; everything else is in struct server. */
static volatile sig_atomic_t stop_signals = 0;
static int stop_fd = -1, reload_fd = -1;

struct server
{
	struct config config;
	struct event_base *base;
	struct event *stop_event, *reload_event;
	struct embedded *embedded; /* NULL with --database */
	const char *conninfo;
	struct notify notify;
	struct bootstrap bootstrap;
	struct own_cluster own_cluster;
	struct admin *admin;
	struct shared shared;			  /* its directory is NULL without --directory */
	struct listeners *listeners;	  /* [nworkers], each until its worker takes it */
	struct worker **workers;		  /* [nworkers] */
	struct connections **connections; /* [nworkers] */
	unsigned nworkers;
	bool wrong_settings; /* why the start failed */
	char place[128];	 /* host:port */
	int port;
};

static void on_stop_signal(int number)
{
	uint64_t one = 1;

	(void)number;
	if (++stop_signals > 1)
		_exit(1);
	if (write(stop_fd, &one, sizeof(one)) < 0)
		return;
}

/* The kernel's says that our terminal has closed, and means to end; any other means to read files again. */
static void on_hangup_signal(int number, siginfo_t *info, void *context)
{
	uint64_t one = 1;

	(void)context;
	if (info->si_code == SI_KERNEL)
		on_stop_signal(number);
	else if (write(reload_fd, &one, sizeof(one)) < 0)
		return;
}

static bool stopping(void)
{
	return stop_signals > 0;
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)what;
	event_base_loopbreak(server->base);
}

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
	const struct server *server = arg;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	certificate_reload(&server->config, server->shared.tls);
}

/* Calls back in the main loop when something is written to *fd, which is made here; NULL: it cannot be. */
static struct event *new_bell(struct server *server, int *fd, event_callback_fn callback)
{
	struct event *event;

	*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	event = *fd < 0 ? NULL : event_new(server->base, *fd, EV_READ | EV_PERSIST, callback, server);
	if (event != NULL)
		event_add(event, NULL);
	return event;
}

static bool catch_signals(struct server *server)
{
	struct sigaction end = {.sa_handler = on_stop_signal};
	struct sigaction hangup = {.sa_sigaction = on_hangup_signal, .sa_flags = SA_SIGINFO};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	server->base = event_base_new();
	if (server->base == NULL)
		return false;
	server->stop_event = new_bell(server, &stop_fd, on_stop);
	server->reload_event = new_bell(server, &reload_fd, on_reload);
	if (server->stop_event == NULL || server->reload_event == NULL)
		return false;
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGHUP, &hangup, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	/*
	 * As a container's first process we get the children of those that died; our own are watched
	 * (serve/embedded.c).
	 */
	if (getpid() == 1 && server->config.database != NULL)
		sigaction(SIGCHLD, &ignore, NULL);
	return true;
}

/* A token that isn't one for namespace default must be known as a mistake before anything starts. */
static bool check_token(const struct config *config, struct buf *error)
{
	char name[MAX_NAMESPACE_NAME + 1];

	if (config->token == NULL)
		return true;
	if (token_parse(slice_of(config->token), name) && strcmp(name, DEFAULT_NAMESPACE) == 0)
		return true;
	buf_add_str(error,
				"--token is not a token for namespace default (ns_ZGVmYXVsdA_ and 64 lowercase hex digits)");
	return false;
}

/* What would fail again, however often the server is started. */
static bool check_settings(struct server *server, struct buf *error)
{
	const struct config *config = &server->config;
	bool right = check_token(config, error) && certificate_read(config, &server->shared.tls, error) &&
				 (config->directory == NULL ||
				  db_check_conninfo("directory", config->directory, config->directory_file, error)) &&
				 (config->database == NULL
					  ? embedded_check_programs(config, error)
					  : db_check_conninfo("database", config->database, config->database_file, error)) &&
				 (config->read_database == NULL || db_check_conninfo("read-database", config->read_database,
																	 config->read_database_file, error));

	server->wrong_settings = !right;
	return right;
}

static bool start_database(struct server *server, struct buf *error)
{
	const struct config *config = &server->config;

	if (config->database == NULL)
	{
		server->embedded = embedded_start(config, server->nworkers, stopping, error);
		if (server->embedded == NULL)
			return false;
		server->conninfo = embedded_conninfo(server->embedded);
	}
	else
		server->conninfo = config->database;
	if (config->directory != NULL)
	{
		server->shared.directory = directory_open(config, stopping, error);
		if (server->shared.directory == NULL ||
			!own_cluster_check(&server->own_cluster, server->base, server->shared.directory, stopping, error))
			return false;
	}
	if (server->embedded == NULL && config->test_mode)
		log_warning("--without-authentication: everybody on this machine can read, write and delete in the "
					"database without a token");
	if (!bootstrap_run(&server->bootstrap, config, server->conninfo, server->embedded != NULL, stopping,
					   error))
	{
		if (server->shared.directory == NULL || !server->bootstrap.away || stopping())
			return false;
		log_warning("%.*s; the namespaces of cluster %s wait for it", (int)error->len, error->data,
					config->cluster);
		buf_clear(error);
	}
	else if (!own_cluster_check_again(&server->own_cluster, stopping, error))
		return false;
	server->shared.pooled = server->bootstrap.pooled;
	if (server->embedded == NULL || embedded_watch(server->embedded, server->base))
		return true;
	buf_add_str(error, "out of memory");
	return false;
}

static bool workers_ready(const struct server *server)
{
	for (unsigned i = 0; i < server->nworkers; i++)
	{
		if (!worker_ready(server->workers[i]) || !worker_readable(server->workers[i]))
			return false;
	}
	return true;
}

static bool start_admin(struct server *server, struct buf *error)
{
	const char *address = server->config.admin_listen;
	evutil_socket_t listener;
	char place[128];

	if (address != NULL && address[0] == '\0')
		return true;
	listener = listener_open_one("--admin-listen", address ? address : CONFIG_ADMIN_LISTEN, place, error);
	if (listener >= 0)
	{
		server->admin = admin_new(server->base, listener, server->workers, server->nworkers);
		if (server->admin == NULL)
		{
			buf_add_str(error, "out of memory");
			return false;
		}
		admin_allow_hosts(server->admin, server->config.allowed_hosts);
		log_info("admin listener on http://%s", place);
		return true;
	}
	if (address != NULL)
	{
		server->wrong_settings = true;
		return false;
	}
	/* The default port was not asked for, so a server starts without it. */
	log_warning("no admin listener: %.*s", (int)error->len, error->data);
	buf_clear(error);
	return true;
}

static bool make_worker(struct server *server, unsigned i)
{
	server->workers[i] =
		worker_new(&server->config, server->conninfo, &server->shared, &server->listeners[i]);
	server->listeners[i].count = 0;
	if (server->workers[i] == NULL || (i == 0 && !worker_sweep(server->workers[i])))
		return false;
	server->connections[i] = connections_new(server->workers[i], server->workers, server->nworkers);
	return server->connections[i] != NULL;
}

/* All of them are there before the first one runs, which may ask the others. */
static bool start_workers(struct server *server, struct buf *error)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < server->nworkers; i++)
		ok = make_worker(server, i);
	for (unsigned i = 0; ok && i < server->nworkers; i++)
		ok = worker_start(server->workers[i]);
	if (ok)
		return true;
	admin_free(server->admin); /* it asks all workers */
	server->admin = NULL;
	buf_add_str(error, "could not start a worker thread");
	return false;
}

/* Waits a little, while the admin listener answers. */
static void turn_and_pause(const struct server *server)
{
	static const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};

	event_base_loop(server->base, EVLOOP_NONBLOCK);
	nanosleep(&pause, NULL);
}

/* "Listening" is promised only when the first request can be answered. */
static void wait_until_ready(struct server *server)
{
	uint64_t since = clock_ms();

	while (!server->bootstrap.away && !workers_ready(server) && !stopping())
	{
		if (clock_passed(clock_ms(), since, READY_WAIT_MS))
		{
			log_warning("the database accepts no writes; appends wait for it");
			return;
		}
		turn_and_pause(server);
	}
}

/*
 * Where the page is; for a terminal, which no log keeps, with the token that opens it.  A browser does not
 * send what is behind the #.
 */
static void announce_page(const struct server *server, const char *scheme)
{
	const char *token = server->bootstrap.token[0] != '\0' ? server->bootstrap.token : server->config.token;
	bool shown = token != NULL && !server->config.test_mode && isatty(STDOUT_FILENO);

	if (strcmp(server->config.ui, "on") == 0)
		printf("The web page: %s://localhost:%d/ui/%s%s\n", scheme, server->port, shown ? "#token=" : "",
			   shown ? token : "");
}

static void announce(const struct server *server)
{
	const struct bootstrap *bootstrap = &server->bootstrap;
	const char *file = server->config.new_token_file;
	bool created = bootstrap->token[0] != '\0';
	bool secured = !server->config.test_mode;
	const char *scheme = server->shared.tls != NULL ? "https" : "http";

	printf("millrace: listening on %s://%s (%u worker%s, PostgreSQL %s)\n", scheme, server->place,
		   server->nworkers, server->nworkers == 1 ? "" : "s",
		   bootstrap->away ? "away" : bootstrap->server_version);
	if (created && file != NULL)
		printf("Namespace default was created. Its token, which opens everything, is in %s\n", file);
	else if (!created && secured && server->config.token == NULL)
		printf("Namespace default exists with its token; to set a new one: millrace serve --token TOKEN\n");
	if ((created && file == NULL) || !secured)
		printf("\nTry it:\n\n"
			   "    curl -s%s %s://localhost:%d/rpc%s%s%s -d "
			   "'[\"stream.write\",\"greetings-1\",{\"type\":\"Hello\",\"data\":{\"text\":\"world\"}}]'\n\n",
			   server->shared.tls != NULL ? "k" : "", scheme, server->port,
			   secured ? " -H 'Authorization: Bearer " : "", bootstrap->token, secured ? "'" : "");
	announce_page(server, scheme);
	fflush(stdout);
}

static bool start(struct server *server, struct buf *error)
{
	server->nworkers = machine_workers(&server->config);
	descriptors_reserve(&server->config, server->nworkers);
	server->listeners = calloc(server->nworkers, sizeof(*server->listeners));
	server->workers = calloc(server->nworkers, sizeof(struct worker *));
	server->connections = calloc(server->nworkers, sizeof(struct connections *));
	if (server->listeners == NULL || server->workers == NULL || server->connections == NULL ||
		!catch_signals(server))
	{
		buf_add_str(error, "out of memory or descriptors");
		return false;
	}
	server->port = (int)server->config.port;
	/* The sockets come first: a port that is taken shows before a database is touched, and a token made. */
	if (!check_settings(server, error) ||
		!listener_open(server->listeners, server->nworkers, server->config.listen, &server->port,
					   server->place, error) ||
		!start_admin(server, error) || !start_database(server, error) || !start_workers(server, error))
		return false;
	if (server->admin != NULL)
		admin_tell_of(server->admin, server->embedded, server->shared.tls, server->shared.directory);
	return true;
}

static bool workers_ended(const struct server *server)
{
	for (unsigned i = 0; server->workers && i < server->nworkers; i++)
	{
		if (server->workers[i] != NULL && !worker_ended(server->workers[i]))
			return false;
	}
	return true;
}

/* Says that we are not ready, then takes no more connections, and finishes what is in flight. */
static void drain(struct server *server)
{
	admin_drain(server->admin);
	for (unsigned i = 0; server->workers && i < server->nworkers; i++)
	{
		if (server->workers[i] != NULL)
			worker_stop(server->workers[i]);
	}
	while (!workers_ended(server))
		turn_and_pause(server);
}

static void stop(struct server *server)
{
	drain(server);
	admin_free(server->admin);
	for (unsigned i = 0; server->workers && server->connections && i < server->nworkers; i++)
	{
		connections_end(server->connections[i]);
		worker_free(server->workers[i]);
	}
	for (unsigned i = 0; server->connections && i < server->nworkers; i++)
		connections_free(server->connections[i]);
	own_cluster_free(&server->own_cluster);
	directory_close(server->shared.directory);
	feed_wakes_close(&server->shared.wakes);
	quotas_free(&server->shared.quotas);
	for (unsigned i = 0; server->listeners && i < server->nworkers; i++)
		listener_close(&server->listeners[i]);
	tls_free(server->shared.tls);
	embedded_stop(server->embedded);
	if (server->stop_event != NULL)
		event_free(server->stop_event);
	if (server->reload_event != NULL)
		event_free(server->reload_event);
	if (server->base != NULL)
		event_base_free(server->base);
	free(server->workers);
	free(server->connections);
	free(server->listeners);
}

static int serve(struct server *server)
{
	struct buf error = {0};
	bool started;

	notify_open(&server->notify);
	started = start(server, &error);
	if (started)
	{
		wait_until_ready(server);
		if (!stopping())
		{
			announce(server);
			notify_send(&server->notify, "READY=1");
			embedded_serving(server->embedded);
			event_base_dispatch(server->base);
		}
		log_info("stopping");
	}
	else if (stopping())
		log_info("%.*s", (int)error.len, error.data ? error.data : "");
	else
		log_error("%.*s", (int)error.len, error.data ? error.data : "");
	notify_send(&server->notify, "STOPPING=1");
	stop(server);
	buf_free(&error);
	return (started && !server->own_cluster.wrong) || stopping() ? 0 : server->wrong_settings ? 2 : 1;
}

static int run(struct server *server)
{
	const struct config *config = &server->config;

	if (config->command == COMMAND_EXPORT)
		return cli_export(config);
	if (config->command == COMMAND_IMPORT)
		return cli_import(config);
	if (config->command == COMMAND_CONSUME)
		return cli_consume(config);
	if (config->command == COMMAND_ARCHIVE)
		return cli_archive(config);
	if (config->command == COMMAND_PURGE)
		return cli_purge(config);
	if (config->command == COMMAND_MOVE)
		return move_run(config);
	/* config_parse has checked both words. */
	log_setup(config->log_level, config->log_format);
	return serve(server);
}

int main(int argc, char **argv)
{
	struct server server = {.port = 0};
	int code;

	allocations_record(argv);
	code = config_parse(&server.config, argc, argv);
	if (code < 0)
		code = run(&server);
	config_free(&server.config);
	return code;
}
