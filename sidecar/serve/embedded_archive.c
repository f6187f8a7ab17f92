/*
 * embedded_archive: reading and unpacking one; see embedded_archive.h.
 *
 * A thousand small files are mostly waiting for the file system, so several threads unpack and flush them:
 * with flushes under way side by side, one commit of the file system's journal serves many.
 */
#include "serve/embedded_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "extension/hex.h"

#define HEAD_LEN (ARCHIVE_MAGIC_LEN + ARCHIVE_HEX_LEN + 1)
#define DATABASES "base/"
#define UNPACK_THREADS 4
#define SYNC_THREADS 16

void archive_checksum(const char *bytes, size_t len, char hex[ARCHIVE_HEX_LEN + 1])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)bytes, len, digest);
	hex_write(hex, digest, sizeof(digest));
}

/* ---- reading ---------------------------------------------------------------- */

char *archive_read_bytes(int fd, size_t len)
{
	char *bytes = malloc(len + 1);
	size_t done = 0;

	while (bytes != NULL && done < len)
	{
		ssize_t n = read(fd, bytes + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			free(bytes);
			return NULL;
		}
		done += (size_t)n;
	}
	if (bytes != NULL)
		bytes[len] = '\0';
	return bytes;
}

/* Ends the line at *at and moves *at behind it; NULL: there is no whole line. */
static char *take_line(char **at, const char *end)
{
	char *line = *at;
	char *newline = memchr(line, '\n', (size_t)(end - line));

	if (newline == NULL)
		return NULL;
	*newline = '\0';
	*at = newline + 1;
	return line;
}

static bool add_entry(struct archive *archive, char *line)
{
	struct archive_entry entry = {.is_folder = line[0] == 'd'};
	struct archive_entry *entries;
	char *at = line + 1;

	if (!entry.is_folder)
	{
		if (line[0] != 'f')
			return false;
		entry.offset = strtoul(at, &at, 10);
		entry.size = strtoul(at, &at, 10);
		entry.length = strtoul(at, &at, 10);
	}
	if (at[0] != ' ' || at[1] == '\0')
		return false;
	entry.path = at + 1;
	if (archive->nentries % 256 == 0)
	{
		entries = realloc(archive->entries, (archive->nentries + 256) * sizeof(*entries));
		if (entries == NULL)
			return false;
		archive->entries = entries;
	}
	archive->entries[archive->nentries++] = entry;
	return true;
}

/* Cuts verified bytes into key, entries and data. */
static bool parse(struct archive *archive, size_t len)
{
	char *end = archive->bytes + len;
	char *at = strstr(archive->bytes + HEAD_LEN, "\n\n");
	char *line;

	if (at == NULL)
		return false;
	archive->key = archive->bytes + HEAD_LEN;
	at[1] = '\0';
	at += 2;
	line = take_line(&at, end);
	if (line == NULL || sscanf(line, "nonce %zu", &archive->nonce_at) != 1)
		return false;
	while ((line = take_line(&at, end)) != NULL && line[0] != '\0')
	{
		if (!add_entry(archive, line))
			return false;
	}
	archive->data = at;
	archive->data_len = (size_t)(end - at);
	for (size_t i = 0; line != NULL && i < archive->nentries; i++)
	{
		const struct archive_entry *entry = &archive->entries[i];

		if (entry->offset > archive->data_len || entry->size > archive->data_len - entry->offset ||
			entry->length < entry->size)
			return false;
	}
	return line != NULL;
}

enum archive_state archive_read(struct archive *archive, int folder, const char *name)
{
	/* A pipe in its place would have us wait for a writer. */
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char hex[ARCHIVE_HEX_LEN + 1];
	struct stat status;
	size_t len;

