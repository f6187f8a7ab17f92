/*
 * embedded_pack: makes an archive of a cluster; see embedded_archive.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/embedded_archive.h"

#define TRIM_FROM ((size_t)1024 * 1024)

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

/* Without the zeros at its end: the file of a new write-ahead log is nearly nothing else. */
static size_t trimmed(const char *bytes, size_t len)
{
	if (len < TRIM_FROM)
		return len;
	while (len > 0 && bytes[len - 1] == '\0')
		len--;
	return len;
}

static bool pack_file(struct packing *packing, int folder, const char *name, const char *path)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat status;
	size_t len = 0, size = 0, offset = 0;
	char *bytes = NULL;
	bool packed;

	if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size <= ARCHIVE_MAX_BYTES)
	{
		len = (size_t)status.st_size;
		bytes = archive_read_bytes(fd, len);
	}
	if (bytes != NULL)
		size = trimmed(bytes, len);
	packed = bytes != NULL && (size == 0 || add_bytes(packing, bytes, size, &offset));
	if (packed)
		buf_printf(&packing->index, "f %zu %zu %zu %s\n", offset, size, len, path);
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
 * The server makes the caches of its catalog at every start.  The maps of free space and of visibility are
 * hints that it makes anew when it wants them; here they are a quarter of the files.
 */
static bool is_left_out(const char *name)
{
	return strncmp(name, "pg_internal.init", strlen("pg_internal.init")) == 0 || ends_with(name, "_fsm") ||
		   ends_with(name, "_vm");
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
		if (strchr(name, '\n') != NULL || fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
			!(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
			packed = complain(packing, "pack", below);
		else if (S_ISREG(status.st_mode))
			packed = is_left_out(name) || pack_file(packing, folder, name, below);
		else
		{
			buf_printf(&packing->index, "d %s\n", below);
			packed = pack_folder(
				packing, openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), below);
		}
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
	char hex[ARCHIVE_HEX_LEN + 1];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool written;

	archive_checksum(text->data, text->len, hex);
	written = fd >= 0 && archive_write_bytes(fd, ARCHIVE_MAGIC, ARCHIVE_MAGIC_LEN) &&
			  archive_write_bytes(fd, hex, ARCHIVE_HEX_LEN) && archive_write_bytes(fd, "\n", 1) &&
			  archive_write_bytes(fd, text->data, text->len);
	if (fd >= 0 && close(fd) != 0)
		written = false;
	return written || complain(packing, "write", path);
}

bool archive_pack(const char *path, const char *cluster, const char *key, size_t nonce_at, struct buf *error)
{
	struct packing packing = {.error = error};
	struct buf text = {0};
	bool packed = pack_folder(&packing, open(cluster, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), "");

	if (packed)
	{
		buf_printf(&text, "%s\nnonce %zu\n", key, nonce_at);
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
