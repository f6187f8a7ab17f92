/*
 * answer.c: how calls of consumer.next are answered; see question.h.
 *
 * What a call has settled is committed, whatever comes of its question, and its client must hear of it.  So
 * it gets an answer without a claim where another gets an error, and its next call, which has nothing to
 * settle, meets the error itself.
 */
#include "methods/question.h"

static void leave(struct consumer_queue *queue, struct method_call *call)
{
	TAILQ_REMOVE(&queue->calls, call, link);
	call->waiting = NULL;
}

void answer_call(struct consumer_queue *queue, struct method_call *call, struct db_reply *reply,
				 struct slice body)
{
	struct method_reply result = {.npieces = 3};

	leave(queue, call);
	result.pieces[0] = piece_of("{");
	result.pieces[1] = method_piece(reply, body);
	result.pieces[2] =
		args_get(call, NEXT_SETTLED) != NULL ? method_own_piece(call, NEXT_SETTLED) : piece_of("}");
	call->done(call->arg, &result);
}

void answer_nothing(struct consumer_queue *queue, struct method_call *call)
{
	struct db_reply none = {.status = DB_OK};

	answer_call(queue, call, &none, slice_of("\"claim\":null,\"messages\":[]"));
}

/* Whether the call was answered as one that has settled something. */
static bool answer_settled(struct consumer_queue *queue, struct method_call *call)
{
	if (args_get(call, NEXT_SETTLED) == NULL)
		return false;
	answer_nothing(queue, call);
	return true;
}

void answer_error(struct consumer_queue *queue, struct method_call *call, struct db_reply *reply)
{
	if (answer_settled(queue, call))
		return;
	leave(queue, call);
	method_fail_status(call, reply->status, &reply->error);
	method_answer_error(call);
}

void answer_locked(struct consumer_queue *queue, struct method_call *call)
{
	if (answer_settled(queue, call))
		return;
	leave(queue, call);
	method_fail(call, ERROR_BACKEND_UNAVAILABLE, "another session is at the consumer for long");
	method_answer_error(call);
}

void answer_waits(struct method_call *call)
{
	struct method_reply waits = {.waiting = true};

	if (call->told || call->at_once)
		return;
	call->told = true;
	call->done(call->arg, &waits);
}
