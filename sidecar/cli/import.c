/*
 * import.c: `millrace import`.
 *
 * The file goes out in chunks while the server's events come in (with --progress, else they come at the end),
 * both through one poll loop, so that an error stops the sending at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/internal.h"
#include "base/config.h"
#include "base/json.h"
#include "access/token.h"

#define READ_BYTES 65536
#define MAX_EVENT 65536

struct upload
{
	const struct config *config;
	struct cli_http http;
	struct cli_progress progress;
	int input;
	bool input_ended;
	bool sending; /* until all is sent, or the server reads no more */
	char *bytes;  /* [READ_BYTES] read, not yet in `chunk` */
	size_t nbytes;
	struct buf chunk; /* being sent */
	size_t chunk_sent;
	struct buf line;	   /* of the event stream, unfinished */
	struct buf error_body; /* of a reply that is no event stream */
	bool done;
	bool complained;
};

/* ---- events ------------------------------------------------------------------------ */

static void complain_event(struct upload *upload, struct slice event)
{
	struct buf text = {0};
	struct slice line = cli_member(event, "line");

	upload->complained = true;
	cli_progress_end(&upload->progress, false);
	if (line.bytes != NULL && !slice_is(line, "0"))
		buf_printf(&text, "line %.*s: ", (int)line.len, line.bytes);
	cli_decode(cli_member(event, "error"), &text);
	buf_add_str(&text, ": ");
	cli_decode(cli_member(event, "message"), &text);
	cli_complain("%.*s", (int)text.len, text.data ? text.data : "");
	buf_free(&text);
}

static void take_event(struct upload *upload, struct slice text)
{
	struct json_verdict verdict;
	struct slice imported;
	int64_t number;

	if (!json_check(text, &verdict))
		return;
	text = json_trim(text);
	if (cli_member(text, "error").bytes != NULL)
	{
		complain_event(upload, text);
		return;
	}
	imported = cli_member(text, "imported");
	if (json_kind(imported) == JSON_NUMBER && json_integer(imported, &number))
		cli_progress_update(&upload->progress, (uint64_t)number);
	if (slice_is(cli_member(text, "done"), "true"))
		upload->done = true;
}

static bool on_data(void *arg, struct slice bytes)
{
	struct upload *upload = arg;

	if (upload->http.status != 200)
	{
		if (upload->error_body.len < CLI_MAX_ERROR_BODY)
			buf_add(&upload->error_body, bytes.bytes, bytes.len);
		return true;
	}
	for (size_t i = 0; i < bytes.len; i++)
	{
		if (bytes.bytes[i] != '\n')
		{
			if (upload->line.len < MAX_EVENT)
				buf_add(&upload->line, &bytes.bytes[i], 1);
			continue;
		}
		if (upload->line.len > 5 && memcmp(upload->line.data, "data:", 5) == 0)
			take_event(upload, (struct slice){upload->line.data + 5, upload->line.len - 5});
		buf_clear(&upload->line);
	}
	return true;
}

/* ---- sending ------------------------------------------------------------------------- */

static const char *input_name(const struct config *config)
{
	return strcmp(config->input, "-") == 0 ? "the standard input" : config->input;
}

/* Reads on; false: it was complained about. */
static bool read_input(struct upload *upload)
{
	ssize_t got = read(upload->input, upload->bytes, READ_BYTES);

	if (got < 0 && errno != EINTR)
	{
		cli_complain("cannot read %s: %s", input_name(upload->config), strerror(errno));
		upload->complained = true;
		return false;
	}
	upload->input_ended = got == 0;
	upload->nbytes = got > 0 ? (size_t)got : 0;
	return true;
}

/* Makes a chunk of what was read; the last one when that is nothing. */
static void make_chunk(struct upload *upload)
{
	buf_clear(&upload->chunk);
	upload->chunk_sent = 0;
	if (upload->nbytes == 0 && !upload->input_ended)
		return;
	buf_printf(&upload->chunk, "%zx\r\n", upload->nbytes);
	buf_add(&upload->chunk, upload->bytes, upload->nbytes);
	buf_add_str(&upload->chunk, "\r\n");
	upload->nbytes = 0;
}

static void send_chunk(struct upload *upload)
{
	ssize_t sent = cli_http_send(&upload->http, upload->chunk.data + upload->chunk_sent,
								 upload->chunk.len - upload->chunk_sent);

	/* A server that closes the connection has said why, or the missing `done` will tell. */
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		upload->sending = false;
	upload->chunk_sent += sent > 0 ? (size_t)sent : 0;
	if (upload->chunk_sent == upload->chunk.len && upload->input_ended)
		upload->sending = false;
}

