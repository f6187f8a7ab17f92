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
 * timeout; the batch goes one by one, and the request that meets the lock is parked: it moves to a second
 * batcher, `patient`, with a connection of its own, where such requests are tried in turns until the retry
 * window ends.  Requests of a parked stream that come behind it, in its batch and in later ones, follow it
 * there when it is their turn to be sent, so that they keep their order.
 *
 * A batch is owned by exactly one of: the gathering list, `flight`, the spares.
 */
#include "base/clock.h"
#include "db/internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MAX_SPARES 4

struct append
{
	const char *namespace_name;
	db_append_done done;
	void *arg;
	uint64_t deadline; /* ms */
	size_t offset;	   /* in the frame */
	unsigned nparts;
};

struct batch
{
	TAILQ_ENTRY(batch) link; /* among those that gather, or the spares */
	struct buf frame;
	struct append *requests;
	unsigned first, count, capacity;
	int64_t nmessages;
	unsigned nparts;   /* no fewer than its streams */
	unsigned attempts; /* connections lost under it */
	bool single;	   /* it was refused as a whole: one request at a time */
	bool new_ids;	   /* we made all ids, and none can have been stored yet */
};

static void append_on_ready(struct conn *conn);
static void append_on_answer(struct conn *conn, PGresult *result);
static void append_on_lost(struct conn *conn);

const struct conn_user batcher_append_user = {
	.role = DB_ROLE_APPEND,
	.what = "appends",
	.on_ready = append_on_ready,
	.on_answer = append_on_answer,
	.on_lost = append_on_lost,
};

const struct conn_user batcher_patient_user = {
	.role = DB_ROLE_PATIENT,
	.what = "appends to locked streams",
	.on_ready = append_on_ready,
	.on_answer = append_on_answer,
	.on_lost = append_on_lost,
};

/* ---- batches ------------------------------------------------------------ */

static void batch_reset(struct batch *batch)
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

static void batch_free(struct batch *batch)
{
	buf_free(&batch->frame);
	free(batch->requests);
	free(batch);
}

/* Keeps a few for reuse, but not the memory of an unusually large one. */
static void batch_recycle(struct batcher *batcher, struct batch *batch)
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
static struct batch *batch_new(struct batcher *batcher)
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

static struct batch *batch_pop(struct batcher *batcher)
{
	struct batch *batch = TAILQ_FIRST(&batcher->gathering);

	/* The analyzer can't know that one that was freed has left the list. */
	if (batch == NULL || batch->count == 0) /* NOLINT(clang-analyzer-unix.Malloc) */
		return NULL;
	TAILQ_REMOVE(&batcher->gathering, batch, link);
	return batch;
}

static bool reserve_request(struct batch *batch)
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
static void batch_unlink_tail(struct batcher *batcher)
{
	struct batch *batch = TAILQ_LAST(&batcher->gathering, batch_list);

	TAILQ_REMOVE(&batcher->gathering, batch, link);
	batch_free(batch);
}

static size_t request_end(const struct batch *batch, unsigned at)
{
	return at + 1 < batch->count ? batch->requests[at + 1].offset : batch->frame.len;
}

/* ---- answers -------------------------------------------------------------- */

/* Answers the first unanswered request of a batch. */
static void settle(struct batcher *batcher, struct batch *batch, const struct db_append_reply *reply)
{
	struct db_shared *shared = batcher->conn.shared;
	const struct append *request = &batch->requests[batch->first];

	shared->waiting_requests--;
	shared->waiting_bytes -= request_end(batch, batch->first) - request->offset;
	batch->first++;
	if (reply->status == DB_OK)
		shared_tell_commit(shared, request->namespace_name);
	request->done(request->arg, reply);
}

static void settle_unavailable(struct batcher *batcher, struct batch *batch)
{
	static const struct db_append_reply reply = {
		.status = DB_UNAVAILABLE,
		.error = {.sqlstate = SQLSTATE_CONNECTION_FAILURE,
				  .message = "the database is not available",
				  .detail = "",
				  .hint = ""},
	};

	settle(batcher, batch, &reply);
}

static bool open_verdicts(const PGresult *result, unsigned count, struct frame_verdicts *verdicts)
{
	return PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == 1 && PQntuples(result) == 1 &&
		   PQfformat(result, 0) == 1 &&
		   frame_open_verdicts(verdicts, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0), count);
}

static void fill_error(struct db_append_reply *reply, const char *sqlstate, const char *message)
{
	reply->status = DB_ERROR;
	memcpy(reply->error.sqlstate, sqlstate, SQLSTATE_LEN);
	reply->error.message = message;
}

