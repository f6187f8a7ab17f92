/*
 * archive: the lines of an export that are no messages, and the checksum of an archive (README.md,
 * "Import and export").
 *
 * Their first key is "millrace", which says what they are.  An archive is the lines from its head to its
 * tail, which has how many messages are between and the SHA-256 of all bytes before it.
 */
#ifndef MILLRACE_ARCHIVE_H
#define MILLRACE_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

#define ARCHIVE_SUM_LEN 64 /* hex digits */

/* Zero at first. */
struct archive_sum
{
	struct evp_md_ctx_st *sha;
	uint64_t messages;
};

/* Whether a line is of this kind. */
bool archive_is_mark(struct slice line);
/* The same, and `kind` says which: "archive" is the head, "archived" the tail.  The line was checked. */
bool archive_is_kind(struct slice line, const char *kind);
/* The value of a member of such a line; .bytes NULL: it has none. */
struct slice archive_member(struct slice line, const char *name);

/* Begins a sum, also anew.  False: out of memory. */
bool archive_sum_begin(struct archive_sum *sum);
/* Adds a line without its end; a message counts. */
void archive_sum_line(struct archive_sum *sum, struct slice line);
/* Adds lines of messages, which may come in pieces. */
void archive_sum_bytes(struct archive_sum *sum, struct slice bytes);
/* The digest of what was added, as hex with a NUL; nothing more is added then. */
void archive_sum_end(struct archive_sum *sum, char digest[ARCHIVE_SUM_LEN + 1]);
void archive_sum_free(struct archive_sum *sum);
/* Ends the sum; false: the tail tells another number of messages, or another sum. */
bool archive_sum_check(struct archive_sum *sum, struct slice tail);

/* SHA-256 of bytes, as hex with a NUL. */
void archive_digest(struct slice bytes, char digest[ARCHIVE_SUM_LEN + 1]);

/* Lines, with their ends. */
void archive_write_head(struct buf *out, const char *category, const char *before);
void archive_write_tail(struct buf *out, uint64_t messages, const char digest[ARCHIVE_SUM_LEN + 1]);

#endif
