/*
 * embedded_archive: a stopped cluster in one file; see embedded_archive.h.
 *
 * A thousand small files are mostly waiting for the file system, so several threads unpack and flush them: with
 * flushes under way side by side, one commit of the file system's journal serves many.
 */
#include "embedded_archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "millrace-cluster 1 "
#define MAGIC_LEN (sizeof(MAGIC) - 1)
#define HEX_LEN (2 * (size_t)SHA256_DIGEST_LENGTH)
#define HEAD_LEN (MAGIC_LEN + HEX_LEN + 1)
#define DATABASES "base/"
#define MAX_BYTES ((off_t)512 * 1024 * 1024)
#define UNPACK_THREADS 4
#define SYNC_THREADS 16

static void checksum(const char *bytes, size_t len, char hex[HEX_LEN + 1])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)bytes, len, digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

/* ---- reading ---------------------------------------------------------------- */

/* Reads all of a file that is as long as `len` said; NULL: errno, or it is shorter. */
static char *read_bytes(int fd, size_t len)
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
	if (line == NULL || sscanf(line, "crc %zu", &archive->crc_at) != 1)
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

		if (entry->offset > archive->data_len || entry->size > archive->data_len - entry->offset)
			return false;
	}
	return line != NULL;
}

enum archive_state archive_read(struct archive *archive, int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char hex[HEX_LEN + 1];
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
	if (status.st_size > (off_t)HEAD_LEN && status.st_size <= MAX_BYTES)
		archive->bytes = read_bytes(fd, len);
	futimens(fd, NULL); /* the least used one is removed first */
	close(fd);
	if (archive->bytes == NULL || memcmp(archive->bytes, MAGIC, MAGIC_LEN) != 0)
		return ARCHIVE_DAMAGED;
	checksum(archive->bytes + HEAD_LEN, len - HEAD_LEN, hex);
	if (memcmp(archive->bytes + MAGIC_LEN, hex, HEX_LEN) != 0 || !parse(archive, len))
		return ARCHIVE_DAMAGED;
	return ARCHIVE_GOOD;
}

void archive_free(struct archive *archive)
{
	free(archive->bytes);
	free(archive->entries);
	*archive = (struct archive){0};
}

struct archive_entry *archive_find(const struct archive *archive, const char *path)
{
	for (size_t i = 0; i < archive->nentries; i++)
	{
		if (strcmp(archive->entries[i].path, path) == 0)
			return &archive->entries[i];
	}
	return NULL;
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

static bool write_bytes(int fd, const char *bytes, size_t len)
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

bool archive_unpack_folders(const struct archive *archive, const char **path)
{
	for (size_t i = 0; i < archive->nentries; i++)
	{
		*path = archive->entries[i].path;
		if (archive->entries[i].is_folder && mkdir(*path, 0700) != 0)
			return false;
	}
	return true;
}

bool archive_unpack_file(const struct archive *archive, struct archive_entry *entry)
{
	int fd;
	bool written;

	if (entry->is_folder || entry->written)
		return true;
	fd = open(entry->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	written = fd >= 0 && write_bytes(fd, archive->data + entry->offset, entry->size);
	if (fd >= 0 && close(fd) != 0)
		written = false;
	entry->written = written;
	return written;
}

bool archive_unpack_shared(const struct archive *archive, const char **path)
{
	for (size_t i = 0; i < archive->nentries; i++)
	{
		struct archive_entry *entry = &archive->entries[i];

		*path = entry->path;
		if (strncmp(entry->path, DATABASES, strlen(DATABASES)) != 0 && !archive_unpack_file(archive, entry))
			return false;
	}
	return true;
}

bool archive_unpack_rest(const struct archive *archive, const char **path)
{
	return on_all(archive, UNPACK_THREADS, archive_unpack_file, path);
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

/* ---- packing ---------------------------------------------------------------- */

struct packing
{
	struct buf index, data;
	struct archive_entry *files; /* of those whose bytes are in `data`; their paths are not kept */
	size_t nfiles;
	struct buf *error;
};

static bool complain(struct packing *packing, const char *doing, const char *path)
{
	buf_printf(packing->error, "could not %s %s: %s", doing, path, strerror(errno));
	return false;
}

/* Where those bytes are in the data already; else adds them.  False: out of memory. */
static bool add_bytes(struct packing *packing, const char *bytes, size_t len, size_t *offset)
{
	struct archive_entry *files;

	for (size_t i = 0; i < packing->nfiles; i++)
	{
		*offset = packing->files[i].offset;
		if (packing->files[i].size == len && memcmp(packing->data.data + *offset, bytes, len) == 0)
			return true;
	}
	files = realloc(packing->files, (packing->nfiles + 1) * sizeof(*files));
	if (files == NULL)
		return false;
	packing->files = files;
	*offset = packing->data.len;
	packing->files[packing->nfiles++] = (struct archive_entry){.offset = *offset, .size = len};
	buf_add(&packing->data, bytes, len);
	return !packing->data.failed;
}

static bool pack_file(struct packing *packing, int folder, const char *name, const char *path)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat status;
	size_t offset = 0;
	char *bytes = NULL;
	bool packed;

	if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size <= MAX_BYTES)
		bytes = read_bytes(fd, (size_t)status.st_size);
	packed =
		bytes != NULL && (status.st_size == 0 || add_bytes(packing, bytes, (size_t)status.st_size, &offset));
	if (packed)
		buf_printf(&packing->index, "f %zu %zu %s\n", offset, (size_t)status.st_size, path);
	else
		complain(packing, "read", path);
	free(bytes);
	if (fd >= 0)
		close(fd);
	return packed;
}

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name);

	return len >= strlen(end) && strcmp(name + len - strlen(end), end) == 0;
}

