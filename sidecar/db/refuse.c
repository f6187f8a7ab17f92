/*
 * refuse.c: after the connection for appends was lost and is there again, appends wait until whoever asked
 * for that says which of them are still for this database (db_on_return); see batch.c.
 *
 * The database behind it may be an older one, restored from a backup, in which a namespace is as it was
 * before it moved.
 */
#include <string.h>

#include "db/batch_internal.h"

static void answer(struct db_shared *shared, const struct append *request, size_t len)
{
	static const struct db_append_reply reply = {
		.status = DB_ERROR,
		.error = {.sqlstate = SQLSTATE_NAMESPACE_MOVED,
				  .message = "the database is older than is known of the namespace",
				  .detail = "",
				  .hint = ""},
	};

	shared->waiting_requests--;
	shared->waiting_bytes -= len;
	request->done(request->arg, &reply);
}

/* Takes a request out of a batch that is not with Postgres, and answers it. */
static void refuse(struct db_shared *shared, struct batch *batch, unsigned at)
{
	struct append request = batch->requests[at];
	size_t end = batch_request_end(batch, at), len = end - request.offset;

	memmove(batch->frame.data + request.offset, batch->frame.data + end, batch->frame.len - end);
	buf_truncate(&batch->frame, batch->frame.len - len);
	for (unsigned i = at + 1; i < batch->count; i++)
	{
		batch->requests[i - 1] = batch->requests[i];
		batch->requests[i - 1].offset -= len;
	}
	batch->count--;
	answer(shared, &request, len);
}

static void refuse_each(struct db_shared *shared, struct batch *batch, db_refused refused, void *arg)
{
	unsigned at = batch->first;

	while (at < batch->count)
	{
		if (refused(arg, batch->requests[at].namespace_name))
			refuse(shared, batch, at);
		else
			at++;
	}
}

static void go_through(struct batcher *batcher, db_refused refused, void *arg)
{
	struct db_shared *shared = batcher->conn.shared;
	struct batch *batch = batcher->flight, *next;

	if (batch != NULL && !batcher->sent)
	{
		refuse_each(shared, batch, refused, arg);
		if (batch->first == batch->count)
		{
			batcher->flight = NULL;
			batch_recycle(batcher, batch);
		}
	}
	for (batch = TAILQ_FIRST(&batcher->gathering); batch != NULL; batch = next)
	{
		refuse_each(shared, batch, refused, arg);
		next = TAILQ_NEXT(batch, link);
		if (batch->count > 0)
			continue;
		/* What is behind an empty one would never be sent. */
		TAILQ_REMOVE(&batcher->gathering, batch, link);
		batch_recycle(batcher, batch);
	}
}

void db_on_return(struct db *db, void (*returned)(void *arg), void *arg)
{
	db->shared.returned = returned;
	db->shared.returned_arg = arg;
}

void db_go_on(struct db *db, db_refused refused, void *arg)
{
	go_through(&db->batcher, refused, arg);
	go_through(&db->deferred, refused, arg);
	db->shared.held = false;
	shared_schedule(&db->shared);
}

void batch_hold(const struct conn *conn)
{
	struct db_shared *shared = conn->shared;
	bool appends = conn->user->role == DB_ROLE_APPEND || conn->user->role == DB_ROLE_DEFERRED;

	if (!conn->is_back || !appends || shared->returned == NULL)
		return;
	shared->held = true;
	shared->returned(shared->returned_arg);
}
