/*
 * consume_call.c: calls of the server, made again while it is away (see consume_internal.h).
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "cli/consume_internal.h"

#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 5000

const struct consume_patience consume_patient = {.answer_ms = 90000, .total_ms = UINT64_MAX};
const struct consume_patience consume_minute = {.answer_ms = 90000, .total_ms = 60000};
const struct consume_patience consume_ending = {.answer_ms = 5000, .total_ms = 0, .finish = true};

static bool on_data(void *arg, struct slice bytes)
{
	struct consume *consume = arg;

	buf_add(&consume->reply, bytes.bytes, bytes.len);
	return !consume->reply.failed;
}

/* ---- one try ---------------------------------------------------------------------- */

/* The descriptor that tells whether anybody still reads what is printed; -1: that is not asked. */
static int reader(const struct consume *consume)
{
	return consume->config->exec != NULL || consume_stopping() ? -1 : STDOUT_FILENO;
}

/* Waits for the socket; false: the time is over, or we are asked to end. */
static bool await(const struct consume *consume, const struct cli_http *http, short events, uint64_t since,
				  const struct consume_patience *patience)
{
	struct pollfd polled[] = {{.fd = http->fd, .events = events},
							  {.fd = consume_signal_fd(), .events = POLLIN},
							  {.fd = reader(consume)}};
	uint64_t passed = clock_span(since, clock_ms());

	if ((consume_stopping() && !patience->finish) || passed >= patience->answer_ms)
		return false;
	poll(polled, 3, (int)(patience->answer_ms - passed));
	if (polled[1].revents != 0)
		consume_signals_seen();
	if (polled[2].revents & (POLLERR | POLLHUP))
		consume_stop();
	return true;
}

/* Sends the request and receives the reply; false: it is not whole. */
static bool exchange(const struct consume *consume, struct cli_http *http, struct slice body,
					 const struct consume_patience *patience)
{
	enum cli_http_state state = CLI_HTTP_MORE;
	uint64_t since = clock_ms();
	size_t sent = 0;

	while (state == CLI_HTTP_MORE)
	{
		if (!await(consume, http, sent < body.len ? POLLIN | POLLOUT : POLLIN, since, patience))
			return false;
		if (sent < body.len)
		{
			ssize_t n = cli_http_send(http, body.bytes + sent, body.len - sent);

			sent += n > 0 ? (size_t)n : 0;
		}
		state = cli_http_receive(http);
	}
	return state == CLI_HTTP_END;
}

static bool ask(struct consume *consume, struct cli_http *http, struct slice body,
				const struct consume_patience *patience)
{
	const struct config *config = consume->config;
	char headers[120];
	struct cli_request request = {
		.method = "POST", .target = "/rpc", .token = config->token, .headers = headers};

	snprintf(headers, sizeof(headers), "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
	buf_clear(&consume->reply);
	return cli_http_connect(http, config->url, config->ca_file) && cli_http_request(http, &request) &&
		   exchange(consume, http, body, patience);
}

/* Whether the reply is an error of that code. */
static bool is_error(const struct consume *consume, const char *code)
{
	struct slice text = {consume->reply.data, consume->reply.len};
	struct json_verdict verdict;

	return text.len > 0 && json_check(text, &verdict) &&
		   json_string_is(cli_member(cli_member(json_trim(text), "error"), "code"), code);
}

/* Says once that the server does not answer, and why. */
static void say_away(struct consume *consume, const struct cli_http *http, bool again)
{
	if (consume->away && again)
		return;
	consume->away = true;
	if (http->status != 0)
		cli_complain_reply(http->status, (struct slice){consume->reply.data, consume->reply.len});
	else
		cli_complain("%s%s", http->error[0] != '\0' ? http->error : "the server does not answer",
					 again ? "; trying again" : "");
}

static enum consume_result judge(struct consume *consume, const struct cli_http *http, bool whole)
{
	struct slice text = {consume->reply.data, consume->reply.len};
	struct json_verdict verdict;

	if (whole && http->status == 200 && json_check(text, &verdict))
		return CONSUME_DONE;
	if (whole && is_error(consume, "CLAIM_LOST"))
		return CONSUME_LOST;
	consume->wrong_settings = http->wrong_settings;
	if (http->wrong_settings ||
		(whole && http->status >= 400 && http->status < 500 && http->status != 408 && http->status != 429))
	{
		say_away(consume, http, false);
		return CONSUME_REFUSED;
	}
	return CONSUME_AWAY;
}

static enum consume_result try_once(struct consume *consume, struct slice body,
									const struct consume_patience *patience)
{
	struct cli_http http = {.data = on_data, .arg = consume, .fd = -1};
	bool whole = ask(consume, &http, body, patience);
	enum consume_result result = judge(consume, &http, whole);

	if (result == CONSUME_AWAY && consume_stopping() && !patience->finish)
		result = CONSUME_STOPPED;
	else if (result == CONSUME_AWAY)
		say_away(consume, &http, !consume_stopping());
	else
		consume->away = false;
	cli_http_close(&http);
	return result;
}

/* ---- until it is done --------------------------------------------------------------- */

static void pause_ms(uint64_t ms)
{
	struct pollfd polled = {.fd = consume_signal_fd(), .events = POLLIN};

	if (poll(&polled, 1, (int)ms) > 0)
		consume_signals_seen();
}

enum consume_result consume_call(struct consume *consume, const char *method, struct slice options,
								 const struct consume_patience *patience)
{
	uint64_t since = clock_ms(), pause = FIRST_PAUSE_MS;
	struct buf body = {0};
	enum consume_result result;

	buf_printf(&body, "[\"consumer.%s\",", method);
	json_add_string(&body, consume->config->consumer, strlen(consume->config->consumer));
	buf_printf(&body, ",%.*s]", (int)options.len, options.bytes);
	for (;;)
	{
		result = try_once(consume, (struct slice){body.data, body.len}, patience);
		if (result != CONSUME_AWAY || clock_span(since, clock_ms()) >= patience->total_ms)
			break;
		pause_ms(pause);
		pause = pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS;
		if (consume_stopping() && !patience->finish)
		{
			result = CONSUME_STOPPED;
			break;
		}
	}
	buf_free(&body);
	return result;
}
