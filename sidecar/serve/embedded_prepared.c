/*
 * embedded_prepared: a cluster that is made once and kept, to begin others with; see embedded_internal.h.
 *
 * initdb takes most of a new store's first seconds, and its work is nearly the same each time.  So a cluster
 * made by initdb, with the extension created in it, is kept as one archive (embedded_archive.h).  A new store
 * unpacks it.
 *
 * Where.  --cluster-cache, else $XDG_CACHE_HOME/millrace or ~/.cache/millrace; for root, who runs Postgres as
 * another user, /var/cache/millrace-USER.  A cluster is code that will run (functions, settings), so the
 * folder and the archive must be that user's own, and no other user but root may write them or rename what is
 * above: else the folder is refused.  Without a folder, and on every failure here, initdb is used.
 *
 * What for.  The archive's key says what it was made with: the version that the programs tell, size and time
 * of initdb, postgres and the catalog that initdb reads, the options of initdb, and the checksum of the
 * extension's files, so that a store never begins with another version's functions; what was replaced while
 * one was made leaves none.  An archive whose key is not that of today is replaced.  Its name is that of the
 * folder of the programs, so that installations beside each other do not replace each other's; the KEEP last
 * used are kept.
 *
 * Whole or not at all.  It is written beside, then renamed; its checksum is verified, in memory, before
 * anything is unpacked from there; a damaged one is removed.  What was unpacked by halves is removed.
 *
 * An identity of its own.  PostgreSQL tells clusters apart by an identifier in pg_control and in the
 * write-ahead log.  The prepared cluster is shut down, and pg_resetwal leaves of its log a single checkpoint.
 * So a new store needs the identifier written in two places, and a CRC (embedded_identity.h); the nonce
 * beside it is renewed, too.  No page bears any of them.  Where they are is found with what pg_controldata
 * prints whenever an archive is made: should a version of PostgreSQL keep them elsewhere, there is no
 * archive, and initdb is used.  Postgres itself does not start where pg_control's CRC is wrong, or where log
 * and pg_control bear different identifiers.
 *
 * In which process.  One that is forked and becomes the user that runs Postgres, so root reads and writes
 * nothing of that user.
 *
 *     unpacker   Unpacks what Postgres starts with, says so on a pipe, and goes on with the rest and with
 *                flushing while Postgres starts on that (embedded_unpack.c and embedded_cluster.c say why
 *                that is safe).
 *     preparer   Only where there was no archive.  Forked before there are threads, it waits until the server
 *                listens, then works at a lower priority: initdb once more, in a folder of its own that no
 *                store uses.  One at a time by a lock; it first removes what killed ones left.  When the
 *                server stops it stops, too, and leaves nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/embedded_internal.h"
#include "serve/embedded_prepared.h"
#include "base/log.h"
#include "base/version.h"

/* ---- the folder ----------------------------------------------------------------- */