	*archive = (struct archive){0};
	if (fd < 0)
		return ARCHIVE_ABSENT;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
		(status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
	{
		close(fd);
		return ARCHIVE_UNTRUSTED;
	}
	len = (size_t)status.st_size;
	if (status.st_size > (off_t)HEAD_LEN && status.st_size <= ARCHIVE_MAX_BYTES)
		archive->bytes = archive_read_bytes(fd, len);
	futimens(fd, NULL); /* the least used one is removed first */
	close(fd);
	if (archive->bytes == NULL || memcmp(archive->bytes, ARCHIVE_MAGIC, ARCHIVE_MAGIC_LEN) != 0)
		return ARCHIVE_DAMAGED;
	archive_checksum(archive->bytes + HEAD_LEN, len - HEAD_LEN, hex);
	if (memcmp(archive->bytes + ARCHIVE_MAGIC_LEN, hex, ARCHIVE_HEX_LEN) != 0 || !parse(archive, len))
		return ARCHIVE_DAMAGED;
	return ARCHIVE_GOOD;
}

void archive_free(struct archive *archive)
{
	free(archive->bytes);
	free(archive->entries);
	*archive = (struct archive){0};
}

const struct archive_entry *archive_find(const struct archive *archive, const char *beginning)
{
	const struct archive_entry *found = NULL;

	for (size_t i = 0; i < archive->nentries; i++)
	{
		const struct archive_entry *entry = &archive->entries[i];

		if (entry->is_folder || strncmp(entry->path, beginning, strlen(beginning)) != 0)
			continue;
		if (found != NULL)
			return NULL;
		found = entry;
	}
	return found;
}

/* ---- unpacking -------------------------------------------------------------- */

/* Entries that threads share: each takes every nth of them. */
struct share
{
	const struct archive *archive;
	bool (*work)(const struct archive *archive, struct archive_entry *entry);
	size_t first, end;
	int error; /* errno; 0 = none */
	const char *failed;
};

static void *work_on_share(void *arg)
{
	struct share *share = arg;

	for (size_t i = share->first; i < share->end && share->error == 0; i++)
	{
		struct archive_entry *entry = &share->archive->entries[i];

		if (share->work(share->archive, entry))
			continue;
		share->error = errno;
		share->failed = entry->path;
	}
	return NULL;
}

/* Does something to every entry; neighbours, which are in one folder, are one thread's. */
static bool on_all(const struct archive *archive, size_t nthreads,
				   bool (*work)(const struct archive *archive, struct archive_entry *entry),
				   const char **path)
{
	struct share shares[SYNC_THREADS];
	pthread_t threads[SYNC_THREADS];
	bool running[SYNC_THREADS];
	bool good = true;

	for (size_t i = 0; i < nthreads; i++)
	{
		shares[i] = (struct share){.archive = archive,
								   .work = work,
								   .first = archive->nentries * i / nthreads,
								   .end = archive->nentries * (i + 1) / nthreads};
		running[i] = pthread_create(&threads[i], NULL, work_on_share, &shares[i]) == 0;
		if (!running[i])
			work_on_share(&shares[i]);
	}
	for (size_t i = 0; i < nthreads; i++)
	{
		if (running[i])
			pthread_join(threads[i], NULL);
		if (shares[i].error == 0)
			continue;
		errno = shares[i].error;
		*path = shares[i].failed;
		good = false;
	}
	return good;
}

bool archive_write_bytes(int fd, const char *bytes, size_t len)
{
	while (len > 0)
	{
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static bool write_zeros(int fd, size_t len)
{
	static const char zeros[65536];

	while (len > 0)
	{
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);

		if (!archive_write_bytes(fd, zeros, n))
			return false;
		len -= n;
	}
	return true;
}

static bool unpack_entry(const struct archive *archive, struct archive_entry *entry)
{
	size_t zeros = entry->length - entry->size;
	int fd;

	if (entry->written)
		return true;
	if (entry->is_folder)
		return entry->written = mkdir(entry->path, 0700) == 0;
	fd = open(entry->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	entry->written = fd >= 0 && archive_write_bytes(fd, archive->data + entry->offset, entry->size) &&
					 (archive->sparse ? ftruncate(fd, (off_t)entry->length) == 0 : write_zeros(fd, zeros));
	if (fd >= 0 && close(fd) != 0)
		entry->written = false;
	return entry->written;
}

bool archive_unpack_shared(const struct archive *archive, const char **path)
{
	for (size_t i = 0; i < archive->nentries; i++)
	{
		struct archive_entry *entry = &archive->entries[i];

		*path = entry->path;
		if (!entry->is_folder && strncmp(entry->path, DATABASES, strlen(DATABASES)) == 0)
			continue;
		if (!unpack_entry(archive, entry))
			return false;
	}
	return true;
}

bool archive_unpack_rest(const struct archive *archive, const char **path)
{
	return on_all(archive, UNPACK_THREADS, unpack_entry, path);
}

static bool sync_entry(const struct archive *archive, struct archive_entry *entry)
{
	int fd = open(entry->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool synced;

	(void)archive;
	if (fd < 0)
		return errno == ENOENT;
	synced = fsync(fd) == 0;
	close(fd);
	return synced;
}

bool archive_sync(const struct archive *archive, const char **path)
{
	struct archive_entry root = {.path = "."};

	*path = root.path;
	return on_all(archive, SYNC_THREADS, sync_entry, path) && sync_entry(archive, &root);
}
