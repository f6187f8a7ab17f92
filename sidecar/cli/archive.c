/*
 * archive.c: `millrace archive`.
 *
 * The file is there when all of it is, on disk under its name, and is never written again; only then is
 * anything removed, and only what the file has, message for message.  So a run that finds the file goes on
 * where the one before ended, wherever that was.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/archive.h"
#include "base/config.h"
#include "base/json.h"
#include "base/timestamp.h"
#include "cli/cli.h"
#include "cli/internal.h"

#define REMOVE_MESSAGES 1000 /* that are removed together */
#define LINE_ROOM 65536		 /* bytes that are read together */

/* ---- writing it ------------------------------------------------------------------- */

struct download
{
	struct cli_download base;
	struct archive_sum sum;
};

static bool take(struct cli_download *base, struct slice bytes)
{
	struct download *download = (struct download *)base;

	archive_sum_bytes(&download->sum, bytes);
	cli_progress_update(&base->progress, download->sum.messages);
	return true;
}

/* Writes a line of the file's own. */
static bool write_line(struct download *download, struct buf *line)
{
	bool written =
		!line->failed && cli_output_write(&download->base.output, (struct slice){line->data, line->len});

	if (line->failed)
		cli_complain("out of memory");
	buf_free(line);
	return written;
}

static bool write_head(struct download *download, const struct config *config)
{
	struct buf line = {0};

	if (!archive_sum_begin(&download->sum))
		return cli_download_complain(&download->base, "out of memory");
	archive_write_head(&line, config->category, config->before);
	if (!line.failed)
		archive_sum_line(&download->sum, (struct slice){line.data, line.len - 1});
	return write_line(download, &line);
}

static bool write_tail(struct download *download)
{
	char digest[ARCHIVE_SUM_LEN + 1];
	struct buf line = {0};

	archive_sum_end(&download->sum, digest);
	archive_write_tail(&line, download->sum.messages, digest);
	return write_line(download, &line);
}

static bool download_all(struct download *download, const struct config *config)
{
	struct buf target = {0};
	bool done;

	buf_add_str(&target, "/export");
	cli_add_parameter(&target, "categories", config->category);
	cli_add_parameter(&target, "before", config->before);
	done = write_head(download, config) && cli_download(&download->base, config, &target) &&
		   write_tail(download);
	buf_free(&target);
	cli_progress_end(&download->base.progress, done);
	return done;
}

/* Makes the file. */
static bool make_file(const struct config *config, struct cli_http *http)
{
	struct download download = {.base = {.http = {.fd = -1}, .take = take}};
	struct cli_output *output = &download.base.output;
	bool done = false;

	if (!cli_output_open(output, config->output))
		return false;
	output->only_new = true;
	cli_progress_start(&download.base.progress, "exported");
	if ((!config->gzip || cli_output_compress(output)) && download_all(&download, config))
		done = cli_output_finish(output);
	else
		cli_output_discard(output);
	archive_sum_free(&download.sum);
	cli_download_free(&download.base);
	http->wrong_settings = download.base.http.wrong_settings;
	return done;
}

/* ---- reading it ---------------------------------------------------------------------- */

struct reading
{
	const char *name;
	int fd;
	gzFile file; /* of it, which need not be compressed */
	char *line;
	size_t capacity;
	uint64_t number;
	uint64_t messages; /* of the whole file, once it was checked */
};

/* Reads a line with its end into `line`; returns how long it is, 0 at the end or where memory is. */
static size_t get_line(struct reading *reading)
{
	size_t len = 0;

	do
	{
		if (reading->capacity - len < LINE_ROOM)
		{
			size_t capacity = 2 * reading->capacity + LINE_ROOM;
			char *line = realloc(reading->line, capacity);

			if (line == NULL)
				return 0;
			reading->line = line;
			reading->capacity = capacity;
		}
		if (gzgets(reading->file, reading->line + len, LINE_ROOM) == NULL)
			return len;
		len += strlen(reading->line + len);
	} while (len == 0 || reading->line[len - 1] != '\n');
	return len;
}

/* The next line, without its end; .bytes NULL: there is none.  JSON, or it was complained about. */
static struct slice read_line(struct reading *reading)
{
	struct json_verdict verdict;
	size_t len = get_line(reading);
	struct slice line = {reading->line, len > 0 ? len - 1 : 0};

	reading->number++;
	if (len == 0)
		return (struct slice){NULL, 0};
	if (reading->line[len - 1] == '\n' && json_check(line, &verdict) && json_kind(line) == JSON_OBJECT)
		return line;
	cli_complain("%s is not an archive: line %" PRIu64 " is not a whole JSON object", reading->name,
				 reading->number);
	return (struct slice){NULL, 0};
}

static bool is_time(struct slice value, const char *text)
{
	int64_t a, b;

	return json_kind(value) == JSON_STRING &&
		   timestamp_parse_loosely((struct slice){value.bytes + 1, value.len - 2}, &a) &&
		   timestamp_parse_loosely(slice_of(text), &b) && a == b;
}

/* Whether the first line says that the file is the archive that is wanted. */
static bool check_head(const struct reading *reading, struct slice line, const struct config *config)
{
	struct slice category = archive_member(line, "category");

	if (!archive_is_kind(line, "archive"))
		cli_complain("%s is there already, and is not an archive", reading->name);
	else if (json_kind(category) != JSON_STRING || !json_string_is(category, config->category) ||
			 !is_time(archive_member(line, "before"), config->before))
		cli_complain("%s is there already, and is another archive: %.*s", reading->name, (int)line.len,
					 line.bytes);
	else
		return true;
	return false;
}

