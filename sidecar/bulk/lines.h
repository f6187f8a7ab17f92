/*
 * import_lines: cuts a body that comes in pieces, perhaps compressed, into lines (see import.h).
 *
 * Memory is bounded whatever comes: one unfinished line of at most max_line bytes and, for gzip, one
 * buffer that is refilled when its lines were taken.
 */
#ifndef MILLRACE_IMPORT_LINES_H
#define MILLRACE_IMPORT_LINES_H

#include <stdbool.h>
#include <stdint.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/slice.h"

enum import_lines_fault
{
	LINES_SOUND,
	LINES_TOO_LONG,
	LINES_GZIP_DAMAGED,
	LINES_GZIP_CUT,
	LINES_NO_MEMORY,
};

struct import_lines
{
	size_t max_line;
	uint64_t number; /* of the last line taken, from 1 */
	/* Takes a line without its end; false: no more for now.  Blank lines are counted and not taken. */
	bool (*take)(void *arg, struct slice line);
	void *arg;
	enum import_lines_fault fault; /* nothing is read after one */

	struct buf unfinished; /* the beginning of a line whose end did not come yet */
	bool gzip;
	bool member_ended;	/* a gzip file may hold several, one behind the other */
	bool inflated_full; /* zlib may have more without more input */
	z_stream inflater;	/* with gzip */
	char *inflated;		/* with gzip */
	size_t inflated_at, inflated_len;
};

/* False: out of memory. */
bool import_lines_open(struct import_lines *lines, bool gzip);
void import_lines_close(struct import_lines *lines);
/* Returns how many bytes were used: fewer than there are when `take` wanted no more, or after a fault. */
size_t import_lines_feed(struct import_lines *lines, struct slice bytes);
/* Takes the lines that an earlier feed left behind; false: `take` wanted no more, or there was a fault. */
bool import_lines_go_on(struct import_lines *lines);
/* After the last byte, when nothing is left behind: a last line without an end is one, too. */
void import_lines_end(struct import_lines *lines);

#endif
