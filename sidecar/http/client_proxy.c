/*
 * client_proxy.c: by way of a proxy, where the environment names one (see client_internal.h).
 *
 * The variables and their rules are curl's: http_proxy in lower case only, since a web server gives
 * HTTP_PROXY to its CGI programs from a header.  A server on this machine is never asked by way of a proxy.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "http/client_internal.h"

#include "base/url_query.h"

#define DEFAULT_PORT "1080" /* curl's */
#define MAX_LOGIN 256
#define MAX_REPLY 8192

/* NULL: neither is there, or what is there is empty. */
static const char *variable(const char *name, const char *other)
{
	const char *value = getenv(name);

	if ((value == NULL || value[0] == '\0') && other != NULL)
		value = getenv(other);
	return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool is_here(const char *host)
{
	unsigned char address[16];

	if (inet_pton(AF_INET, host, address) == 1)
		return address[0] == IN_LOOPBACKNET;
	if (inet_pton(AF_INET6, host, address) == 1)
		return IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)address);
	return strcasecmp(host, "localhost") == 0;
}

/* Whether no_proxy holds the host, a domain above it, or *. */
static bool is_excepted(const char *host)
{
	const char *at = variable("no_proxy", "NO_PROXY");
	size_t host_len = strlen(host);

	for (; at != NULL && *at != '\0'; at += strcspn(at, ", "))
	{
		size_t len;

		at += strspn(at, ", ");
		at += *at == '.';
		len = strcspn(at, ", ");
		if (len == 1 && *at == '*')
			return true;
		if (len > 0 && len <= host_len && strncasecmp(host + host_len - len, at, len) == 0 &&
			(len == host_len || host[host_len - len - 1] == '.'))
			return true;
	}
	return false;
}

/* Decodes %40 and its like in place; returns the new length. */
static size_t decode(char *text, size_t len)
{
	struct slice rest = {text, len};
	size_t out = 0;

	while (rest.len > 0)
		text[out++] = url_query_take(&rest, false);
	return out;
}

/* Takes the user and the password out of the URL `proxy`, in place. */
static bool take_login(struct cli_http *http, char *proxy)
{
	char *begin = strstr(proxy, "://") + 3;
	char *end = begin + strcspn(begin, "/?#");
	char *at = memrchr(begin, '@', (size_t)(end - begin));

	if (at == NULL)
		return true;
	if (at - begin > MAX_LOGIN)
		return false;
	EVP_EncodeBlock((unsigned char *)http->proxy_login, (const unsigned char *)begin,
					(int)decode(begin, (size_t)(at - begin)));
	memmove(begin, at + 1, strlen(at + 1) + 1);
	return true;
}

static bool parse_proxy(struct cli_http *http, const char *name, const char *value, struct cli_address *proxy)
{
	struct cli_http parsed = {.fd = -1};
	char url[600];
	int len = snprintf(url, sizeof(url), "%s%s", strstr(value, "://") == NULL ? "http://" : "", value);

	if (len > 0 && len < (int)sizeof(url) && strncasecmp(url, "http://", 7) == 0 && take_login(http, url) &&
		cli_http_parse_url(&parsed, url, proxy) && parsed.base[0] == '\0')
	{
		if (strcmp(proxy->port, "80") == 0 && strstr(parsed.host, ":80") == NULL)
			snprintf(proxy->port, sizeof(proxy->port), DEFAULT_PORT);
		snprintf(http->proxy, sizeof(http->proxy), "the proxy %.200s:%s", proxy->host, proxy->port);
		return true;
	}
	/* Not the value: there may be a password in it. */
	http->wrong_settings = true;
	return cli_http_fail(http, "%s is not a URL like http://proxy.example:3128", name);
}

bool cli_proxy_find(struct cli_http *http, const struct cli_address *address, struct cli_address *proxy)
{
	const char *name = address->tls ? "https_proxy" : "http_proxy";
	const char *value = variable(name, address->tls ? "HTTPS_PROXY" : NULL);

	if (value == NULL)
	{
		name = "all_proxy";
		value = variable(name, "ALL_PROXY");
	}
	if (value == NULL || is_here(address->host) || is_excepted(address->host))
		return true;
	return parse_proxy(http, name, value, proxy);
}

/* Reads up to the end of the reply's head, and not a byte of what comes behind. */
static bool read_reply(const struct cli_http *http, char reply[MAX_REPLY])
{
	size_t len = 0;

	while (len < MAX_REPLY - 1 && recv(http->fd, reply + len, 1, 0) == 1)
	{
		reply[++len] = '\0';
		if (len >= 4 && memcmp(reply + len - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	return false;
}

bool cli_proxy_tunnel(struct cli_http *http, const struct cli_address *address)
{
	const char *open = strchr(address->host, ':') != NULL ? "[" : "";
	const char *close = open[0] != '\0' ? "]" : "";
	char reply[MAX_REPLY];
	struct buf head = {0};
	bool sent;
	int status = 0;

	buf_printf(&head, "CONNECT %s%s%s:%s HTTP/1.1\r\nHost: %s%s%s:%s\r\n", open, address->host, close,
			   address->port, open, address->host, close, address->port);
	if (http->proxy_login[0] != '\0')
		buf_printf(&head, "Proxy-Authorization: Basic %s\r\n", http->proxy_login);
	buf_add_str(&head, "\r\n");
	sent = !head.failed && send(http->fd, head.data, head.len, MSG_NOSIGNAL) == (ssize_t)head.len;
	buf_free(&head);
	if (!sent || !read_reply(http, reply) || sscanf(reply, "HTTP/1.%*1[01] %3d", &status) != 1)
		return cli_http_fail(http, "%s does not answer as one", http->proxy);
	if (status / 100 == 2)
		return true;
	return cli_http_fail(http, "%s refused to connect to %s: %.*s", http->proxy, address->host,
						 (int)strcspn(reply + strlen("HTTP/1.x "), "\r\n"), reply + strlen("HTTP/1.x "));
}