static bool fill_parts(struct batcher *batcher, const struct frame_verdict *verdict)
{
	if (verdict->nparts > batcher->nparts)
	{
		struct db_part *parts = realloc(batcher->parts, verdict->nparts * sizeof(*parts));

		if (parts == NULL)
			return false;
		batcher->parts = parts;
		batcher->nparts = verdict->nparts;
	}
	for (unsigned i = 0; i < verdict->nparts; i++)
		frame_read_part(verdict, i, &batcher->parts[i]);
	return true;
}

/* Answers the first unanswered request with its verdict. */
static void settle_verdict(struct batcher *batcher, struct batch *batch, const struct frame_verdict *verdict)
{
	unsigned nparts = batch->requests[batch->first].nparts;
	struct db_append_reply reply = {.status = DB_OK, .error = {.message = "", .detail = "", .hint = ""}};

	if (verdict->nparts == 0)
	{
		fill_error(&reply, verdict->sqlstate, verdict->message);
		reply.failed_part = verdict->failed_part;
		reply.expected = verdict->expected;
		reply.actual = verdict->actual;
	}
	else if (verdict->nparts != nparts)
		fill_error(&reply, SQLSTATE_INTERNAL_ERROR,
				   "append_batch gave positions for another number of parts than the request has");
	else if (!fill_parts(batcher, verdict))
		fill_error(&reply, SQLSTATE_OUT_OF_MEMORY, "out of memory");
	else
	{
		reply.parts = batcher->parts;
		reply.nparts = nparts;
	}
	settle(batcher, batch, &reply);
}

/* Answers as many requests as there are verdicts. */
static void settle_verdicts(struct batcher *batcher, struct batch *batch, struct frame_verdicts *verdicts)
{
	struct frame_verdict verdict;

	while (verdicts->at < verdicts->end && frame_next_verdict(verdicts, &verdict))
		settle_verdict(batcher, batch, &verdict);
}

static bool has_sqlstate(const PGresult *result, const char *wanted)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return sqlstate != NULL && strcmp(sqlstate, wanted) == 0;
}

static bool is_lock_timeout(const PGresult *result)
{
	return has_sqlstate(result, SQLSTATE_LOCK_NOT_AVAILABLE);
}

static void settle_error(struct batcher *batcher, struct batch *batch, const PGresult *result)
{
	struct db_append_reply reply = {.status = DB_ERROR};

	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
	{
		conn_describe_error(&batcher->conn, result, &reply.error);
		if (is_lock_timeout(result))
			reply.error.message =
				"another session holds the stream in an open transaction; nothing was stored";
	}
	else
	{
		reply.error =
			(struct db_error){.detail = "", .hint = "The extension and the server differ in version."};
		fill_error(&reply, SQLSTATE_INTERNAL_ERROR, "append_batch answered in an unknown form");
	}
	settle(batcher, batch, &reply);
}

/* How many requests of a batch go into one statement. */
static unsigned sent_count(const struct batch *batch)
{
	return batch->single ? 1 : batch->count - batch->first;
}

static void finish_flight(struct batcher *batcher, struct batch *batch)
{
	if (batch->first == batch->count)
		batch_recycle(batcher, batch);
	else
		batcher->flight = batch;
}

/* ---- parking ---------------------------------------------------------------- */

static struct frame_request request_bytes(const struct batch *batch, unsigned at)
{
	size_t offset = batch->requests[at].offset;

	return (struct frame_request){batch->frame.data + offset, request_end(batch, at) - offset};
}

