/*
 * import_progress: how far an import was after each full batch, kept until its answer may begin.
 *
 * Of more than IMPORT_PROGRESS_MAX the oldest are dropped, so an import of any size takes the same memory.
 */
#ifndef MILLRACE_IMPORT_PROGRESS_H
#define MILLRACE_IMPORT_PROGRESS_H

#include <stdint.h>

#include "base/buf.h"

#define IMPORT_PROGRESS_MAX 10000

struct import_progress
{
	struct import_progress_mark *marks; /* [IMPORT_PROGRESS_MAX], NULL before the first */
	uint64_t count;						/* that were ever kept */
};

/* Without memory nothing is kept: the last event tells what matters. */
void import_progress_keep(struct import_progress *progress, uint64_t imported, int64_t global_position);
/* Adds one event to `out`. */
void import_progress_write_event(struct buf *out, uint64_t imported, int64_t global_position);
/* Adds the events of all that are kept, the oldest first. */
void import_progress_write(const struct import_progress *progress, struct buf *out);
void import_progress_free(struct import_progress *progress);

#endif
