/*
 * gather.c: requests are written into the batch that gathers; see batch.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/batch_internal.h"

static bool batch_is_full(const struct batch *batch, const struct config *config)
{
	return batch->nmessages >= config->batch_messages || batch->nparts >= MAX_STREAMS ||
		   batch->frame.len >= (size_t)config->batch_bytes;
}

struct buf *db_append_begin(struct db *db, enum db_status *why)
{
	struct batcher *batcher = &db->batcher;
	struct batch *batch = TAILQ_LAST(&batcher->gathering, batch_list);

	*why = DB_UNAVAILABLE;
	if (db->shared.closing || conn_outage_is_long(&batcher->conn, clock_ms()))
		return NULL;
	*why = DB_OVERLOADED;
	if (!shared_has_room(&db->shared, 0))
		return NULL;
	if (batch == NULL || batch_is_full(batch, db->shared.config))
		batch = batch_new(batcher);
	if (batch == NULL)
		return NULL;
	batcher->writing = batch;
	batcher->mark = batch->frame.len;
	return &batch->frame;
}

void db_append_abandon(struct db *db)
{
	struct batcher *batcher = &db->batcher;

	buf_truncate(&batcher->writing->frame, batcher->mark);
	/* What stands before the mark is whole, see base/buf.c. */
	batcher->writing->frame.failed = false;
	batcher->writing = NULL;
}

/* A request that would make a batch too large starts a new one; returns the batch it is in. */
static struct batch *move_if_too_large(struct batcher *batcher, const struct db_append *append)
{
	const struct config *config = batcher->conn.shared->config;
	struct batch *batch = batcher->writing;
	struct batch *next;

	if (batch->count == 0 || (batch->nmessages + append->nmessages <= config->batch_messages &&
							  batch->nparts + append->nparts + append->nconditions <= MAX_STREAMS &&
							  batch->frame.len <= (size_t)config->batch_bytes))
		return batch;
	next = batch_new(batcher);
	if (next == NULL)
		return NULL;
	buf_add(&next->frame, batch->frame.data + batcher->mark, batch->frame.len - batcher->mark);
	if (next->frame.failed)
	{
		batch_reset(next); /* it stays as an empty tail */
		return NULL;
	}
	buf_truncate(&batch->frame, batcher->mark);
	batcher->writing = next;
	batcher->mark = FRAME_HEADER_LEN;
	return next;
}

bool db_append_end(struct db *db, const struct db_append *append)
{
	struct batcher *batcher = &db->batcher;
	struct append request = {.namespace_name = append->namespace_name,
							 .done = append->done,
							 .arg = append->arg,
							 .deadline = shared_deadline(&db->shared, clock_ms()),
							 .nparts = append->nparts,
							 .conditional = append->nconditions > 0};
	struct batch *batch = NULL;

	if (!batcher->writing->frame.failed)
		batch = move_if_too_large(batcher, append);
	if (batch == NULL || !batch_reserve(batch))
	{
		db_append_abandon(db);
		return false;
	}
	request.offset = batcher->mark;
	db->shared.waiting_requests++;
	db->shared.waiting_bytes += batch->frame.len - batcher->mark;
	batch->requests[batch->count++] = request;
	batch->nmessages += append->nmessages;
	batch->nparts += append->nparts + append->nconditions;
	batch->new_ids = batch->new_ids && append->new_ids;
	batcher->writing = NULL;
	shared_schedule(&db->shared);
	return true;
}
