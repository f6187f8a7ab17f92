/*
 * call.c: one call of /rpc (see internal.h).
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "base/config.h"
#include "base/json.h"
#include "cli/internal.h"

static bool on_data(void *arg, struct slice bytes)
{
	struct buf *reply = arg;

	buf_add(reply, bytes.bytes, bytes.len);
	return !reply->failed;
}

static enum cli_http_state exchange(struct cli_http *http, struct slice body)
{
	enum cli_http_state state = CLI_HTTP_MORE;
	size_t sent = 0;

	while (state == CLI_HTTP_MORE)
	{
		cli_http_wait(http, sent < body.len ? POLLIN | POLLOUT : POLLIN);
		if (sent < body.len)
		{
			ssize_t n = cli_http_send(http, body.bytes + sent, body.len - sent);

			sent += n > 0 ? (size_t)n : 0;
		}
		state = cli_http_receive(http);
	}
	return state;
}

bool cli_call(struct cli_http *http, const struct config *config, struct slice body, struct buf *result)
{
	char headers[120];
	struct cli_request request = {
		.method = "POST", .target = "/rpc", .token = config->token, .headers = headers};
	struct json_verdict verdict;
	bool whole;

	*http = (struct cli_http){.data = on_data, .arg = result, .fd = -1};
	buf_clear(result);
	snprintf(headers, sizeof(headers), "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
	whole = cli_http_connect(http, config->url, config->ca_file) && cli_http_request(http, &request) &&
			exchange(http, body) == CLI_HTTP_END;
	if (!whole)
		cli_complain("%s", http->error[0] != '\0' ? http->error : "the server does not answer");
	else if (http->status != 200 || !json_check((struct slice){result->data, result->len}, &verdict))
	{
		cli_complain_reply(http->status, (struct slice){result->data, result->len});
		whole = false;
	}
	cli_http_close(http);
	return whole;
}
