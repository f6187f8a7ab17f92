/*
 * db_batch: appends, many requests to one transaction; see internal.h.
 *
 * A batch is the frame of the batch format, written in place by the callers, and the list of its
 * requests.  At most one batch is in flight; meanwhile the next ones gather, and the oldest goes
 * as soon as the connection is free.  Requests are answered in order, so what is left of a batch is always
 * a suffix: [first, count).  The header of what is sent is written into the five bytes before
 * request `first`, which belong to the batch's own header or to a request already answered.  So sending
 * a batch again, or its requests one at a time, copies nothing.
 *
 * A session elsewhere may hold a stream's lock for long.  The server then gives up after a short lock
 * timeout; the batch goes one by one, and the request that meets the lock is parked (park.c).  So is one
 * whose condition is in doubt because of a transaction that is open elsewhere, or takes long to look at,
 * which is its verdict.
 *
 * A batch is owned by exactly one of: the gathering list, `flight`, the spares.
 */
#include "base/clock.h"
#include "db/batch_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static void append_on_ready(struct conn *conn);
static void append_on_answer(struct conn *conn, struct answer *answer);
static void append_on_lost(struct conn *conn);

const struct conn_user batcher_append_user = {
	.role = DB_ROLE_APPEND,
	.what = "appends",
	.on_ready = append_on_ready,
	.on_answer = append_on_answer,
	.on_lost = append_on_lost,
};

const struct conn_user batcher_deferred_user = {
	.role = DB_ROLE_DEFERRED,
	.what = "appends to locked streams",
	.on_ready = append_on_ready,
	.on_answer = append_on_answer,
	.on_lost = append_on_lost,
};

static void finish_flight(struct batcher *batcher, struct batch *batch)
{
	if (batch->first == batch->count)
		batch_recycle(batcher, batch);
	else
		batcher->flight = batch;
}

/* ---- the answer to a batch ------------------------------------------------------ */

static void note_batch(const struct batcher *batcher, unsigned count)
{
	struct stats *stats = batcher->conn.shared->stats;

	stats_observe(&stats->batch_us, &stats_durations, clock_span(batcher->sent_us, clock_us()));
	stats_observe(&stats->batch_requests, &stats_sizes, count);
}

/*
 * Sends the next batch before the answers of the last one are handed out, each of which is a system call:
 * what is there by now has waited for a whole commit.  Not where a request of the last one may be parked, as
 * those of its stream have to follow it.
 */
static void send_early(struct batcher *batcher, const struct frame_verdicts *verdicts)
{
	const struct batch *next = TAILQ_FIRST(&batcher->gathering);

	if (batcher != batcher->deferred && verdicts->nrefused == 0 && next != NULL && next->count > 0 &&
		hold_has_enough(&batcher->hold, next->count))
		batcher_send(batcher);
}

static void append_on_answer(struct conn *conn, struct answer *answer)
{
	struct batcher *batcher = (struct batcher *)conn;
	struct batch *batch = batcher->flight;
	const struct batch *next = TAILQ_FIRST(&batcher->gathering);
	unsigned count = batch_sent_count(batch);
	struct frame_verdicts verdicts;

	note_batch(batcher, count);
	batcher->sent = false;
	if (batch_open_verdicts(answer, count, &verdicts))
	{
		batcher->flight = NULL;
		if (!batch->single)
			hold_begin(&batcher->hold, count + (next != NULL ? next->count : 0));
		if (!batch->single)
			send_early(batcher, &verdicts);
		batch_settle_verdicts(batcher, batch, &verdicts);
		if (batch->single)
			finish_flight(batcher, batch);
		else
			batch_recycle(batcher, batch);
	}
	else if (count == 1 && batch_met_lock(answer) && batch_park_leading(batcher, batch))
	{
		batcher->flight = NULL;
		finish_flight(batcher, batch);
	}
	else if (conn_failure(conn, answer) == FAILURE_AGAIN && !batch_met_lock(answer) &&
			 clock_ms() < batch->requests[batch->first].deadline)
		log_debug("a batch of %u appends is sent again: %s", count, answer_message(answer));
	else if (batch->new_ids && answer_has_sqlstate(answer, SQLSTATE_UNIQUE_VIOLATION))
		batch->new_ids = false; /* one was not new after all: let Postgres look */
	else if (count == 1)
	{
		batcher->flight = NULL;
		batch_settle_error(batcher, batch, answer);
		finish_flight(batcher, batch);
	}
	else
	{
		log_debug("a batch of %u appends is sent one by one: %s", count, answer_message(answer));
		batch->single = true;
		batch->new_ids = false;
	}
	answer_clear(answer);
	shared_schedule(conn->shared);
}

/* ---- sending ---------------------------------------------------------------- */

/* A request that was parked waits for what it is in doubt about, as for a lock. */
static char version_of(const struct batcher *batcher, const struct batch *batch)
{
	if (batcher == batcher->deferred)
		return BATCH_VERSION_WAIT;
	return batch->new_ids ? BATCH_VERSION_NEW_IDS : BATCH_VERSION;
}

/* Writes the header of what is left of the flight before it; returns where that begins. */
static char *write_header(struct batcher *batcher, unsigned nrequests)
{
	struct batch *batch = batcher->flight;
	char *header = batch->frame.data + batch->requests[batch->first].offset - FRAME_HEADER_LEN;
	uint32_t number = htonl(nrequests);

	header[0] = version_of(batcher, batch);
	memcpy(header + 1, &number, sizeof(number));
	return header;
}

