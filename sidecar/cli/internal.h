/*
 * cli_internal: what the files of the cli family share; nobody else includes it.
 *
 *     cli.c                messages and progress on stderr
 *     http/client.c        one HTTP request
 *     http/client_proxy.c  by way of a proxy
 *     http/client_tls.c    the same over https
 *     output.c             a file that appears whole or not at all
 *     export.c, import.c   the commands
 */
#ifndef MILLRACE_CLI_INTERNAL_H
#define MILLRACE_CLI_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "http/parse.h"
#include "base/slice.h"

/* ---- cli.c ---------------------------------------------------------------- */

enum cli_exit
{
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
};

void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct cli_http;
enum cli_exit cli_exit_code(const struct cli_http *http, bool done);
/* What an HTTP reply other than 200 says, from its JSON if it is ours. */
void cli_complain_reply(int status, struct slice body);
/* The value of a member of a checked object; .bytes NULL: it has none. */
struct slice cli_member(struct slice object, const char *name);
/* Prints a JSON string's text to `out`, or what else the value is. */
void cli_decode(struct slice value, struct buf *out);

/* A line on the terminal that says how far it is; silent when stderr is none. */
struct cli_progress
{
	bool terminal;
	const char *verb; /* "exported" */
	uint64_t messages;
	uint64_t started_ms, shown_ms;
};

void cli_progress_start(struct cli_progress *progress, const char *verb);
void cli_progress_update(struct cli_progress *progress, uint64_t messages);
/* Ends the line: with the total when done, else so that a message can follow. */
void cli_progress_end(struct cli_progress *progress, bool done);

/* ---- http/client.c ---------------------------------------------------------- */

enum cli_http_state
{
	CLI_HTTP_MORE,
	CLI_HTTP_END,	 /* the reply is complete */
	CLI_HTTP_FAILED, /* it is not: see error */
};

/* Where a server is, from its URL. */
struct cli_address
{
	char host[256]; /* an IPv6 address without brackets */
	char port[8];
	bool tls;
};

struct cli_http
{
	/* Takes a part of the body; false: the caller gave up.  http->status is known. */
	bool (*data)(void *arg, struct slice bytes);
	void *arg;

	int fd;				/* -1 = none; nonblocking */
	bool ended;			/* the server closed it */
	struct ssl_st *ssl; /* NULL = not https */
	char host[300], base[300];
	char proxy[300];	   /* what errors call the one that is connected to; empty = none */
	char proxy_login[400]; /* user and password for it, in base64; empty = none */
	struct buf head;
	int status; /* 0 until the head is in */
	bool gzip;	/* the body's encoding */
	bool chunked, has_length;
	uint64_t left; /* of the body, when it has a length */
	struct http_chunked chunks;
	char error[400];
	bool wrong_settings; /* it is they that failed, and will again */
};

struct cli_request
{
	const char *method;
	const char *target;	 /* path and query */
	const char *token;	 /* NULL = none */
	const char *headers; /* more header lines, each with its CR LF */
};

/* False: http->error says why.  `ca_file`: for https, whom to trust; NULL = the system's. */
bool cli_http_connect(struct cli_http *http, const char *url, const char *ca_file);
bool cli_http_request(struct cli_http *http, const struct cli_request *request);
/* Like send on a nonblocking socket. */
ssize_t cli_http_send(struct cli_http *http, const void *bytes, size_t len);
/* Waits until the socket may be readable (POLLIN) or writable (POLLOUT). */
void cli_http_wait(const struct cli_http *http, short events);
/* Receives what is there, perhaps nothing, and hands on what came of the body. */
enum cli_http_state cli_http_receive(struct cli_http *http);
void cli_http_close(struct cli_http *http);
/* Appends text to a URL's query, percent-encoded. */
void cli_http_escape(struct buf *out, const char *text);

/* Takes http[s]://host[:port][/base] apart, into http->host, http->base and *address; false: http->error. */
bool cli_http_parse_url(struct cli_http *http, const char *url, struct cli_address *address);
bool cli_http_fail(struct cli_http *http, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- http/client_proxy.c ------------------------------------------------------ */

/*
 * Looks into http_proxy, https_proxy and no_proxy, as curl does; when there is a proxy for the server at `address`, sets http->proxy and
 * *proxy.  False: the variable makes no sense, see http->error.  A server on this machine has none.
 */
bool cli_proxy_find(struct cli_http *http, const struct cli_address *address, struct cli_address *proxy);
/* On the connected, still blocking http->fd: asks the proxy for a tunnel, which TLS needs; false: http->error. */
bool cli_proxy_tunnel(struct cli_http *http, const struct cli_address *address);

/* ---- http/client_tls.c -------------------------------------------------------- */

/* On the connected, still blocking http->fd; false: http->error says why. */
bool cli_tls_start(struct cli_http *http, const char *url, const char *host, const char *ca_file);
void cli_tls_end(struct cli_http *http);
/* Like recv and send. */
ssize_t cli_tls_receive(struct cli_http *http, void *bytes, size_t len);
ssize_t cli_tls_send(struct cli_http *http, const void *bytes, size_t len);

/* ---- output.c ------------------------------------------------------------------ */

struct cli_output
{
	const char *name; /* as the user wrote it; NULL = standard output */
	int fd;
	char path[4096]; /* final, symbolic links resolved; empty: `fd` is not a file of ours */
};

/* False: it was complained about. */
bool cli_output_open(struct cli_output *output, const char *name);
bool cli_output_write(struct cli_output *output, struct slice bytes);
/* Makes the file durable and gives it its name. */
bool cli_output_finish(struct cli_output *output);
/* Leaves nothing behind. */
void cli_output_discard(struct cli_output *output);

#endif
