/*
 * import_frame: records of an import that go to Postgres in one transaction.
 *
 * They are a batch, or several: those that came while Postgres was busy with the frame before, so that the
 * disk is waited for less often.  Each batch is stored whole or not at all, and is told when it is full.
 */
#ifndef MILLRACE_IMPORT_FRAME_H
#define MILLRACE_IMPORT_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "bulk/record.h"

#include "extension/protocol.h"

#define IMPORT_FRAME_BATCHES 4
#define IMPORT_FRAME_RECORDS (IMPORT_FRAME_BATCHES * IMPORT_BATCH_RECORDS)
#define IMPORT_FRAME_BYTES ((size_t)4 * 1024 * 1024)
#define IMPORT_FRAME_STREAMS 4096 /* places for twice MAX_STREAMS and more */

/* Of one batch. */
struct import_told
{
	unsigned messages;
	int64_t global_position; /* the highest */
};

struct import_frame
{
	struct buf bytes;
	bool redacted;	/* takes messages that say that they were */
	unsigned count; /* of its records */
	unsigned sent;	/* how many of them Postgres was given */
	size_t ends[IMPORT_FRAME_RECORDS];
	uint64_t lines[IMPORT_FRAME_RECORDS];
	struct import_told told[IMPORT_FRAME_BATCHES];
	/* Hashes of the streams, each of which will be locked; 0 is a free place. */
	unsigned nstreams;
	uint64_t streams[IMPORT_FRAME_STREAMS];
};

/* Whether no more records may come. */
bool import_frame_is_full(const struct import_frame *frame);
/* How many of its records are in batches that are full. */
unsigned import_frame_whole(const struct import_frame *frame);
/* Empties it, and writes its head. */
void import_frame_clear(struct import_frame *frame);
/* Adds a line of that number.  False: what is wrong with it is in *fault, and nothing was added. */
bool import_frame_add(struct import_frame *frame, struct slice line, uint64_t number,
					  struct import_fault *fault);
/* Moves all but the first `count` records to an empty one. */
void import_frame_move_rest(struct import_frame *frame, unsigned count, struct import_frame *rest);
/* Makes the first `count` records, at least one, what is sent. */
void import_frame_set_sent(struct import_frame *frame, unsigned count);

#endif
