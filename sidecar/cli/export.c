/*
 * export.c: `millrace export`.
 *
 * With --gzip the server compresses; what comes is written as it is, and inflated on the side to count the
 * messages and to see that it is whole.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "cli/cli.h"
#include "cli/internal.h"
#include "base/config.h"

#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for the gzip format */

struct download
{
	struct cli_http http;
	struct cli_output output;
	struct cli_progress progress;
	struct buf error_body; /* of a reply that is not the export */
	bool gzip;
	bool gzip_ended;
	z_stream inflater; /* with gzip */
	bool complained;
};

static uint64_t count_lines(struct slice bytes)
{
	const char *p = bytes.bytes;
	const char *end = bytes.bytes + bytes.len;
	uint64_t lines = 0;

	while ((p = memchr(p, '\n', (size_t)(end - p))) != NULL)
	{
		p++;
		lines++;
	}
	return lines;
}

/* Counts the lines in compressed bytes; false: they are damaged. */
static bool count_compressed(struct download *download, struct slice bytes, uint64_t *lines)
{
	static unsigned char out[65536];
	z_stream *z = &download->inflater;

	z->next_in = (const unsigned char *)bytes.bytes;
	z->avail_in = (unsigned)bytes.len;
	do
	{
		int result;

		z->next_out = out;
		z->avail_out = sizeof(out);
		result = inflate(z, Z_NO_FLUSH);
		*lines += count_lines((struct slice){(char *)out, sizeof(out) - z->avail_out});
		download->gzip_ended = result == Z_STREAM_END;
		if (result != Z_OK && result != Z_BUF_ERROR && !download->gzip_ended)
			return false;
	} while (z->avail_out == 0 && !download->gzip_ended);
	return true;
}

static bool complain(struct download *download, const char *what)
{
	download->complained = true;
	if (what != NULL)
		cli_complain("%s", what);
	return false;
}

static bool on_data(void *arg, struct slice bytes)
{
	struct download *download = arg;
	uint64_t lines = 0;

	if (download->http.status != 200)
	{
		if (download->error_body.len < CLI_MAX_ERROR_BODY)
			buf_add(&download->error_body, bytes.bytes, bytes.len);
		return true;
	}
	if (download->gzip != download->http.gzip)
		return complain(download, download->gzip ? "the server did not compress: leave out --gzip"
												 : "the server compressed what it was not asked to");
	if (!download->gzip)
		lines = count_lines(bytes);
	else if (!count_compressed(download, bytes, &lines))
		return complain(download, "the server's compressed data is damaged");
	if (!cli_output_write(&download->output, bytes))
		return complain(download, NULL);
	cli_progress_update(&download->progress, download->progress.messages + lines);
	return true;
}

/* ---- the request ---------------------------------------------------------------- */

static void add_parameter(struct buf *target, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	buf_printf(target, "%c%s=", memchr(target->data, '?', target->len) != NULL ? '&' : '?', name);
	cli_http_escape(target, value);
}

static bool ask(struct download *download, const struct config *config)
{
	struct buf target = {0};
	bool asked;

	buf_add_str(&target, "/export");
	add_parameter(&target, "categories", config->categories);
	add_parameter(&target, "query", config->query);
	add_parameter(&target, "since", config->since);
	add_parameter(&target, "until", config->until);
	buf_add(&target, "", 1);
	asked = !target.failed && cli_http_connect(&download->http, config->url, config->ca_file) &&
			cli_http_request(&download->http, &(struct cli_request){
												  .method = "GET",
												  .target = target.data,
												  .token = config->token,
												  .headers = config->gzip ? "Accept-Encoding: gzip\r\n" : "",
											  });
	buf_free(&target);
	if (!asked)
		cli_complain("%s", download->http.error);
	return asked;
}

/* Receives the whole export; false: it was complained about. */
static bool receive(struct download *download)
{
	enum cli_http_state state;

	do
	{
		cli_http_wait(&download->http, POLLIN);
		state = cli_http_receive(&download->http);
	} while (state == CLI_HTTP_MORE);
	if (state == CLI_HTTP_END && download->http.status == 200 && download->gzip == download->gzip_ended)
	{
		cli_progress_end(&download->progress, true);
		return true;
	}
	cli_progress_end(&download->progress, false);
	if (download->complained)
		return false;
	if (state == CLI_HTTP_FAILED)
		cli_complain("the export is not complete: %s", download->http.error);
	else if (download->http.status == 200)
		cli_complain("the export is not complete: its compressed data ends too early");
	else
		cli_complain_reply(download->http.status,
						   (struct slice){download->error_body.data, download->error_body.len});
	return false;
}

int cli_export(const struct config *config)
{
	struct download download = {.gzip = config->gzip, .http = {.data = on_data, .arg = &download, .fd = -1}};
	bool done = false;

	if (config->gzip && inflateInit2(&download.inflater, GZIP_WINDOW) != Z_OK)
	{
		cli_complain("out of memory");
		return CLI_FAILED;
	}
	if (cli_output_open(&download.output, config->output))
	{
		cli_progress_start(&download.progress, "exported");
		done = ask(&download, config) && receive(&download);
		if (done)
			done = cli_output_finish(&download.output);
		else
			cli_output_discard(&download.output);
	}
	if (config->gzip)
		inflateEnd(&download.inflater);
	buf_free(&download.error_body);
	cli_http_close(&download.http);
	return cli_exit_code(&download.http, done);
}