/* Writes which folder; false: none is wanted, or none is known. */
static bool name_folder(const struct embedded *embedded, char path[PATH_MAX])
{
	const char *given = embedded->config->cluster_cache;
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	int len = 0;

	if (given != NULL)
		len = snprintf(path, PATH_MAX, "%s", given);
	else if (embedded->dir.drop)
		len = snprintf(path, PATH_MAX, "/var/cache/millrace-%s", embedded->dir.user);
	else if (cache != NULL && cache[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/millrace", cache);
	else if (home != NULL && home[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/.cache/millrace", home);
	return len > 0 && len < PATH_MAX;
}

/* Makes the folder for the user that runs Postgres, ~/.cache too. */
static void make_folder(const struct embedded *embedded, const char *path)
{
	const char *slash = strrchr(path, '/');
	char above[PATH_MAX];
	bool made = mkdir(path, 0700) == 0;
	int fd;

	if (!made && errno == ENOENT && slash != NULL && !embedded->dir.drop)
	{
		snprintf(above, sizeof(above), "%.*s", (int)(slash - path), path);
		made = mkdir(above, 0700) == 0 && mkdir(path, 0700) == 0;
	}
	if (!made || !embedded->dir.drop)
		return;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fchown(fd, embedded->dir.uid, embedded->dir.gid) != 0)
		log_warning("could not give %s to user %s: %s", path, embedded->dir.user, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Only `uid` may write the folder; only `uid` and root may rename it, or what is above. */
static bool is_safe(const char *folder, uid_t uid)
{
	char path[PATH_MAX];
	bool above = false;

	snprintf(path, sizeof(path), "%s", folder);
	for (;;)
	{
		char *slash = strrchr(path, '/');
		struct stat status;

		if (slash == NULL || lstat(path, &status) != 0 || !S_ISDIR(status.st_mode))
			return false;
		if (status.st_uid != uid && !(above && status.st_uid == 0))
			return false;
		if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !(above && (status.st_mode & S_ISVTX) != 0))
			return false;
		if (slash[1] == '\0')
			return true;
		slash[slash == path] = '\0';
		above = true;
	}
}

int prepared_open_folder(const struct embedded *embedded)
{
	if (!is_safe(embedded->cache, geteuid()))
	{
		log_warning("%s is not used: it, or a folder above it, belongs to or can be written by another user",
					embedded->cache);
		return -1;
	}
	return open(embedded->cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void prepared_find_folder(struct embedded *embedded)
{
	char path[PATH_MAX];

	embedded->cache[0] = '\0';
	if (!name_folder(embedded, path))
		return;
	make_folder(embedded, path);
	if (realpath(path, embedded->cache) != NULL)
		return;
	embedded->cache[0] = '\0';
	if (embedded->config->cluster_cache != NULL)
		log_warning("--cluster-cache %s is not used: %s", path, strerror(errno));
	else
		log_debug("there is no %s: %s", path, strerror(errno));
}

/* ---- the key --------------------------------------------------------------------- */

void prepared_name(const struct embedded *embedded, char name[PREPARED_NAME_LEN + 1])
{
	const char *folder = embedded->config->pg_bindir;
	char hex[ARCHIVE_HEX_LEN + 1];

	archive_checksum(folder, strlen(folder), hex);
	snprintf(name, PREPARED_NAME_LEN + 1, PREPARED_NAME "%.16s", hex);
}

/* Of the smallest program: all of them are from one build, and it answers in a millisecond. */
static bool add_version(const struct embedded *embedded, struct buf *key)
{
	char program[PATH_MAX];
	char answer[256];

	snprintf(program, sizeof(program), "%s/pg_resetwal", embedded->config->pg_bindir);
	if (!embedded_ask(embedded, (char *const[]){program, "--version", NULL}, answer, sizeof(answer)))
		return false;
	buf_printf(key, "version %.*s\n", (int)strcspn(answer, "\n"), answer);
	return true;
}

static bool add_file(const char *folder, const char *name, struct buf *key)
{
	char path[PATH_MAX];
	struct stat status;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (stat(path, &status) != 0)
		return false;
	buf_printf(key, "file %s %lld %lld.%09ld\n", path, (long long)status.st_size,
			   (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
	return true;
}

static int is_extension_file(const struct dirent *entry)
{
	const char *name = entry->d_name;
	size_t len = strlen(name);

	return strcmp(name, "millrace.control") == 0 ||
		   (strncmp(name, "millrace--", 10) == 0 && len > 4 && strcmp(name + len - 4, ".sql") == 0);
}

static bool add_contents(const char *folder, const char *name, struct buf *all)
{
	char path[PATH_MAX + 300];
	char piece[8192];
	size_t n;
	FILE *file;
	bool read;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	buf_add(all, name, strlen(name) + 1);
	while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
		buf_add(all, piece, n);
	read = !ferror(file);
	fclose(file);
	return read;
}

/* One checksum over names and contents of the control file and the scripts. */
static bool add_extension(const char *share, struct buf *key)
{
	char folder[PATH_MAX];
	char hex[ARCHIVE_HEX_LEN + 1];
	struct dirent **files;
	struct buf all = {0};
	bool read = true;
	int nfiles;

	snprintf(folder, sizeof(folder), "%s/extension", share);
	nfiles = scandir(folder, &files, is_extension_file, alphasort);
	for (int i = 0; i < nfiles; i++)
	{
		read = read && add_contents(folder, files[i]->d_name, &all);
		free(files[i]);
	}
	if (nfiles >= 0)
		free(files);
	read = read && nfiles > 0 && !all.failed;
	if (read)
	{
		archive_checksum(all.data, all.len, hex);
		buf_printf(key, "extension %s\n", hex);
	}
	buf_free(&all);
	return read;
}

bool prepared_describe(const struct embedded *embedded, const char *share, struct buf *key)
{
	const char *programs = embedded->config->pg_bindir;

	buf_printf(key, "share %s\nmillrace " MILLRACE_VERSION "\n", share);
	for (size_t i = 0; embedded_initdb_options[i] != NULL; i++)
		buf_printf(key, "option %s\n", embedded_initdb_options[i]);
	return add_version(embedded, key) && add_file(programs, "initdb", key) &&
		   add_file(programs, "postgres", key) && add_file(share, "postgres.bki", key) &&
		   add_extension(share, key) && !key->failed;
}

static bool key_fits(const struct embedded *embedded, const struct archive *archive)
{
	char share[PATH_MAX];
	struct buf key = {0};
	bool fits = sscanf(archive->key, "share %4000[^\n]", share) == 1 &&
				prepared_describe(embedded, share, &key) && strlen(archive->key) == key.len &&
				memcmp(archive->key, key.data, key.len) == 0;

	buf_free(&key);
	return fits;
}

bool prepared_read(const struct embedded *embedded, int folder, struct archive *archive)
{
	char name[PREPARED_NAME_LEN + 1];

	prepared_name(embedded, name);
	switch (archive_read(archive, folder, name))
	{
		case ARCHIVE_GOOD:
			if (key_fits(embedded, archive))
				return true;
			log_debug("%s/%s is of another version", embedded->cache, name);
			return false;
		case ARCHIVE_ABSENT:
			return false;
		case ARCHIVE_UNTRUSTED:
			log_warning("%s/%s is not used: it belongs to or can be written by another user", embedded->cache,
						name);
			return false;
		case ARCHIVE_DAMAGED:
			log_warning("%s/%s is damaged, and removed", embedded->cache, name);
			unlinkat(folder, name, 0);
			return false;
	}
	return false;
}

bool prepared_identity(const struct archive *archive, struct identity *identity)
{
	const struct archive_entry *control = archive_find(archive, PREPARED_CONTROL);
	const struct archive_entry *log = archive_find(archive, "pg_wal/");

	return control != NULL && log != NULL &&
		   identity_find(identity, (unsigned char *)archive->data + control->offset, control->size,
						 archive->nonce_at, (unsigned char *)archive->data + log->offset, log->size);
}
