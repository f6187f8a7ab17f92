/*
 * batch_internal.h: what the files of batches share; see batch.c.
 */
#ifndef MILLRACE_DB_BATCH_INTERNAL_H
#define MILLRACE_DB_BATCH_INTERNAL_H

#include "db/internal.h"

struct append
{
	const char *namespace_name;
	db_append_done done;
	void *arg;
	uint64_t deadline; /* ms */
	size_t offset;	   /* in the frame */
	unsigned nparts;
	bool conditional;
};

struct batch
{
	TAILQ_ENTRY(batch) link; /* among those that gather, or the spares */
	struct buf frame;
	struct append *requests;
	unsigned first, count, capacity;
	int64_t nmessages;
	unsigned nparts;   /* no fewer than the streams that it locks */
	unsigned attempts; /* connections lost under it */
	bool single;	   /* it was refused as a whole: one request at a time */
	bool new_ids;	   /* we made all ids, and none can have been stored yet */
};

/* Where a request ends in the frame. */
static inline size_t batch_request_end(const struct batch *batch, unsigned at)
{
	return at + 1 < batch->count ? batch->requests[at + 1].offset : batch->frame.len;
}

/* How many requests of a batch go into one statement. */
static inline unsigned batch_sent_count(const struct batch *batch)
{
	return batch->single ? 1 : batch->count - batch->first;
}

/* ---- batches.c: their memory, and the lists that they are on ------------------------------------ */

/* Empties one that may be used again. */
void batch_reset(struct batch *batch);
void batch_free(struct batch *batch);
/* Keeps a few for reuse, but not the memory of an unusually large one. */
void batch_recycle(struct batcher *batcher, struct batch *batch);
/* Starts a new tail of those that gather; NULL when out of memory. */
struct batch *batch_new(struct batcher *batcher);
/* Takes the oldest that gathers; NULL: it has nothing to send. */
struct batch *batch_pop(struct batcher *batcher);
/* Makes room for one more request; false: out of memory. */
bool batch_reserve(struct batch *batch);
/* Takes back a batch_new that came to nothing. */
void batch_unlink_tail(struct batcher *batcher);

/* ---- settle.c: answers ----------------------------------------------------------------------- */

/* Answers the first unanswered request of a batch. */
void batch_settle(struct batcher *batcher, struct batch *batch, const struct db_append_reply *reply);
void batch_settle_unavailable(struct batcher *batcher, struct batch *batch);
/* False: the answer is not one verdict for each of so many requests. */
bool batch_open_verdicts(const struct answer *answer, unsigned count, struct frame_verdicts *verdicts);
void batch_settle_verdicts(struct batcher *batcher, struct batch *batch, struct frame_verdicts *verdicts);
/* Whether another session holds the lock of a stream. */
bool batch_met_lock(const struct answer *answer);
/* Answers the first unanswered request with an error that is final. */
void batch_settle_error(struct batcher *batcher, struct batch *batch, const struct answer *answer);

/* ---- park.c: requests whose stream another session holds, or whose condition is in doubt ------- */

/*
 * Parks the first unanswered request, and what is not sent yet of its stream behind it.  False: it has waited
 * long enough, or there is no memory: then it is to be answered.
 */
bool batch_park_leading(struct batcher *batcher, struct batch *batch);
/* Takes the oldest batch that has something to send; NULL: there is none. */
struct batch *batcher_next(struct batcher *batcher);

#endif
