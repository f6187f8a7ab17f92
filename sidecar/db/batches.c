/*
 * batches.c: the memory of batches, and the lists that they are on; see batch.c.
 */
#include <stdlib.h>

#include "db/batch_internal.h"

#define MAX_SPARES 4

void batch_reset(struct batch *batch)
{
	buf_clear(&batch->frame);
	buf_add_u8(&batch->frame, BATCH_VERSION);
	buf_add_u32(&batch->frame, 0);
	batch->first = batch->count = 0;
	batch->nmessages = 0;
	batch->nparts = 0;
	batch->attempts = 0;
	batch->single = false;
	batch->new_ids = true;
}

void batch_free(struct batch *batch)
{
	buf_free(&batch->frame);
	free(batch->requests);
	free(batch);
}

/* Keeps a few for reuse, but not the memory of an unusually large one. */
void batch_recycle(struct batcher *batcher, struct batch *batch)
{
	if (batcher->nspares == MAX_SPARES ||
		batch->frame.cap > 2 * (size_t)batcher->conn.shared->config->batch_bytes)
	{
		batch_free(batch);
		return;
	}
	TAILQ_INSERT_HEAD(&batcher->spares, batch, link);
	batcher->nspares++;
}

/* Starts a new tail; NULL when out of memory. */
struct batch *batch_new(struct batcher *batcher)
{
	struct batch *batch = TAILQ_FIRST(&batcher->spares);

	if (batch != NULL)
	{
		TAILQ_REMOVE(&batcher->spares, batch, link);
		batcher->nspares--;
	}
	else
		batch = calloc(1, sizeof(*batch));
	if (batch == NULL)
		return NULL;
	batch_reset(batch);
	if (batch->frame.failed)
	{
		batch_free(batch);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&batcher->gathering, batch, link);
	return batch;
}

struct batch *batch_pop(struct batcher *batcher)
{
	struct batch *batch = TAILQ_FIRST(&batcher->gathering);

	/* The analyzer can't know that one that was freed has left the list. */
	if (batch == NULL || batch->count == 0) /* NOLINT(clang-analyzer-unix.Malloc) */
		return NULL;
	TAILQ_REMOVE(&batcher->gathering, batch, link);
	return batch;
}

bool batch_reserve(struct batch *batch)
{
	unsigned capacity = batch->capacity == 0 ? 64 : batch->capacity * 2;
	struct append *requests;

	if (batch->count < batch->capacity)
		return true;
	requests = realloc(batch->requests, capacity * sizeof(*requests));
	if (requests == NULL)
		return false;
	batch->requests = requests;
	batch->capacity = capacity;
	return true;
}

/* Takes back a batch_new that came to nothing. */
void batch_unlink_tail(struct batcher *batcher)
{
	struct batch *batch = TAILQ_LAST(&batcher->gathering, batch_list);

	TAILQ_REMOVE(&batcher->gathering, batch, link);
	batch_free(batch);
}
