/*
 * cli.c: messages and progress of the commands, on stderr (see internal.h).
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/internal.h"
#include "base/clock.h"
#include "base/json.h"

#define SHOW_EVERY_MS 200

void cli_complain(const char *format, ...)
{
	va_list args;

	fputs("millrace: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

enum cli_exit cli_exit_code(const struct cli_http *http, bool done)
{
	return done ? CLI_DONE : http->wrong_settings ? CLI_USAGE : CLI_FAILED;
}

struct slice cli_member(struct slice object, const char *name)
{
	struct json_iterator iterator;
	struct slice key, value;

	if (json_kind(object) != JSON_OBJECT)
		return (struct slice){NULL, 0};
	json_iterate(&iterator, object);
	while (json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, name))
			return value;
	}
	return (struct slice){NULL, 0};
}

void cli_decode(struct slice value, struct buf *out)
{
	if (json_kind(value) == JSON_STRING)
		json_decode(value, out);
	else if (value.bytes != NULL)
		buf_add(out, value.bytes, value.len);
}

void cli_complain_reply(int status, struct slice body)
{
	struct json_verdict verdict;
	struct buf code = {0}, message = {0};

	if (body.len > 0 && json_check(body, &verdict))
	{
		struct slice error = cli_member(json_trim(body), "error");

		cli_decode(cli_member(error, "code"), &code);
		cli_decode(cli_member(error, "message"), &message);
	}
	if (code.len > 0)
		cli_complain("%.*s: %.*s", (int)code.len, code.data, (int)message.len,
					 message.data ? message.data : "");
	else
		cli_complain("the server answered with HTTP status %d", status);
	buf_free(&code);
	buf_free(&message);
}

/* ---- progress ------------------------------------------------------------------- */

void cli_progress_start(struct cli_progress *progress, const char *verb)
{
	*progress = (struct cli_progress){.terminal = isatty(STDERR_FILENO), .verb = verb};
	progress->started_ms = progress->shown_ms = clock_ms();
}

static void show(struct cli_progress *progress, const char *after)
{
	double seconds = (double)clock_span(progress->started_ms, progress->shown_ms) / 1000;

	fprintf(stderr, "\r%s %" PRIu64 " messages in %.1f s%s", progress->verb, progress->messages, seconds,
			after);
	fflush(stderr);
}

void cli_progress_update(struct cli_progress *progress, uint64_t messages)
{
	uint64_t now;

	progress->messages = messages;
	if (!progress->terminal)
		return;
	now = clock_ms();
	if (!clock_passed(now, progress->shown_ms, SHOW_EVERY_MS))
		return;
	progress->shown_ms = now;
	show(progress, "");
}

void cli_progress_end(struct cli_progress *progress, bool done)
{
	bool shown = progress->shown_ms > progress->started_ms;

	if (!progress->terminal)
		return;
	progress->shown_ms = clock_ms();
	if (done)
		show(progress, "\n");
	else if (shown)
		fputc('\n', stderr);
}
