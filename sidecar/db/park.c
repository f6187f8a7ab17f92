/*
 * park.c: requests whose stream another session holds locked for long, or whose condition depends on what
 * another session may still commit, or takes long to look at; see batch.c.
 *
 * Such a request moves to a second batcher, with a connection of its own, where those requests are tried in
 * turns until the retry window ends.  Requests of a parked stream that come behind it, in its batch and in
 * later ones, follow it there when it is their turn to be sent, so that they keep their order.
 *
 * Each try waits for a lock, or for the other transaction, as long as DB_LOCK_TIMEOUT (statement.h).  They
 * are not counted: a request is tried until its deadline, the end of the retry window (shared.c), and then
 * answered with the error (settle.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/batch_internal.h"

static struct frame_request request_bytes(const struct batch *batch, unsigned at)
{
	size_t offset = batch->requests[at].offset;

	return (struct frame_request){batch->frame.data + offset, batch_request_end(batch, at) - offset};
}

/* Copies a request into a batch of its own at the end of `deferred`; false: out of memory. */
static bool park(struct batcher *deferred, const struct append *request, struct frame_request bytes)
{
	struct batch *batch = batch_new(deferred);

	if (batch == NULL)
		return false;
	buf_add(&batch->frame, bytes.bytes, bytes.len);
	if (batch->frame.failed || !batch_reserve(batch))
	{
		batch_unlink_tail(deferred);
		return false;
	}
	batch->requests[0] = *request;
	batch->requests[0].offset = FRAME_HEADER_LEN;
	batch->count = 1;
	batch->new_ids = false;
	conn_open(&deferred->conn);
	return true;
}

/* True when a request shares a stream with one of the batches from this one on. */
static bool shares_stream(const struct batch *batch, struct frame_request request)
{
	for (; batch != NULL; batch = TAILQ_NEXT(batch, link))
	{
		if (frame_share_stream(request_bytes(batch, 0), request))
			return true;
	}
	return false;
}

/*
 * Moves what shares a stream with the last batch behind it, and what shares one with those: a stream's
 * requests stay in order.
 */
static void move_followers(struct batcher *deferred)
{
	const struct batch *last = TAILQ_LAST(&deferred->gathering, batch_list);
	struct batch *batch, *next;

	for (batch = TAILQ_FIRST(&deferred->gathering); batch != last; batch = next)
	{
		next = TAILQ_NEXT(batch, link);
		if (!shares_stream(last, request_bytes(batch, 0)))
			continue;
		TAILQ_REMOVE(&deferred->gathering, batch, link);
		TAILQ_INSERT_TAIL(&deferred->gathering, batch, link);
	}
}

/* Parks the first unanswered request of a batch; false: it has waited long enough, or there is no memory. */
static bool park_first(struct batcher *batcher, struct batch *batch)
{
	struct batcher *deferred = batcher->deferred;
	const struct append *request = &batch->requests[batch->first];

	if (clock_ms() >= request->deadline || !park(deferred, request, request_bytes(batch, batch->first)))
		return false;
	batch->first++;
	if (batcher == deferred)
		move_followers(deferred);
	else
		stats_add(&batcher->conn.shared->stats->parked, 1);
	return true;
}

/* True when a request appends to a stream of which a request waits in `deferred`. */
static bool is_parked(const struct batcher *deferred, struct frame_request request)
{
	if (deferred->flight != NULL &&
		frame_share_stream(request_bytes(deferred->flight, deferred->flight->first), request))
		return true;
	return shares_stream(TAILQ_FIRST(&deferred->gathering), request);
}

/*
 * Parks what is left of a batch and appends to a stream of which a request waits in `deferred`: behind that,
 * so that requests of one stream stay in order.  The batch must not be with Postgres.
 */
static void park_followers(struct batch *batch, struct batcher *deferred)
{
	unsigned kept = batch->first;
	size_t end = batch->requests[kept].offset;

	for (unsigned at = batch->first; at < batch->count; at++)
	{
		struct frame_request bytes = request_bytes(batch, at);
		struct append *request = &batch->requests[at];

		if (is_parked(deferred, bytes) && park(deferred, request, bytes))
		{
			stats_add(&deferred->conn.shared->stats->parked, 1);
			continue;
		}
		memmove(batch->frame.data + end, bytes.bytes, bytes.len);
		batch->requests[kept] = *request;
		batch->requests[kept++].offset = end;
		end += bytes.len;
	}
	batch->count = kept;
	buf_truncate(&batch->frame, end);
}

/*
 * Parks the first request and those of the batch that would meet the same lock; false as park_first.  Where
 * the batch went as a whole, each of the others has a verdict of its own.
 */
bool batch_park_leading(struct batcher *batcher, struct batch *batch)
{
	struct batcher *deferred = batcher->deferred;

	if (!park_first(batcher, batch))
		return false;
	if (batcher != deferred && batch->single && batch->first < batch->count)
		park_followers(batch, deferred);
	return true;
}

/* Takes the oldest batch that has something to send; NULL: there is none. */
struct batch *batcher_next(struct batcher *batcher)
{
	struct batcher *deferred = batcher->deferred;
	struct batch *batch;

	while ((batch = batch_pop(batcher)) != NULL)
	{
		if (batcher != deferred && (deferred->flight != NULL || !TAILQ_EMPTY(&deferred->gathering)))
			park_followers(batch, deferred);
		if (batch->count > 0)
			break;
		batch_recycle(batcher, batch);
	}
	return batch;
}
