/*
 * test_front.c: the way of a request through the program's own objects: how often its path is looked at, and
 * its token.  No Postgres is asked, as there is none where `conninfo` says; that is known only when a request
 * has come as far as its token's check.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/auth.h"
#include "base/config.h"
#include "base/stats.h"
#include "places/places.h"
#include "front/service.h"
#include "http/http.h"

static const char conninfo[] = "host=/nonexistent";
static unsigned paths, tokens;

/* The linker calls these in place of what they count (-Wl,--wrap). */
struct slice __real_http_path(const struct http_request *request);
struct slice __wrap_http_path(const struct http_request *request);
bool __real_auth_read(struct auth *auth, const struct credentials *credentials, struct claim *claim,
					  struct error *error);
bool __wrap_auth_read(struct auth *auth, const struct credentials *credentials, struct claim *claim,
					  struct error *error);

struct slice __wrap_http_path(const struct http_request *request)
{
	paths++;
	return __real_http_path(request);
}

bool __wrap_auth_read(struct auth *auth, const struct credentials *credentials, struct claim *claim,
					  struct error *error)
{
	tokens++;
	return __real_auth_read(auth, credentials, claim, error);
}

static evutil_socket_t listen_on(struct sockaddr_in *address)
{
	socklen_t len = sizeof(*address);
	evutil_socket_t fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)address, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
	return fd;
}

static void send_write(int client)
{
	static const char body[] = "[\"stream.write\",\"a-1\",{\"type\":\"T\",\"data\":{}}]";
	char token[TOKEN_MAX_LEN + 1];
	char text[1000];
	int len;

	token_new(slice_of("mine"), token);
	len =
		snprintf(text, sizeof(text),
				 "POST /rpc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n%s",
				 token, strlen(body), body);
	assert_int_equal(write(client, text, (size_t)len), len);
}

static void on_reply(evutil_socket_t fd, short what, void *arg)
{
	char text[1000] = "";

	assert_true(what & EV_READ);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_memory_equal(text, "HTTP/1.1 503 ", 13);
	event_base_loopbreak(arg);
}

static void a_request_is_routed_once_and_its_token_read_once(void **state)
{
	static const struct config config = {.max_body = 1 << 20,
										 .max_header = 1 << 16,
										 .request_timeout = 60,
										 .idle_timeout = 60,
										 .max_connections = 10,
										 .buffer_bytes = 1 << 20,
										 .read_connections = 1,
										 .queue_requests = 10,
										 .queue_bytes = 1 << 20,
										 .batch_messages = 10,
										 .batch_bytes = 1 << 20,
										 .retry_window = 1,
										 .answer_timeout = 30,
										 .log_slow = 60000,
										 .ui = "off"};
	static struct shared shared;
	const struct timeval limit = {.tv_sec = 60};
	struct event_base *base = event_base_new();
	struct stats *stats = calloc(1, sizeof(*stats));
	const struct places_options options = {.config = &config, .conninfo = conninfo, .stats = stats};
	struct places *places = places_new(base, &options);
	struct sockaddr_in address;
	evutil_socket_t listener = listen_on(&address);
	struct service *service = service_new(base, &config, places, &shared, &listener, 1);
	int client = socket(AF_INET, SOCK_STREAM, 0);
	struct event *reply = event_new(base, client, EV_READ, on_reply, base);

	(void)state;
	assert_non_null(service);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	send_write(client);
	event_add(reply, &limit);
	event_base_dispatch(base);
	assert_int_equal(tokens, 1);
	assert_int_equal(paths, 1 + 2); /* twice for the line in the log, as it failed */

	event_free(reply);
	close(client);
	places_close(places);
	service_free(service);
	places_free(places);
	event_base_free(base);
	free(stats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_routed_once_and_its_token_read_once),
	};

	return cmocka_run_group_tests_name("front", tests, NULL, NULL);
}
