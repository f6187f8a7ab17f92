/*
 * embedded_archive: a stopped cluster in one file, with a checksum.
 *
 *     millrace-cluster 1 SHA-256 of all that follows this line
 *     key: lines that say what the cluster was made with and of
 *     an empty line
 *     crc AT                     where the CRC of its control file is
 *     d PATH                     a folder; before all that is in it
 *     f OFFSET SIZE PATH         a file, its bytes below
 *     an empty line
 *     bytes                      those of files that are alike (three new databases are) once
 *
 * The files of pg_wal are left out: the write-ahead log names the cluster, so a copy needs a new one.
 */
#ifndef MILLRACE_EMBEDDED_ARCHIVE_H
#define MILLRACE_EMBEDDED_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

struct archive_entry
{
	const char *path; /* in the cluster */
	size_t offset, size;
	bool is_folder, written;
};

/* Owns `bytes`, which everything else points into, and `entries`. */
struct archive
{
	char *bytes;
	const char *key;
	size_t crc_at;
	struct archive_entry *entries;
	size_t nentries;
	char *data;
	size_t data_len;
};

enum archive_state
{
	ARCHIVE_GOOD,
	ARCHIVE_ABSENT,
	ARCHIVE_UNTRUSTED, /* not a file of ours alone */
	ARCHIVE_DAMAGED,
};

/* Packs the cluster in folder `cluster` into a new file `path`; `key` ends with a newline.  False: *error says why. */
bool archive_pack(const char *path, const char *cluster, const char *key, size_t crc_at, struct buf *error);

/* Reads `name` in an open folder and verifies its checksum.  To be freed whatever it returns. */
enum archive_state archive_read(struct archive *archive, int folder, const char *name);
void archive_free(struct archive *archive);
struct archive_entry *archive_find(const struct archive *archive, const char *path);

/* Below the working directory; false: errno, and *path where it happened. */
bool archive_unpack_folders(const struct archive *archive, const char **path);
bool archive_unpack_file(const struct archive *archive, struct archive_entry *entry);
bool archive_unpack_shared(const struct archive *archive,
						   const char **path); /* all but the databases' files */
bool archive_unpack_rest(const struct archive *archive, const char **path);
/* Makes what was unpacked durable.  The server may be running in it: what it has removed meanwhile is passed over. */
bool archive_sync(const struct archive *archive, const char **path);

#endif
