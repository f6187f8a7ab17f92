/*
 * embedded_archive: a stopped cluster in one file, with a checksum.
 *
 *     millrace-cluster 1 SHA-256 of all that follows this line
 *     key: lines that say what the cluster was made with and of
 *     an empty line
 *     nonce AT                   where the nonce is in its control file (embedded_identity.h)
 *     d PATH                     a folder; before all that is in it
 *     f OFFSET SIZE LENGTH PATH  a file: SIZE bytes below, then zeros up to LENGTH
 *     an empty line
 *     bytes                      those of files that are alike (three new databases are) once
 */
#ifndef MILLRACE_EMBEDDED_ARCHIVE_H
#define MILLRACE_EMBEDDED_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

struct archive_entry
{
	const char *path; /* in the cluster */
	size_t offset, size, length;
	bool is_folder, written;
};

/* Owns `bytes`, which everything else points into, and `entries`. */
struct archive
{
	char *bytes;
	const char *key;
	size_t nonce_at;
	bool sparse; /* zeros at the end of a file need no room on disk */
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

/*
 * Packs the cluster in folder `cluster` into a new file `path`; `key` ends with a newline.  False: *error
 * says why.
 */
bool archive_pack(const char *path, const char *cluster, const char *key, size_t nonce_at, struct buf *error);

/* Reads `name` in an open folder and verifies its checksum.  To be freed whatever it returns. */
enum archive_state archive_read(struct archive *archive, int folder, const char *name);
void archive_free(struct archive *archive);
/* The one file whose path begins so; NULL: there is none, or there are several. */
const struct archive_entry *archive_find(const struct archive *archive, const char *beginning);

/* These work in the working directory; false: errno, and *path where it happened. */

/* Unpacks all but the databases' files. */
bool archive_unpack_shared(const struct archive *archive, const char **path);
/* Unpacks the databases' files, too. */
bool archive_unpack_rest(const struct archive *archive, const char **path);
/*
 * Makes what was unpacked durable.  The server may be running in it: what it has removed meanwhile is passed
 * over.
 */
bool archive_sync(const struct archive *archive, const char **path);

/* ---- what embedded_pack.c and embedded_archive.c share ----------------------- */

#define ARCHIVE_MAGIC "millrace-cluster 1 "
#define ARCHIVE_MAGIC_LEN (sizeof(ARCHIVE_MAGIC) - 1)
#define ARCHIVE_HEX_LEN ((size_t)64)
#define ARCHIVE_MAX_BYTES ((off_t)512 * 1024 * 1024)

/* Writes the SHA-256 of some bytes, in hexadecimal. */
void archive_checksum(const char *bytes, size_t len, char hex[ARCHIVE_HEX_LEN + 1]);
/* Reads all of a file that is as long as `len` says; NULL: errno, or it is shorter. */
char *archive_read_bytes(int fd, size_t len);
/* Writes all of them; false: errno. */
bool archive_write_bytes(int fd, const char *bytes, size_t len);

#endif