/* Whether nothing follows, and what was compressed is whole. */
static bool is_at_end(gzFile file)
{
	int error = Z_OK;

	if (gzgetc(file) != -1)
		return false;
	(void)gzerror(file, &error);
	return error == Z_OK;
}

/* Goes through the whole file. */
static bool check_file(struct reading *reading, const struct config *config)
{
	struct archive_sum sum = {0};
	struct slice line = read_line(reading);
	bool right = false;

	if (line.bytes == NULL && reading->number == 1)
		cli_complain("%s is there already, and is not an archive", reading->name);
	if (line.bytes == NULL || !check_head(reading, line, config) || !archive_sum_begin(&sum))
		return false;
	do
	{
		archive_sum_line(&sum, line);
		line = read_line(reading);
	} while (line.bytes != NULL && !archive_is_kind(line, "archived"));
	reading->messages = sum.messages;
	if (line.bytes != NULL)
		right = archive_sum_check(&sum, line) && is_at_end(reading->file);
	archive_sum_free(&sum);
	if (!right)
		cli_complain("%s is not whole, or was changed: it does not end with the checksum of its lines",
					 reading->name);
	gzrewind(reading->file);
	reading->number = 0;
	return right;
}

/* ---- removing what it has -------------------------------------------------------------- */

struct removal
{
	const struct config *config;
	struct cli_http http;
	struct cli_progress progress;
	struct buf body; /* of the call that is gathering */
	struct buf result;
	unsigned count; /* of its messages */
	uint64_t removed;
	uint64_t missing; /* which earlier runs have removed */
};

static void add_message(struct removal *removal, struct slice line)
{
	struct slice id = archive_member(line, "id");
	char digest[ARCHIVE_SUM_LEN + 1];

	archive_digest(line, digest);
	buf_add_str(&removal->body, removal->count == 0 ? "[\"messages.remove\",[{\"id\":" : ",{\"id\":");
	buf_add(&removal->body, id.bytes, id.len);
	buf_printf(&removal->body, ",\"sha256\":\"%s\"}", digest);
	removal->count++;
}

static uint64_t count_of(const struct removal *removal, const char *member)
{
	struct slice result = {removal->result.data, removal->result.len};
	struct slice value = cli_member(json_trim(result), member);
	int64_t number;

	return json_kind(value) == JSON_NUMBER && json_integer(value, &number) ? (uint64_t)number : 0;
}

static bool send_removal(struct removal *removal)
{
	if (removal->count == 0)
		return true;
	buf_add_str(&removal->body, removal->config->force ? "],{\"force\":true}]" : "]]");
	if (!cli_call(&removal->http, removal->config, (struct slice){removal->body.data, removal->body.len},
				  &removal->result))
		return false;
	removal->removed += count_of(removal, "removed");
	removal->missing += count_of(removal, "missing");
	buf_clear(&removal->body);
	removal->count = 0;
	cli_progress_update(&removal->progress, removal->removed);
	return true;
}

static bool remove_all(struct removal *removal, struct reading *reading)
{
	struct slice line;

	cli_progress_start(&removal->progress, "removed");
	while ((line = read_line(reading)).bytes != NULL)
	{
		if (archive_is_mark(line))
			continue;
		add_message(removal, line);
		if (removal->count == REMOVE_MESSAGES && !send_removal(removal))
			return false;
	}
	return send_removal(removal);
}

static bool remove_messages(const struct config *config, struct reading *reading, struct cli_http *http)
{
	struct removal removal = {.config = config};
	bool done = remove_all(&removal, reading);

	cli_progress_end(&removal.progress, done);
	if (done)
		printf("%s: %" PRIu64 " messages, %" PRIu64 " removed\n", reading->name, reading->messages,
			   removal.removed);
	else if (removal.removed + removal.missing > 0)
		cli_complain("%" PRIu64 " messages are in %s alone: keep it", removal.removed + removal.missing,
					 reading->name);
	*http = removal.http;
	buf_free(&removal.body);
	buf_free(&removal.result);
	return done;
}

/* ---- both ----------------------------------------------------------------------------- */

/* What an earlier run has written may not be on disk. */
static bool sync_file(const struct reading *reading)
{
	char *path = realpath(reading->name, NULL);
	bool synced = path != NULL && fsync(reading->fd) == 0 && cli_output_sync_folder(path);

	if (!synced)
		cli_complain("cannot make %s durable: %s", reading->name, strerror(errno));
	free(path);
	return synced;
}

static bool use_file(const struct config *config, struct reading *reading, struct cli_http *http)
{
	if (!check_file(reading, config))
		return false;
	if (config->remove)
		return sync_file(reading) && remove_messages(config, reading, http);
	printf("%s: %" PRIu64 " messages\n", reading->name, reading->messages);
	return true;
}

int cli_archive(const struct config *config)
{
	struct reading reading = {.name = config->output};
	struct cli_http http = {.fd = -1};
	bool done = false;

	if (access(config->output, F_OK) == 0 || make_file(config, &http))
	{
		reading.fd = open(config->output, O_RDONLY | O_CLOEXEC);
		reading.file = reading.fd >= 0 ? gzdopen(reading.fd, "rb") : NULL;
		if (reading.file == NULL)
			cli_complain("cannot open %s: %s", config->output, strerror(errno));
		else
		{
			done = use_file(config, &reading, &http);
			gzclose(reading.file);
		}
		free(reading.line);
	}
	return cli_exit_code(&http, done);
}
