/*
 * cli_internal: what the files of cli/ share.
 *
 *     cli.c               messages and progress on stderr
 *     output.c            a file that appears whole or not at all
 *     download.c          an export on its way into one
 *     call.c              a call of /rpc
 *     export.c, import.c, archive.c, purge.c  the commands
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
	bool only_new;				 /* a file that is there when this one gets its name stays */
	struct z_stream_s *deflater; /* NULL: it is not compressed */
	char path[4096];			 /* final, symbolic links resolved; empty: `fd` is not a file of ours */
};

/* False: it was complained about. */
bool cli_output_open(struct cli_output *output, const char *name);
/* Compresses with gzip what is written from now on.  False: it was complained about. */
bool cli_output_compress(struct cli_output *output);
/* False: it was complained about. */
bool cli_output_write(struct cli_output *output, struct slice bytes);
/* Makes the file durable and gives it its name; false: it was complained about. */
bool cli_output_finish(struct cli_output *output);
/* Makes the names in a file's folder durable; false: errno says why. */
bool cli_output_sync_folder(const char *path);
/* Leaves nothing behind. */
void cli_output_discard(struct cli_output *output);

/* ---- download.c ------------------------------------------------------------------ */

struct config;

/* All but what is set here zero at first, and http.fd -1. */
struct cli_download
{
	struct cli_http http;
	struct cli_output output; /* open */
	struct cli_progress progress;
	struct buf error_body; /* of a reply that is not the export */
	bool gzip;			   /* the server is asked to compress it */
	/* Is shown what is to be written; false: complained about, by cli_download_complain. */
	bool (*take)(struct cli_download *download, struct slice bytes);
	bool complained;
};

/* Appends a parameter to a path and query, unless the value is NULL or empty. */
void cli_add_parameter(struct buf *target, const char *name, const char *value);
/* Writes all of the reply for a path and query; false: it was complained about. */
bool cli_download(struct cli_download *download, const struct config *config, struct buf *target);
/* `what` may be NULL: it was said already.  False. */
bool cli_download_complain(struct cli_download *download, const char *what);
/* The output is the caller's.  The connection's settings stay for cli_exit_code. */
void cli_download_free(struct cli_download *download);

/* ---- call.c ------------------------------------------------------------------------ */

/* Calls a method: `body` in, the result out, as JSON text.  False: it was complained about. */
bool cli_call(struct cli_http *http, const struct config *config, struct slice body, struct buf *result);

#endif