void batcher_send(struct batcher *batcher)
{
	static const int binary = 1;
	const struct batch *only = TAILQ_FIRST(&batcher->gathering);
	const char *value;
	unsigned count;
	int length;

	if (batcher->conn.state != CONN_READY || batcher->sent || batcher->conn.shared->held)
		return;
	if (batcher->flight == NULL && (only == NULL || only->count == 0))
		return; /* nothing to send yet, nor to hold: a hold goes on */
	if (batcher->flight == NULL && TAILQ_NEXT(only, link) == NULL && hold_lasts(&batcher->hold, only->count))
		return;
	hold_end(&batcher->hold);
	if (batcher->flight == NULL)
		batcher->flight = batcher_next(batcher);
	if (batcher->flight == NULL)
		return;
	count = batch_sent_count(batcher->flight);
	value = write_header(batcher, count);
	length = (int)(batcher->flight->frame.data +
				   batch_request_end(batcher->flight, batcher->flight->first + count - 1) - value);
	batcher->sent = true; /* before: on_lost may be called from within */
	batcher->sent_us = clock_us();
	if (conn_queue(&batcher->conn, &db_append_statement,
				   &(struct conn_params){
					   .values = &value, .lengths = &length, .formats = &binary, .result_format = binary}))
		conn_sync(&batcher->conn);
}

static void on_hold_over(void *arg)
{
	struct batcher *batcher = arg;

	hold_end(&batcher->hold);
	batcher_send(batcher);
	shared_schedule(batcher->conn.shared); /* for what is behind it */
}

static void append_on_ready(struct conn *conn)
{
	shared_schedule(conn->shared);
}

/* Postgres went away under this batch again and again: find the request that does it, and fail that one. */
static void blame_flight(struct batcher *batcher)
{
	struct batch *batch = batcher->flight;

	batch->attempts = 0;
	if (batch_sent_count(batch) > 1)
	{
		batch->single = true;
		return;
	}
	batcher->flight = NULL;
	batch_settle_unavailable(batcher, batch);
	finish_flight(batcher, batch);
}

static void append_on_lost(struct conn *conn)
{
	struct batcher *batcher = (struct batcher *)conn;

	if (batcher->sent)
		batcher->flight->new_ids = false; /* it may have been stored before the connection broke */
	if (batcher->sent && !conn->refused && ++batcher->flight->attempts >= DB_MAX_LOST)
		blame_flight(batcher);
	batcher->sent = false;
	shared_schedule(conn->shared);
}

/* Fails the requests at the front of a batch that have waited too long; true when some are left. */
static bool batch_expire(struct batcher *batcher, struct batch *batch, uint64_t now)
{
	while (batch->first < batch->count && batch->requests[batch->first].deadline <= now)
		batch_settle_unavailable(batcher, batch);
	return batch->first < batch->count;
}

bool batcher_sweep(struct batcher *batcher, uint64_t now)
{
	struct batch *batch = NULL;

	if (batcher->conn.state == CONN_READY && (batcher->sent || !batcher->conn.shared->held))
		return false;
	while (batcher->flight != NULL || (batch = batcher_next(batcher)) != NULL)
	{
		/* The oldest is always the flight, so that what is left of it is still sent first. */
		if (batcher->flight == NULL)
			batcher->flight = batch;
		batch = batcher->flight;
		if (batch_expire(batcher, batch, now))
			return true;
		batcher->flight = NULL;
		batch_recycle(batcher, batch);
	}
	return false;
}

void batcher_count(const struct batcher *batcher, unsigned *in_flight, unsigned *waiting)
{
	const struct batch *flight = batcher->flight;

	*in_flight = batcher->sent ? batch_sent_count(flight) : 0;
	*waiting = flight != NULL ? flight->count - flight->first - *in_flight : 0;
	for (const struct batch *batch = TAILQ_FIRST(&batcher->gathering); batch != NULL;
		 batch = TAILQ_NEXT(batch, link))
		*waiting += batch->count;
}

/* ---- life ------------------------------------------------------------------------ */

void batcher_init(struct batcher *batcher, struct db_site *primary, const struct conn_user *user,
				  struct batcher *deferred)
{
	batcher->deferred = deferred;
	conn_init(&batcher->conn, primary, user);
	TAILQ_INIT(&batcher->gathering);
	TAILQ_INIT(&batcher->spares);
	hold_init(&batcher->hold, primary->shared->base, on_hold_over, batcher);
}

void batcher_free(struct batcher *batcher)
{
	struct batch *batch;

	conn_close(&batcher->conn);
	hold_free(&batcher->hold);
	batcher->sent = false;
	while ((batch = batcher->flight) != NULL || (batch = batch_pop(batcher)) != NULL)
	{
		batcher->flight = NULL;
		while (batch->first < batch->count)
			batch_settle_unavailable(batcher, batch);
		batch_free(batch);
	}
	while ((batch = TAILQ_FIRST(&batcher->gathering)) != NULL) /* an empty one that gathered nothing */
	{
		TAILQ_REMOVE(&batcher->gathering, batch, link);
		batch_free(batch);
	}
	while ((batch = TAILQ_FIRST(&batcher->spares)) != NULL)
	{
		TAILQ_REMOVE(&batcher->spares, batch, link);
		batch_free(batch);
	}
	free(batcher->parts);
}
