/*
 * cli_internal: what the files of cli/ share.
 *
 *     cli.c               messages and progress on stderr
 *     output.c            a file that appears whole or not at all
 *     export.c, import.c  the commands
 */
#ifndef MILLRACE_CLI_INTERNAL_H
#define MILLRACE_CLI_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/slice.h"
#include "http/client.h"

/* ---- cli.c ---------------------------------------------------------------- */

enum cli_exit
{
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
};

#define CLI_MAX_ERROR_BODY 65536 /* bytes that are kept of a reply other than 200 */

/* Prints a line that says what is wrong, after the program's name. */
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* After a command that has reached its end (`done`) or not. */
enum cli_exit cli_exit_code(const struct cli_http *http, bool done);
/* Says what a reply other than 200 says: its code and message, or only the status when they are not found. */
void cli_complain_reply(int status, struct slice body);
/* The value of a member of a checked object; .bytes NULL: it has none. */
struct slice cli_member(struct slice object, const char *name);
/* Adds to `out` the text of a JSON string, any other value as it is written. */
void cli_decode(struct slice value, struct buf *out);

/* A line on the terminal that says how far it is; silent when stderr is none. */
struct cli_progress
{
	bool terminal;
	const char *verb; /* "exported" */
	uint64_t messages;
	uint64_t started_ms, shown_ms;
};

void cli_progress_start(struct cli_progress *progress, const char *verb);
void cli_progress_update(struct cli_progress *progress, uint64_t messages);
/* Ends the line: with the total when done, else so that a message can follow. */
void cli_progress_end(struct cli_progress *progress, bool done);

/* ---- output.c ------------------------------------------------------------------ */

struct cli_output
{
	const char *name; /* as the user wrote it; NULL = standard output */
	int fd;
	char path[4096]; /* final, symbolic links resolved; empty: `fd` is not a file of ours */
};

/* False: it was complained about. */
bool cli_output_open(struct cli_output *output, const char *name);
/* False: it was complained about. */
bool cli_output_write(struct cli_output *output, struct slice bytes);
/* Makes the file durable and gives it its name; false: it was complained about. */
bool cli_output_finish(struct cli_output *output);
/* Leaves nothing behind. */
void cli_output_discard(struct cli_output *output);

#endif