/*
 * Of pg_wal the folders are enough, and the server makes the caches of its catalog at every start.  The maps of free space and of
 * visibility are hints that it makes anew when it wants them; here they are a quarter of the files.
 */
static bool is_left_out(const char *folder, const char *name, bool is_folder)
{
	return !is_folder && (strcmp(folder, "pg_wal") == 0 ||
						  strncmp(name, "pg_internal.init", strlen("pg_internal.init")) == 0 ||
						  ends_with(name, "_fsm") || ends_with(name, "_vm"));
}

/* `path` is the folder's in the cluster, empty for the cluster itself. */
static bool pack_folder(struct packing *packing, int folder, const char *path)
{
	DIR *listing = fdopendir(folder);
	struct dirent *entry;
	bool packed = listing != NULL;

	while (packed && (entry = readdir(listing)) != NULL)
	{
		const char *name = entry->d_name;
		char below[PATH_MAX];
		struct stat status;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		snprintf(below, sizeof(below), "%s%s%s", path, path[0] != '\0' ? "/" : "", name);
		if (strchr(name, '\n') != NULL || fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			packed = complain(packing, "pack", below);
		else if (is_left_out(path, name, S_ISDIR(status.st_mode)))
			continue;
		else if (S_ISREG(status.st_mode))
			packed = pack_file(packing, folder, name, below);
		else if (S_ISDIR(status.st_mode))
		{
			buf_printf(&packing->index, "d %s\n", below);
			packed = pack_folder(
				packing, openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), below);
		}
		else
			packed = complain(packing, "pack", below);
	}
	if (listing != NULL)
		closedir(listing);
	else if (folder >= 0)
		close(folder);
	return packed;
}

/* Not flushed: a file that a crash leaves half written fails its checksum. */
static bool write_archive(struct packing *packing, const char *path, const struct buf *text)
{
	char hex[HEX_LEN + 1];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool written;

	checksum(text->data, text->len, hex);
	written = fd >= 0 && write_bytes(fd, MAGIC, MAGIC_LEN) && write_bytes(fd, hex, HEX_LEN) &&
			  write_bytes(fd, "\n", 1) && write_bytes(fd, text->data, text->len);
	if (fd >= 0 && close(fd) != 0)
		written = false;
	return written || complain(packing, "write", path);
}

bool archive_pack(const char *path, const char *cluster, const char *key, size_t crc_at, struct buf *error)
{
	struct packing packing = {.error = error};
	struct buf text = {0};
	bool packed = pack_folder(&packing, open(cluster, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), "");

	if (packed)
	{
		buf_printf(&text, "%s\ncrc %zu\n", key, crc_at);
		buf_add(&text, packing.index.data, packing.index.len);
		buf_add_str(&text, "\n");
		buf_add(&text, packing.data.data, packing.data.len);
		if (packing.index.failed || packing.data.failed || text.failed)
			packed = complain(&packing, "pack", cluster);
	}
	packed = packed && write_archive(&packing, path, &text);
	buf_free(&packing.index);
	buf_free(&packing.data);
	buf_free(&text);
	free(packing.files);
	return packed;
}
