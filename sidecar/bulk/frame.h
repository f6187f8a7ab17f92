/*
 * import_batch: records of an import that go to Postgres as one frame, in one transaction.
 */
#ifndef MILLRACE_IMPORT_BATCH_H
#define MILLRACE_IMPORT_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "bulk/record.h"

#include "extension/protocol.h"

#define IMPORT_BATCH_RECORDS MAX_STREAMS /* each may be of another stream */
#define IMPORT_BATCH_BYTES ((size_t)4 * 1024 * 1024)

struct import_batch
{
	struct buf frame;
	bool redacted; /* takes messages that say that they were */
	unsigned count;
	size_t ends[IMPORT_BATCH_RECORDS]; /* of the records in the frame */
	uint64_t lines[IMPORT_BATCH_RECORDS];
};

/* Whether it has as many records, or bytes, as one may have. */
bool import_batch_is_full(const struct import_batch *batch);
/* Empties it, and writes the head of its frame. */
void import_batch_clear(struct import_batch *batch);
/* Adds a line of that number.  False: what is wrong with it is in *fault, and nothing was added. */
bool import_batch_add(struct import_batch *batch, struct slice line, uint64_t number,
					  struct import_fault *fault);
/* Makes its first `count` records, at least one, the frame. */
void import_batch_set_count(struct import_batch *batch, unsigned count);

#endif
