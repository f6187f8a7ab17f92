/*
 * client: one HTTP/1.1 request to a server, over https and by way of a proxy where it must be.  Blocks until
 * it is connected.
 */
#ifndef MILLRACE_HTTP_CLIENT_H
#define MILLRACE_HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/slice.h"
#include "http/parse.h"

enum cli_http_state
{
	CLI_HTTP_MORE,
	CLI_HTTP_END,	 /* the reply is complete */
	CLI_HTTP_FAILED, /* it is not: see error */
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

/* False: http->error says why.  `ca_file`: for https, the authorities to trust; NULL = the system's. */
bool cli_http_connect(struct cli_http *http, const char *url, const char *ca_file);
/* Sends the head of the request; waits until it is sent.  False: http->error says why. */
bool cli_http_request(struct cli_http *http, const struct cli_request *request);
/* Like send on a nonblocking socket. */
ssize_t cli_http_send(struct cli_http *http, const void *bytes, size_t len);
/* Waits until the socket may be readable (POLLIN) or writable (POLLOUT). */
void cli_http_wait(const struct cli_http *http, short events);
/* Receives what is there, perhaps nothing, and hands on what came of the body. */
enum cli_http_state cli_http_receive(struct cli_http *http);
/* After cli_http_connect, whatever it returned. */
void cli_http_close(struct cli_http *http);
/* Appends text to a URL's query, percent-encoded. */
void cli_http_escape(struct buf *out, const char *text);

#endif
