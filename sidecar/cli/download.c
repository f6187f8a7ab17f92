/*
 * download.c: an export on its way into a file (see internal.h).
 */
#include <poll.h>
#include <string.h>

#include "base/config.h"
#include "cli/internal.h"

bool cli_download_complain(struct cli_download *download, const char *what)
{
	download->complained = true;
	if (what != NULL)
		cli_complain("%s", what);
	return false;
}

static bool on_data(void *arg, struct slice bytes)
{
	struct cli_download *download = arg;

	if (download->http.status != 200)
	{
		if (download->error_body.len < CLI_MAX_ERROR_BODY)
			buf_add(&download->error_body, bytes.bytes, bytes.len);
		return true;
	}
	return download->take(download, bytes) &&
		   (cli_output_write(&download->output, bytes) || cli_download_complain(download, NULL));
}

void cli_add_parameter(struct buf *target, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	buf_printf(target, "%c%s=", memchr(target->data, '?', target->len) != NULL ? '&' : '?', name);
	cli_http_escape(target, value);
}

static bool ask(struct cli_download *download, const struct config *config, struct buf *target)
{
	download->http.data = on_data;
	download->http.arg = download;
	buf_add(target, "", 1);
	if (!target->failed && cli_http_connect(&download->http, config->url, config->ca_file) &&
		cli_http_request(&download->http, &(struct cli_request){
											  .method = "GET",
											  .target = target->data,
											  .token = config->token,
											  .headers = download->gzip ? "Accept-Encoding: gzip\r\n" : "",
										  }))
		return true;
	cli_complain("%s", download->http.error);
	return false;
}

static bool receive(struct cli_download *download)
{
	enum cli_http_state state;

	do
	{
		cli_http_wait(&download->http, POLLIN);
		state = cli_http_receive(&download->http);
	} while (state == CLI_HTTP_MORE);
	if (state == CLI_HTTP_END && download->http.status == 200)
		return true;
	cli_progress_end(&download->progress, false);
	if (download->complained)
		return false;
	if (state == CLI_HTTP_FAILED)
		cli_complain("the export is not complete: %s", download->http.error);
	else
		cli_complain_reply(download->http.status,
						   (struct slice){download->error_body.data, download->error_body.len});
	return false;
}

bool cli_download(struct cli_download *download, const struct config *config, struct buf *target)
{
	return ask(download, config, target) && receive(download);
}

void cli_download_free(struct cli_download *download)
{
	buf_free(&download->error_body);
	cli_http_close(&download->http);
}
