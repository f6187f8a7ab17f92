/*
 * settle.c: the answers to the requests of a batch; see batch.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "db/batch_internal.h"

#define STREAM_HELD "another session holds the stream in an open transaction; nothing was stored"
#define CONDITION_HELD                                                                                       \
	"another session holds the stream, or what the condition depends on, in an open transaction; nothing "   \
	"was "                                                                                                   \
	"stored"

/* Answers the first unanswered request of a batch. */
void batch_settle(struct batcher *batcher, struct batch *batch, const struct db_append_reply *reply)
{
	struct db_shared *shared = batcher->conn.shared;
	const struct append *request = &batch->requests[batch->first];

	shared->waiting_requests--;
	shared->waiting_bytes -= batch_request_end(batch, batch->first) - request->offset;
	batch->first++;
	if (reply->status == DB_OK)
		shared_tell_commit(shared, request->namespace_name);
	request->done(request->arg, reply);
}

void batch_settle_unavailable(struct batcher *batcher, struct batch *batch)
{
	static const struct db_append_reply reply = {
		.status = DB_UNAVAILABLE,
		.error = {.sqlstate = SQLSTATE_CONNECTION_FAILURE,
				  .message = "the database is not available",
				  .detail = "",
				  .hint = ""},
	};

	batch_settle(batcher, batch, &reply);
}

bool batch_open_verdicts(const struct answer *answer, unsigned count, struct frame_verdicts *verdicts)
{
	struct slice value;

	if (answer_status(answer) != ANSWER_ROWS || answer_columns(answer) != 1 || answer_rows(answer) != 1)
		return false;
	value = answer_value(answer, 0, 0);
	return frame_open_verdicts(verdicts, value.bytes, value.len, count);
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
		if (strcmp(verdict->sqlstate, SQLSTATE_LOCK_NOT_AVAILABLE) == 0 && batch_park_leading(batcher, batch))
			return;
		fill_error(&reply, verdict->sqlstate, verdict->message);
		reply.failed_part = verdict->failed_part;
		reply.expected = verdict->expected;
		reply.actual = verdict->actual;
		reply.stream = verdict->stream;
		reply.type = verdict->type;
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
	batch_settle(batcher, batch, &reply);
}

/* Answers as many requests as there are verdicts. */
void batch_settle_verdicts(struct batcher *batcher, struct batch *batch, struct frame_verdicts *verdicts)
{
	struct frame_verdict verdict;

	while (verdicts->at < verdicts->end && frame_next_verdict(verdicts, &verdict))
		settle_verdict(batcher, batch, &verdict);
}

bool batch_met_lock(const struct answer *answer)
{
	return answer_has_sqlstate(answer, SQLSTATE_LOCK_NOT_AVAILABLE);
}

void batch_settle_error(struct batcher *batcher, struct batch *batch, const struct answer *answer)
{
	struct db_append_reply reply = {.status = DB_ERROR};

	if (answer_status(answer) == ANSWER_ERROR)
	{
		conn_describe_error(&batcher->conn, answer, &reply.error);
		if (batch_met_lock(answer))
			reply.error.message = batch->requests[batch->first].conditional ? CONDITION_HELD : STREAM_HELD;
	}
	else
	{
		reply.error =
			(struct db_error){.detail = "", .hint = "The extension and the server differ in version."};
		fill_error(&reply, SQLSTATE_INTERNAL_ERROR, "append_batch answered in an unknown form");
	}
	batch_settle(batcher, batch, &reply);
}