/* Copies a request into a batch of its own at the end of `patient`; false: out of memory. */
static bool park(struct batcher *patient, const struct append *request, struct frame_request bytes)
{
	struct batch *batch = batch_new(patient);

	if (batch == NULL)
		return false;
	buf_add(&batch->frame, bytes.bytes, bytes.len);
	if (batch->frame.failed || !reserve_request(batch))
	{
		batch_unlink_tail(patient);
		return false;
	}
	batch->requests[0] = *request;
	batch->requests[0].offset = FRAME_HEADER_LEN;
	batch->count = 1;
	batch->new_ids = false;
	conn_open(&patient->conn);
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
static void move_followers(struct batcher *patient)
{
	const struct batch *last = TAILQ_LAST(&patient->gathering, batch_list);
	struct batch *batch, *next;

	for (batch = TAILQ_FIRST(&patient->gathering); batch != last; batch = next)
	{
		next = TAILQ_NEXT(batch, link);
		if (!shares_stream(last, request_bytes(batch, 0)))
			continue;
		TAILQ_REMOVE(&patient->gathering, batch, link);
		TAILQ_INSERT_TAIL(&patient->gathering, batch, link);
	}
}

/* Parks the first unanswered request of a batch; false: it has waited long enough, or there is no memory. */
static bool park_first(struct batcher *batcher, struct batch *batch)
{
	struct batcher *patient = batcher->patient;
	const struct append *request = &batch->requests[batch->first];

	if (clock_ms() >= request->deadline || !park(patient, request, request_bytes(batch, batch->first)))
		return false;
	batch->first++;
	if (batcher == patient)
		move_followers(patient);
	else
		stats_add(&batcher->conn.shared->stats->parked, 1);
	return true;
}

/* True when a request appends to a stream that somebody waits for in `patient`. */
static bool is_parked(const struct batcher *patient, struct frame_request request)
{
	if (patient->flight != NULL &&
		frame_share_stream(request_bytes(patient->flight, patient->flight->first), request))
		return true;
	return shares_stream(TAILQ_FIRST(&patient->gathering), request);
}

/*
 * Parks what is left of a batch and appends to a stream that somebody waits for in `patient`: behind him, so
 * that requests of one stream stay in order.  The batch must not be with Postgres.
 */
static void park_followers(struct batch *batch, struct batcher *patient)
{
	unsigned kept = batch->first;
	size_t end = batch->requests[kept].offset;

	for (unsigned at = batch->first; at < batch->count; at++)
	{
		struct frame_request bytes = request_bytes(batch, at);
		struct append *request = &batch->requests[at];

		if (is_parked(patient, bytes) && park(patient, request, bytes))
		{
			stats_add(&patient->conn.shared->stats->parked, 1);
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

/* Parks the first request and those of the batch that would meet the same lock; false as park_first. */
static bool park_leading(struct batcher *batcher, struct batch *batch)
{
	struct batcher *patient = batcher->patient;

	if (!park_first(batcher, batch))
		return false;
	if (batcher != patient && batch->first < batch->count)
		park_followers(batch, patient);
	return true;
}

/* Takes the oldest batch that has something to send; NULL: there is none. */
static struct batch *next_batch(struct batcher *batcher)
{
	struct batcher *patient = batcher->patient;
	struct batch *batch;

	while ((batch = batch_pop(batcher)) != NULL)
	{
		if (batcher != patient && (patient->flight != NULL || !TAILQ_EMPTY(&patient->gathering)))
			park_followers(batch, patient);
		if (batch->count > 0)
			break;
		batch_recycle(batcher, batch);
	}
	return batch;
}

/* ---- the answer to a batch ------------------------------------------------------ */

static void note_batch(const struct batcher *batcher, unsigned count)
{
	struct stats *stats = batcher->conn.shared->stats;

	stats_observe(&stats->batch_us, &stats_durations, clock_span(batcher->sent_us, clock_us()));
	stats_observe(&stats->batch_requests, &stats_sizes, count);
}

static void append_on_answer(struct conn *conn, PGresult *result)
{
	struct batcher *batcher = (struct batcher *)conn;
	struct batch *batch = batcher->flight;
	const struct batch *next = TAILQ_FIRST(&batcher->gathering);
	unsigned count = sent_count(batch);
	struct frame_verdicts verdicts;

	note_batch(batcher, count);
	batcher->sent = false;
	if (open_verdicts(result, count, &verdicts))
	{
		batcher->flight = NULL;
		if (!batch->single)
			hold_begin(&batcher->hold, count + (next != NULL ? next->count : 0));
		settle_verdicts(batcher, batch, &verdicts);
		if (batch->single)
			finish_flight(batcher, batch);
		else
			batch_recycle(batcher, batch);
	}
	else if (count == 1 && is_lock_timeout(result) && park_leading(batcher, batch))
	{
		batcher->flight = NULL;
		finish_flight(batcher, batch);
	}
	else if (conn_failure(conn, result) == FAILURE_AGAIN && !is_lock_timeout(result) &&
			 clock_ms() < batch->requests[batch->first].deadline)
		log_debug("a batch of %u appends is sent again: %s", count, PQresultErrorMessage(result));
	else if (batch->new_ids && has_sqlstate(result, SQLSTATE_UNIQUE_VIOLATION))
		batch->new_ids = false; /* one was not new after all: let Postgres look */
	else if (count == 1)
	{
		batcher->flight = NULL;
		settle_error(batcher, batch, result);
		finish_flight(batcher, batch);
	}
	else
	{
		log_debug("a batch of %u appends is sent one by one: %s", count, PQresultErrorMessage(result));
		batch->single = true;
		batch->new_ids = false;
	}
	PQclear(result);
	shared_schedule(conn->shared);
}

/* ---- sending ---------------------------------------------------------------- */

/* Writes the header of what is left of the batch before it; returns where that begins. */
static char *write_header(struct batch *batch, unsigned nrequests)
{
	char *header = batch->frame.data + batch->requests[batch->first].offset - FRAME_HEADER_LEN;
	uint32_t number = htonl(nrequests);

	header[0] = batch->new_ids ? BATCH_VERSION_NEW_IDS : BATCH_VERSION;
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

	if (batcher->conn.state != CONN_READY || batcher->sent)
		return;
	if (batcher->flight == NULL && only != NULL && TAILQ_NEXT(only, link) == NULL &&
		hold_lasts(&batcher->hold, only->count))
		return;
	hold_end(&batcher->hold);
	if (batcher->flight == NULL)
		batcher->flight = next_batch(batcher);
	if (batcher->flight == NULL)
		return;
	count = sent_count(batcher->flight);
	value = write_header(batcher->flight, count);
	length = (int)(batcher->flight->frame.data +
				   request_end(batcher->flight, batcher->flight->first + count - 1) - value);
	batcher->sent = true; /* before: on_lost may be called from within */
	batcher->sent_us = clock_us();
	if (conn_queue(&batcher->conn, &db_append_statement,
				   &(struct conn_params){
					   .values = &value, .lengths = &length, .formats = &binary, .result_format = binary}))
		conn_sync(&batcher->conn);
}

static void on_hold_over(evutil_socket_t fd, short what, void *arg)
{
	struct batcher *batcher = arg;

	(void)fd;
	(void)what;
	hold_end(&batcher->hold);
	batcher_send(batcher);
}

static void append_on_ready(struct conn *conn)
{
	shared_schedule(conn->shared);
}

/* Postgres went away under this batch again and again: find the request that does it, and fail that one. */
static void suspect_flight(struct batcher *batcher)
{
	struct batch *batch = batcher->flight;

	batch->attempts = 0;
	if (sent_count(batch) > 1)
	{
		batch->single = true;
		return;
	}
	batcher->flight = NULL;
	settle_unavailable(batcher, batch);
	finish_flight(batcher, batch);
}

static void append_on_lost(struct conn *conn)
{
	struct batcher *batcher = (struct batcher *)conn;

	if (batcher->sent)
		batcher->flight->new_ids = false; /* it may have been stored before the connection broke */
	if (batcher->sent && ++batcher->flight->attempts >= DB_MAX_ATTEMPTS)
		suspect_flight(batcher);
	batcher->sent = false;
	shared_schedule(conn->shared);
}

/* Fails the requests at the front of a batch that have waited too long; true when some are left. */
static bool batch_expire(struct batcher *batcher, struct batch *batch, uint64_t now)
{
	while (batch->first < batch->count && batch->requests[batch->first].deadline <= now)
		settle_unavailable(batcher, batch);
	return batch->first < batch->count;
}

bool batcher_sweep(struct batcher *batcher, uint64_t now)
{
	struct batch *batch = NULL;

	if (batcher->conn.state == CONN_READY)
		return false;
	while (batcher->flight != NULL || (batch = next_batch(batcher)) != NULL)
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

	*in_flight = batcher->sent ? sent_count(flight) : 0;
	*waiting = flight != NULL ? flight->count - flight->first - *in_flight : 0;
	for (const struct batch *batch = TAILQ_FIRST(&batcher->gathering); batch != NULL;
		 batch = TAILQ_NEXT(batch, link))
		*waiting += batch->count;
}

/* ---- gathering ---------------------------------------------------------------- */

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

	if (batch->count == 0 ||
		(batch->nmessages + append->nmessages <= config->batch_messages &&
		 batch->nparts + append->nparts <= MAX_STREAMS && batch->frame.len <= (size_t)config->batch_bytes))
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
							 .nparts = append->nparts};
	struct batch *batch = NULL;

	if (!batcher->writing->frame.failed)
		batch = move_if_too_large(batcher, append);
	if (batch == NULL || !reserve_request(batch))
	{
		db_append_abandon(db);
		return false;
	}
	request.offset = batcher->mark;
	db->shared.waiting_requests++;
	db->shared.waiting_bytes += batch->frame.len - batcher->mark;
	batch->requests[batch->count++] = request;
	batch->nmessages += append->nmessages;
	batch->nparts += append->nparts;
	batch->new_ids = batch->new_ids && append->new_ids;
	batcher->writing = NULL;
	shared_schedule(&db->shared);
	return true;
}

/* ---- life ------------------------------------------------------------------------ */

void batcher_init(struct batcher *batcher, struct db_shared *shared, const struct conn_user *user,
				  struct batcher *patient)
{
	batcher->patient = patient;
	conn_init(&batcher->conn, shared, user);
	TAILQ_INIT(&batcher->gathering);
	TAILQ_INIT(&batcher->spares);
	hold_init(&batcher->hold, shared->base, on_hold_over, batcher);
}

void batcher_free(struct batcher *batcher)
{
	struct batch *batch;

	conn_close(&batcher->conn);
	hold_end(&batcher->hold);
	batcher->sent = false;
	while ((batch = batcher->flight) != NULL || (batch = batch_pop(batcher)) != NULL)
	{
		batcher->flight = NULL;
		while (batch->first < batch->count)
			settle_unavailable(batcher, batch);
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
