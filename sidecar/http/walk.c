/*
 * walk.c: lists the connections; see http.h.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http/internal.h"

static void describe_peer(const struct http_connection *c, struct http_client *client)
{
	static const char mapped[] = "::ffff:";
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	char host[INET6_ADDRSTRLEN], port[6];
	const char *shown = host;

	if (c->state == CONNECTION_CLOSED ||
		getpeername(c->transport.fd, (struct sockaddr *)&address, &len) != 0 ||
		getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
					NI_NUMERICHOST | NI_NUMERICSERV) != 0)
	{
		snprintf(client->peer, sizeof(client->peer), "gone");
		return;
	}
	/* One of IPv4 that came in by a socket of IPv6. */
	if (strncmp(host, mapped, sizeof(mapped) - 1) == 0 && strchr(host, '.') != NULL)
		shown += sizeof(mapped) - 1;
	snprintf(client->peer, sizeof(client->peer), strchr(shown, ':') ? "[%s]:%s" : "%s:%s", shown, port);
}

static void describe(const struct http_connection *c, struct http_client *client)
{
	static const char *const states[CONNECTION_STATES] = {
		[CONNECTION_HANDSHAKING] = "handshake",
		[CONNECTION_SURPLUS] = "turned away",
		[CONNECTION_IDLE] = "idle",
		[CONNECTION_RECEIVING] = "receiving",
		[CONNECTION_STREAMING] = "streaming",
		[CONNECTION_WORKING] = "working",
		[CONNECTION_LINGERING] = "lingering",
		[CONNECTION_CLOSED] = "closed",
	};
	uint64_t now = clock_ms();

	*client = (struct http_client){
		.state = states[c->state],
		.path = c->request.held ? http_path(&c->request) : (struct slice){"", 0},
		.age_ms = clock_span(c->accepted, now),
		.quiet_ms = clock_span(c->since, now),
		.requests = c->requests,
		.bytes_in = c->transport.bytes_in,
		.bytes_out = c->transport.bytes_out,
		.unsent = connection_unsent(c),
	};
	describe_peer(c, client);
}

void http_request_describe(const struct http_request *request, struct http_client *client)
{
	describe(request->connection, client);
}

void http_server_walk(const struct http_server *server,
					  void (*visit)(void *arg, const struct http_client *client), void *arg)
{
	for (int state = 0; state < CONNECTION_STATES; state++)
	{
		for (const struct http_connection *c = TAILQ_FIRST(&server->lists[state]); c != NULL;
			 c = TAILQ_NEXT(c, link))
		{
			struct http_client client;

			describe(c, &client);
			visit(arg, &client);
		}
	}
}