/* Sends and receives until the reply ends; false: it was complained about. */
static bool exchange(struct upload *upload)
{
	enum cli_http_state state = CLI_HTTP_MORE;

	make_chunk(upload);
	while (state == CLI_HTTP_MORE)
	{
		bool unsent = upload->chunk_sent < upload->chunk.len;
		struct pollfd polled[] = {
			{.fd = upload->http.fd, .events = (short)(POLLIN | (upload->sending && unsent ? POLLOUT : 0))},
			{.fd = upload->sending && !unsent ? upload->input : -1, .events = POLLIN},
		};

		if (poll(polled, 2, -1) < 0 && errno != EINTR)
			return false;
		if (polled[0].revents & (POLLIN | POLLHUP | POLLERR))
			state = cli_http_receive(&upload->http);
		if (upload->complained)
			upload->sending = false;
		else if (upload->sending && (polled[0].revents & POLLOUT))
			send_chunk(upload);
		else if (upload->sending && polled[1].revents != 0)
		{
			if (!read_input(upload))
				return false;
			make_chunk(upload);
		}
	}
	return !upload->complained;
}

/* ---- the beginning ---------------------------------------------------------------------- */

/* Asks whether all may be deleted; the code to exit with if not, else -1. */
static int ask_force(const struct config *config)
{
	char name[MAX_NAMESPACE_NAME + 1] = DEFAULT_NAMESPACE;
	char answer[16] = "";

	if (!config->force || config->yes)
		return -1;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
	{
		cli_complain(
			"--force deletes every message of the namespace: say --yes, too, where there is no terminal");
		return CLI_USAGE;
	}
	if (config->token != NULL)
		token_parse(slice_of(config->token), name);
	fprintf(stderr, "Delete every message of namespace \"%s\" at %s first? [y/N] ", name, config->url);
	if (fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
		return -1;
	cli_complain("nothing was deleted, nothing imported");
	return CLI_FAILED;
}

/* Opens the file and reads its beginning: what is wrong with it shows before anything is deleted. */
static bool open_input(struct upload *upload)
{
	const struct config *config = upload->config;

	upload->input =
		strcmp(config->input, "-") == 0 ? STDIN_FILENO : open(config->input, O_RDONLY | O_CLOEXEC);
	if (upload->input < 0)
	{
		cli_complain("cannot open %s: %s", config->input, strerror(errno));
		return false;
	}
	upload->bytes = malloc(READ_BYTES);
	if (upload->bytes == NULL || !read_input(upload))
		return false;
	if (!config->gzip && upload->nbytes >= 2 && memcmp(upload->bytes, "\x1f\x8b", 2) == 0)
	{
		cli_complain("%s is compressed with gzip: say --gzip", input_name(config));
		return false;
	}
	return true;
}

static const char *target(const struct config *config)
{
	if (config->progress)
		return config->force ? "/import?force=true&progress=true" : "/import?progress=true";
	return config->force ? "/import?force=true" : "/import";
}

static bool start(struct upload *upload)
{
	const struct config *config = upload->config;
	const struct cli_request request = {
		.method = "POST",
		.target = target(config),
		.token = config->token,
		.headers = config->gzip ? "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
								  "Content-Encoding: gzip\r\n"
								: "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n",
	};

	if (cli_http_connect(&upload->http, config->url, config->ca_file) &&
		cli_http_request(&upload->http, &request))
		return true;
	cli_complain("%s", upload->http.error);
	return false;
}

/* Says how it ended; true: all is imported. */
static bool conclude(struct upload *upload)
{
	if (upload->done && !upload->complained)
	{
		cli_progress_end(&upload->progress, true);
		return true;
	}
	if (upload->complained)
		return false;
	cli_progress_end(&upload->progress, false);
	if (upload->http.status != 0 && upload->http.status != 200)
		cli_complain_reply(upload->http.status,
						   (struct slice){upload->error_body.data, upload->error_body.len});
	else
		cli_complain("%s: the import is not complete, %" PRIu64 " messages are known to be stored",
					 upload->http.error[0] != '\0' ? upload->http.error
												   : "the server's answer ended too early",
					 upload->progress.messages);
	return false;
}

int cli_import(const struct config *config)
{
	struct upload upload = {
		.config = config, .sending = true, .input = -1, .http = {.data = on_data, .arg = &upload, .fd = -1}};
	int refused = ask_force(config);
	bool done = false;

	if (refused >= 0)
		return refused;
	cli_progress_start(&upload.progress, "imported");
	if (open_input(&upload) && start(&upload))
	{
		exchange(&upload);
		done = conclude(&upload);
	}
	if (upload.input > STDIN_FILENO)
		close(upload.input);
	cli_http_close(&upload.http);
	buf_free(&upload.chunk);
	buf_free(&upload.line);
	buf_free(&upload.error_body);
	free(upload.bytes);
	return cli_exit_code(&upload.http, done);
}
