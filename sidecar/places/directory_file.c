/*
 * directory_file.c: the copy in a file (see directory.h): a JSON object a line, clusters before namespaces,
 * and a last line that says how many there are, without which it is not whole.
 *
 * It has the clusters' connection strings, in which there may be passwords: only the user that runs the
 * server may read it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "places/directory_internal.h"

#define MAX_FILE ((size_t)1 << 30)

/* ---- reading ------------------------------------------------------------------------------- */

/* What stands in a line; each empty where it does not. */
struct line
{
	struct buf namespace_name, cluster, conninfo;
	int64_t epoch, lines;
};

static bool take_text(struct slice value, struct buf *out)
{
	buf_clear(out);
	if (json_kind(value) != JSON_STRING || json_decode(value, out) != NULL)
		return false;
	buf_add(out, "", 1);
	return !out->failed;
}

static bool parse_line(struct slice text, struct line *line)
{
	struct json_verdict verdict;
	struct json_iterator iterator;
	struct slice key, value;
	bool right = json_check(text, &verdict) && json_kind(json_trim(text)) == JSON_OBJECT;

	buf_clear(&line->namespace_name);
	buf_clear(&line->cluster);
	buf_clear(&line->conninfo);
	line->epoch = line->lines = -1;
	json_iterate(&iterator, json_trim(text));
	while (right && json_next_member(&iterator, &key, &value))
	{
		if (json_string_is(key, "namespace"))
			right = take_text(value, &line->namespace_name);
		else if (json_string_is(key, "cluster"))
			right = take_text(value, &line->cluster);
		else if (json_string_is(key, "conninfo"))
			right = take_text(value, &line->conninfo);
		else if (json_string_is(key, "epoch"))
			right = json_integer(value, &line->epoch);
		else if (json_string_is(key, "lines"))
			right = json_integer(value, &line->lines);
	}
	return right;
}

static bool take_line(struct directory *directory, const struct line *line)
{
	int cluster = line->cluster.len > 0 ? directory_add_cluster(directory, line->cluster.data) : -1;
	bool named = line->namespace_name.len > 0 && line->namespace_name.len <= MAX_NAMESPACE_NAME + 1;

	if (cluster < 0)
		return false;
	if (line->conninfo.len > 0)
		return directory_set_conninfo(directory, (unsigned)cluster, line->conninfo.data);
	if (!named || line->epoch < 1)
		return false;
	directory_take(directory, line->namespace_name.data,
				   (struct directory_place){(unsigned)cluster, line->epoch}, 0);
	return true;
}

/* Takes all lines; false: the file is not whole, or not one of ours. */
static bool take_lines(struct directory *directory, struct slice text)
{
	struct line line = {.lines = -1};
	int64_t count = 0;
	bool right = true;

	while (right && text.len > 0 && line.lines < 0)
	{
		const char *end = memchr(text.bytes, '\n', text.len);
		size_t len = end != NULL ? (size_t)(end - text.bytes) : 0;

		right = end != NULL && parse_line((struct slice){text.bytes, len}, &line) &&
				(line.lines >= 0 || take_line(directory, &line));
		count += line.lines < 0;
		text = (struct slice){text.bytes + len + 1, right ? text.len - len - 1 : 0};
	}
	buf_free(&line.namespace_name);
	buf_free(&line.cluster);
	buf_free(&line.conninfo);
	return right && line.lines == count;
}

/* False: errno says why. */
static bool read_whole(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char bytes[65536];
	ssize_t len = -1;

	while (fd >= 0 && (len = read(fd, bytes, sizeof(bytes))) > 0 && out->len < MAX_FILE)
		buf_add(out, bytes, (size_t)len);
	if (fd >= 0)
		close(fd);
	return fd >= 0 && len == 0 && !out->failed;
}

enum directory_read directory_file_read(struct directory *directory, struct buf *error)
{
	struct buf text = {0};
	enum directory_read read = DIRECTORY_READ;

	if (directory->file == NULL)
		return DIRECTORY_NO_FILE;
	if (!read_whole(directory->file, &text))
	{
		read = errno == ENOENT ? DIRECTORY_NO_FILE : DIRECTORY_BAD_FILE;
		buf_printf(error, "the copy of the directory, %s, cannot be read: %s", directory->file,
				   strerror(errno));
	}
	else if (!take_lines(directory, (struct slice){text.data, text.len}))
	{
		read = DIRECTORY_BAD_FILE;
		buf_printf(error, "the copy of the directory, %s, is not whole", directory->file);
	}
	if (read == DIRECTORY_NO_FILE)
		buf_clear(error);
	directory->changed = read == DIRECTORY_BAD_FILE;
	buf_free(&text);
	return read;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void add_member(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "\"%s\":", name);
	json_add_string(out, value, strlen(value));
}

static unsigned add_clusters(const struct directory *directory, struct buf *out)
{
	unsigned count = 0;

	for (unsigned i = 0; i < directory->nclusters; i++)
	{
		const struct directory_cluster *cluster = &directory->clusters[i];

		if (cluster->conninfo == NULL)
			continue;
		buf_add_str(out, "{");
		add_member(out, "cluster", cluster->name);
		buf_add_str(out, ",");
		add_member(out, "conninfo", cluster->conninfo);
		buf_add_str(out, "}\n");
		count++;
	}
	return count;
}

static unsigned add_entries(const struct directory *directory, struct buf *out)
{
	unsigned count = 0;

	for (unsigned i = 0; i < DIRECTORY_BUCKETS; i++)
	{
		for (const struct directory_entry *entry = directory->buckets[i]; entry != NULL; entry = entry->next)
		{
			buf_add_str(out, "{");
			add_member(out, "namespace", entry->name);
			buf_add_str(out, ",");
			add_member(out, "cluster", directory->clusters[entry->at.cluster].name);
			buf_printf(out, ",\"epoch\":%" PRId64 "}\n", entry->at.epoch);
			count++;
		}
	}
	return count;
}

/* A reader finds the file before or the new one, whole. */
static bool replace(const char *path, const struct buf *text)
{
	char temporary[PATH_MAX];
	int len = snprintf(temporary, sizeof(temporary), "%s.new", path);
	int fd;
	bool written;

	if (len >= (int)sizeof(temporary))
	{
		errno = ENAMETOOLONG;
		return false;
	}
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	written = fd >= 0 && write(fd, text->data, text->len) == (ssize_t)text->len && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return written && rename(temporary, path) == 0;
}

void directory_file_write(struct directory *directory)
{
	struct buf text = {0};
	bool changed;

	pthread_rwlock_wrlock(&directory->lock);
	changed = directory->changed && directory->file != NULL;
	directory->changed = false;
	if (changed)
	{
		unsigned count = add_clusters(directory, &text);

		count += add_entries(directory, &text);
		buf_printf(&text, "{\"lines\":%u}\n", count);
	}
	pthread_rwlock_unlock(&directory->lock);
	if (changed && (text.failed || !replace(directory->file, &text)))
		log_warning("the copy of the directory, %s, could not be written: %s", directory->file,
					text.failed ? "out of memory" : strerror(errno));
	buf_free(&text);
}
