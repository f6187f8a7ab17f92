/*
 * batch.c: a frame and where its records end (see batch.h).
 */
#include "bulk/batch.h"

#include <arpa/inet.h>
#include <string.h>

bool import_batch_is_full(const struct import_batch *batch)
{
	return batch->count == IMPORT_BATCH_RECORDS || batch->frame.len >= IMPORT_BATCH_BYTES;
}

void import_batch_clear(struct import_batch *batch)
{
	batch->count = 0;
	if (batch->frame.cap > 2 * IMPORT_BATCH_BYTES)
		buf_free(&batch->frame);
	buf_clear(&batch->frame);
	buf_add_u8(&batch->frame, IMPORT_VERSION_MARKS);
	buf_add_u32(&batch->frame, 0);
}

bool import_batch_add(struct import_batch *batch, struct slice line, uint64_t number,
					  struct import_fault *fault)
{
	if (!import_record_encode(line, batch->redacted, &batch->frame, fault))
		return false;
	batch->ends[batch->count] = batch->frame.len;
	batch->lines[batch->count] = number;
	batch->count++;
	return true;
}

void import_batch_set_count(struct import_batch *batch, unsigned count)
{
	uint32_t number = htonl(count);

	memcpy(batch->frame.data + 1, &number, sizeof(number));
	batch->frame.len = batch->ends[count - 1];
}
