/*
 * listener: listening sockets; see listener.h.
 */
#include "net/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
#define MAX_HOST 256

static int port_of(const struct sockaddr *address)
{
	return ntohs(address->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
												: ((const struct sockaddr_in *)address)->sin_port);
}

static void set_port(struct sockaddr *address, int port)
{
	if (address->sa_family == AF_INET6)
		((struct sockaddr_in6 *)address)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)address)->sin_port = htons((uint16_t)port);
}

/* A host as a URL has it, and the port. */
static void write_place(char place[LISTENER_PLACE], const char *host, int port)
{
	snprintf(place, LISTENER_PLACE, strchr(host, ':') ? "[%.64s]:%d" : "%.64s:%d", host, port);
}

/* Opens one socket; -1: errno.  `dual`: an IPv6 one that takes IPv4 too. */
static int open_socket(const struct sockaddr *address, socklen_t len, bool dual, bool shared)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, v6only = !dual, saved;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
	if ((!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
		bind(fd, address, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/*
 * With SO_REUSEPORT a second server of the same user would silently share our port.  Without it the kernel
 * refuses, so a first try without it tells whether another one is there.
 */
static bool is_free(const struct sockaddr *address, socklen_t len, bool dual)
{
	int fd = open_socket(address, len, dual, false);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* Opens one address for every worker; a port 0 in it becomes the one found. */
static bool open_address(struct listeners *sets, unsigned nsets, struct sockaddr *address, socklen_t len,
						 bool dual)
{
	if (port_of(address) != 0 && !is_free(address, len, dual))
		return false;
	for (unsigned i = 0; i < nsets; i++)
	{
		int fd = open_socket(address, len, dual, true);

		if (fd < 0)
			return false;
		sets[i].sockets[sets[i].count++] = fd;
		if (port_of(address) == 0)
			getsockname(fd, address, &len);
	}
	return true;
}

/* All addresses: one IPv6 socket takes both kinds; a kernel without IPv6 has only the other. */
static bool open_everywhere(struct listeners *sets, unsigned nsets, int *port, char place[LISTENER_PLACE])
{
	struct sockaddr_storage storage = {.ss_family = AF_INET6}; /* all zeros: any address */
	struct sockaddr *address = (struct sockaddr *)&storage;
	bool opened;

	set_port(address, *port);
	opened = open_address(sets, nsets, address, sizeof(struct sockaddr_in6), true);
	if (!opened && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
	{
		storage = (struct sockaddr_storage){.ss_family = AF_INET};
		set_port(address, *port);
		opened = open_address(sets, nsets, address, sizeof(struct sockaddr_in), false);
	}
	*port = port_of(address);
	write_place(place, address->sa_family == AF_INET6 ? "::" : "0.0.0.0", *port);
	return opened;
}

/* One name may stand for several addresses, as localhost does. */
static bool open_name(struct listeners *sets, unsigned nsets, const char *name, int *port,
					  char place[LISTENER_PLACE], struct buf *error)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found, *at;
	int rc = getaddrinfo(name, NULL, &hints, &found);
	bool opened = rc == 0;

	if (rc != 0)
	{
		buf_printf(error, "--listen %s: %s", name, gai_strerror(rc));
		return false;
	}
	for (at = found; opened && at != NULL && sets[0].count < LISTENER_MAX; at = at->ai_next)
	{
		set_port(at->ai_addr, *port);
		opened = open_address(sets, nsets, at->ai_addr, at->ai_addrlen, false);
		/* A name may have an address of a kind that this machine hasn't, as localhost's ::1 in containers. */
		if (!opened && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT) &&
			(at->ai_next || sets[0].count > 0))
			opened = true;
		else if (opened)
			*port = port_of(at->ai_addr);
	}
	freeaddrinfo(found);
	write_place(place, name, *port);
	return opened;
}

bool listener_open(struct listeners *sets, unsigned nsets, const char *address, int *port,
				   char place[LISTENER_PLACE], struct buf *error)
{
	bool opened;

	memset(sets, 0, nsets * sizeof(*sets));
	if (address == NULL || address[0] == '\0')
		opened = open_everywhere(sets, nsets, port, place);
	else
		opened = open_name(sets, nsets, address, port, place, error);
	if (opened)
		return true;
	if (error->len == 0)
		buf_printf(error, "could not listen on %s: %s%s", place, strerror(errno),
				   errno == EADDRINUSE ? "; choose another --port (0 takes a free one)" : "");
	for (unsigned i = 0; i < nsets; i++)
		listener_close(&sets[i]);
	return false;
}

void listener_close(struct listeners *set)
{
	while (set->count > 0)
		close(set->sockets[--set->count]);
}

/* Splits "host:port" or "[host]:port"; false when it is neither. */
static bool split_address(const char *address, char host[MAX_HOST], int *port)
{
	const char *colon = strrchr(address, ':');
	size_t len = colon ? (size_t)(colon - address) : 0;
	char *end;
	long number;

	if (colon == NULL || len >= MAX_HOST)
		return false;
	if (len >= 2 && address[0] == '[' && address[len - 1] == ']')
		snprintf(host, MAX_HOST, "%.*s", (int)len - 2, address + 1);
	else
		snprintf(host, MAX_HOST, "%.*s", (int)len, address);
	number = strtol(colon + 1, &end, 10);
	*port = (int)number;
	return end != colon + 1 && *end == '\0' && number >= 0 && number <= 65535 && host[0] != '\0';
}

evutil_socket_t listener_open_one(const char *flag, const char *address, char place[LISTENER_PLACE],
								  struct buf *error)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char host[MAX_HOST];
	int port, rc, fd = -1;

	if (!split_address(address, host, &port))
	{
		buf_printf(error, "%s %s: is not host:port", flag, address);
		return -1;
	}
	rc = getaddrinfo(host, NULL, &hints, &found);
	if (rc != 0)
	{
		buf_printf(error, "%s %s: %s", flag, address, gai_strerror(rc));
		return -1;
	}
	for (struct addrinfo *at = found; fd < 0 && at != NULL; at = at->ai_next)
	{
		set_port(at->ai_addr, port);
		fd = open_socket(at->ai_addr, at->ai_addrlen, true, false);
		if (fd >= 0 && getsockname(fd, at->ai_addr, &at->ai_addrlen) == 0)
			port = port_of(at->ai_addr);
	}
	if (fd < 0)
		buf_printf(error, "%s %s: could not listen: %s", flag, address, strerror(errno));
	freeaddrinfo(found);
	write_place(place, host, port);
	return fd;
}
