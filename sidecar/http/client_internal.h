/*
 * client_internal: what the files of the client share.
 *
 *     client.c        connecting, the request, the reply
 *     client_url.c    where a URL leads
 *     client_proxy.c  by way of a proxy
 *     client_tls.c    https
 */
#ifndef MILLRACE_HTTP_CLIENT_INTERNAL_H
#define MILLRACE_HTTP_CLIENT_INTERNAL_H

#include "http/client.h"

/* ---- client_url.c --------------------------------------------------------------- */

/* Where a server is, from its URL. */
struct cli_address
{
	char host[256]; /* an IPv6 address without brackets */
	char port[8];
	bool tls;
};

/* Takes http[s]://host[:port][/base] apart, into http->host, http->base and *address; false: http->error. */
bool cli_http_parse_url(struct cli_http *http, const char *url, struct cli_address *address);
bool cli_http_fail(struct cli_http *http, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- client_proxy.c ------------------------------------------------------ */

/*
 * Looks into http_proxy, https_proxy and no_proxy, as curl does; when there is a proxy for the server at
 * `address`, sets http->proxy and *proxy.  False: the variable makes no sense, see http->error.  A server on
 * this machine has none.
 */
bool cli_proxy_find(struct cli_http *http, const struct cli_address *address, struct cli_address *proxy);
/*
 * On the connected, still blocking http->fd: asks the proxy for a tunnel, which TLS needs; false:
 * http->error.
 */
bool cli_proxy_tunnel(struct cli_http *http, const struct cli_address *address);

/* ---- client_tls.c -------------------------------------------------------- */

/* On the connected, still blocking http->fd; false: http->error says why. */
bool cli_tls_start(struct cli_http *http, const char *url, const char *host, const char *ca_file);
void cli_tls_end(struct cli_http *http);
/* Like recv and send. */
ssize_t cli_tls_receive(struct cli_http *http, void *bytes, size_t len);
ssize_t cli_tls_send(struct cli_http *http, const void *bytes, size_t len);

#endif
