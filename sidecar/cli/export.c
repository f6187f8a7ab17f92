/*
 * export.c: `millrace export`.
 *
 * With --gzip the server compresses; what comes is written as it is, and inflated on the side to count the
 * messages and to see that it is whole.
 */
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "cli/cli.h"
#include "cli/internal.h"
#include "base/config.h"

#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for the gzip format */

struct export
{
	struct cli_download download;
	bool gzip;
	bool gzip_ended;
	z_stream inflater; /* with gzip */
	unsigned column;   /* of the next byte in its line, up to KIND_COLUMN */
};

/* Counts messages: other lines have another byte there. */
#define KIND_COLUMN 2
#define KIND_MESSAGE 'i' /* {"id":... */

static uint64_t count_messages(struct export *export, struct slice bytes)
{
	uint64_t messages = 0;

	for (size_t i = 0; i < bytes.len; i++)
	{
		const char *end;

		if (export->column < KIND_COLUMN)
		{
			export->column++;
			continue;
		}
		messages += export->column++ == KIND_COLUMN && bytes.bytes[i] == KIND_MESSAGE;
		end = memchr(bytes.bytes + i, '\n', bytes.len - i);
		if (end == NULL)
			break;
		i = (size_t)(end - bytes.bytes);
		export->column = 0;
	}
	return messages;
}

/* Counts the messages in compressed bytes; false: they are damaged. */
static bool count_compressed(struct export *export, struct slice bytes, uint64_t *messages)
{
	static unsigned char out[65536];
	z_stream *z = &export->inflater;

	z->next_in = (const unsigned char *)bytes.bytes;
	z->avail_in = (unsigned)bytes.len;
	do
	{
		int result;

		z->next_out = out;
		z->avail_out = sizeof(out);
		result = inflate(z, Z_NO_FLUSH);
		*messages += count_messages(export, (struct slice){(char *)out, sizeof(out) - z->avail_out});
		export->gzip_ended = result == Z_STREAM_END;
		if (result != Z_OK && result != Z_BUF_ERROR && !export->gzip_ended)
			return false;
	} while (z->avail_out == 0 && !export->gzip_ended);
	return true;
}

static bool take(struct cli_download *download, struct slice bytes)
{
	struct export *export = (struct export *)download;
	uint64_t messages = 0;

	if (export->gzip != download->http.gzip)
		return cli_download_complain(download, export->gzip
												   ? "the server did not compress: leave out --gzip"
												   : "the server compressed what it was not asked to");
	if (!export->gzip)
		messages = count_messages(export, bytes);
	else if (!count_compressed(export, bytes, &messages))
		return cli_download_complain(download, "the server's compressed data is damaged");
	cli_progress_update(&download->progress, download->progress.messages + messages);
	return true;
}

static bool download_all(struct export *export, const struct config *config)
{
	struct buf target = {0};
	bool done;

	buf_add_str(&target, "/export");
	cli_add_parameter(&target, "categories", config->categories);
	cli_add_parameter(&target, "query", config->query);
	cli_add_parameter(&target, "since", config->since);
	cli_add_parameter(&target, "until", config->until);
	done = cli_download(&export->download, config, &target);
	buf_free(&target);
	if (!done)
		return false;
	cli_progress_end(&export->download.progress, export->gzip == export->gzip_ended);
	if (export->gzip != export->gzip_ended)
		cli_complain("the export is not complete: its compressed data ends too early");
	return export->gzip == export->gzip_ended;
}

int cli_export(const struct config *config)
{
	struct export export = {.download = {.http = {.fd = -1}, .take = take, .gzip = config->gzip},
							.gzip = config->gzip};
	struct cli_output *output = &export.download.output;
	bool done = false;

	if (config->gzip && inflateInit2(&export.inflater, GZIP_WINDOW) != Z_OK)
	{
		cli_complain("out of memory");
		return CLI_FAILED;
	}
	if (cli_output_open(output, config->output))
	{
		cli_progress_start(&export.download.progress, "exported");
		done = download_all(&export, config);
		if (done)
			done = cli_output_finish(output);
		else
			cli_output_discard(output);
	}
	if (config->gzip)
		inflateEnd(&export.inflater);
	cli_download_free(&export.download);
	return cli_exit_code(&export.download.http, done);
}
