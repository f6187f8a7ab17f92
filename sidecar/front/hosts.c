/*
 * hosts.c: compares names (see hosts.h).
 */
#include "front/hosts.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define SEPARATORS ", \t"

static bool is_name(struct slice host, const char *name, size_t len)
{
	return host.len == len && strncasecmp(host.bytes, name, len) == 0;
}

/* Cuts the port off, and the brackets of an address of IPv6. */
static struct slice without_port(struct slice host)
{
	const char *end;

	if (host.len > 0 && host.bytes[0] == '[')
	{
		end = memchr(host.bytes, ']', host.len);
		return end != NULL ? (struct slice){host.bytes + 1, (size_t)(end - host.bytes - 1)} : host;
	}
	end = memchr(host.bytes, ':', host.len);
	return end != NULL ? (struct slice){host.bytes, (size_t)(end - host.bytes)} : host;
}

static bool is_address(struct slice host)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char address[sizeof(struct in6_addr)];

	if (host.len >= sizeof(text))
		return false;
	memcpy(text, host.bytes, host.len);
	text[host.len] = '\0';
	return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

bool hosts_allow(const char *allowed, struct slice host)
{
	if (host.bytes == NULL || host.len == 0)
		return true;
	host = without_port(host);
	if (is_address(host) || is_name(host, "localhost", strlen("localhost")))
		return true;
	while (allowed != NULL && *(allowed += strspn(allowed, SEPARATORS)) != '\0')
	{
		size_t len = strcspn(allowed, SEPARATORS);
		struct slice name = without_port((struct slice){allowed, len});

		if (is_name(host, name.bytes, name.len) || (len == 1 && allowed[0] == '*'))
			return true;
		allowed += len;
	}
	return false;
}

bool hosts_are_one(struct slice origin, struct slice host)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
	{
		size_t len = strlen(schemes[i]);

		if (origin.len > len && strncasecmp(origin.bytes, schemes[i], len) == 0 &&
			is_name((struct slice){origin.bytes + len, origin.len - len}, host.bytes, host.len))
			return true;
	}
	return false;
}
