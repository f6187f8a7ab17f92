/*
 * client_url.c: where a URL leads, and what is told when it leads nowhere (see client_internal.h).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/client_internal.h"

bool cli_http_fail(struct cli_http *http, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(http->error, sizeof(http->error), format, args);
	va_end(args);
	return false;
}

static bool refuse_url(struct cli_http *http, const char *url)
{
	http->wrong_settings = true;
	return cli_http_fail(http, "\"%s\" is not a URL like http://localhost:8080", url);
}

bool cli_http_parse_url(struct cli_http *http, const char *url, struct cli_address *address)
{
	const char *authority;
	size_t len, host_len;
	const char *colon;

	address->tls = strncasecmp(url, "https://", 8) == 0;
	authority = url + (address->tls ? 8 : 7);
	if (!address->tls && strncasecmp(url, "http://", 7) != 0)
		return refuse_url(http, url);
	len = strcspn(authority, "/?#");
	if (authority[len] == '?' || authority[len] == '#' || memchr(authority, '@', len) != NULL ||
		len >= sizeof(address->host) || strlen(authority + len) >= sizeof(http->base))
		return refuse_url(http, url);
	snprintf(http->host, sizeof(http->host), "%.*s", (int)len, authority);
	snprintf(http->base, sizeof(http->base), "%s", authority + len);
	while (http->base[0] != '\0' && http->base[strlen(http->base) - 1] == '/')
		http->base[strlen(http->base) - 1] = '\0';
	host_len = http->host[0] == '[' ? strcspn(http->host, "]") + 1 : strcspn(http->host, ":");
	colon = host_len <= len ? http->host + host_len : "?";
	if ((colon[0] != ':' && colon[0] != '\0') || strlen(colon) > 6 || host_len == 0)
		return refuse_url(http, url);
	snprintf(address->port, sizeof(address->port), "%s",
			 colon[0] == ':' ? colon + 1
			 : address->tls	 ? "443"
							 : "80");
	if (http->host[0] == '[')
		snprintf(address->host, sizeof(address->host), "%.*s", (int)host_len - 2, http->host + 1);
	else
		snprintf(address->host, sizeof(address->host), "%.*s", (int)host_len, http->host);
	return true;
}
