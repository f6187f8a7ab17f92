/*
 * waiting.c: calls of consumer.next, and those of them that wait for something to do.
 *
 * All calls of a worker for one consumer are in one queue, and at most one question of it is with Postgres:
 * it asks for all that are there, in one transaction, so that they share its commit.  A call that gets
 * nothing and may wait goes back to where it was, and holds no connection.  The queue asks again when
 * something was committed to the namespace, when a claim was settled, when a retry is due or a lease runs
 * out, and now and then, as it is not told of everything.
 *
 * What a call has to settle is sent with its first question only; what came of it is kept with the call.
 */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/stats.h"
#include "methods/internal.h"

#define MAX_ASKED 100	/* calls in one question */
#define POLL_MS 2500	/* at the latest, when every commit is told... */
#define UNTOLD_MS 100	/* ...and when it is not */
#define LOCKED_MS 3		/* another session is at the consumer */
#define LOCKED_MAX 5000 /* then it is told that it is, and not asked any more */

TAILQ_HEAD(call_list, method_call);

TAILQ_HEAD(queue_list, consumer_queue);

struct consumer_queue
{
	TAILQ_ENTRY(consumer_queue) link; /* of the worker's */
	struct consumers *consumers;
	struct call_list waiting; /* the first to have asked first */
	struct call_list asked;
	bool asking;
	bool woken;		/* while it was asking */
	bool busy;		/* in a function that must find it afterwards */
	unsigned alone; /* so many calls are asked for one by one, as one of them fails */
	uint64_t due_ms;
	uint64_t bit; /* of the namespace */
	struct event timer;
	char *consumer;
	char namespace_name[];
};

struct consumers
{
	struct event_base *base;
	struct methods *methods;
	const struct consumers_hooks *hooks;
	struct queue_list queues;
	bool ended;
};

static void ask(struct consumer_queue *queue);

/* ---- queues -------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask(arg);
}

static struct consumer_queue *find(struct consumers *consumers, const char *namespace_name,
								   const char *consumer)
{
	struct consumer_queue *queue;

	TAILQ_FOREACH(queue, &consumers->queues, link)
	{
		if (strcmp(queue->namespace_name, namespace_name) == 0 && strcmp(queue->consumer, consumer) == 0)
			return queue;
	}
	return NULL;
}

static struct consumer_queue *find_or_add(struct consumers *consumers, const char *namespace_name,
										  const char *consumer)
{
	struct consumer_queue *queue = find(consumers, namespace_name, consumer);
	size_t namespace_size = strlen(namespace_name) + 1;

	if (queue != NULL)
		return queue;
	queue = calloc(1, sizeof(*queue) + namespace_size + strlen(consumer) + 1);
	if (queue == NULL)
		return NULL;
	queue->consumers = consumers;
	queue->consumer = queue->namespace_name + namespace_size;
	memcpy(queue->namespace_name, namespace_name, namespace_size);
	memcpy(queue->consumer, consumer, strlen(consumer) + 1);
	queue->bit = consumers->hooks->bit(namespace_name);
	TAILQ_INIT(&queue->waiting);
	TAILQ_INIT(&queue->asked);
	if (TAILQ_EMPTY(&consumers->queues))
		consumers->hooks->set_waiting(consumers->hooks->arg, true);
	event_assign(&queue->timer, consumers->base, -1, 0, on_timer, queue);
	TAILQ_INSERT_TAIL(&consumers->queues, queue, link);
	return queue;
}

static void free_if_empty(struct consumer_queue *queue)
{
	struct consumers *consumers = queue->consumers;

	if (queue->asking || queue->busy || !TAILQ_EMPTY(&queue->waiting) || !TAILQ_EMPTY(&queue->asked))
		return;
	event_del(&queue->timer);
	TAILQ_REMOVE(&consumers->queues, queue, link);
	free(queue);
	if (TAILQ_EMPTY(&consumers->queues))
		consumers->hooks->set_waiting(consumers->hooks->arg, false);
}

static void set_timer(struct consumer_queue *queue, uint64_t ms)
{
	const struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	event_add(&queue->timer, &tv);
}

/* When to ask again if nothing happens. */
static void wait_on(struct consumer_queue *queue)
{
	uint64_t now = clock_ms();
	const struct consumers_hooks *hooks = queue->consumers->hooks;
	uint64_t next = now + (hooks->are_told(hooks->arg) ? POLL_MS : UNTOLD_MS);
	struct method_call *call;

	if (queue->due_ms < next)
		next = queue->due_ms;
	TAILQ_FOREACH(call, &queue->waiting, link)
	{
		if (call->deadline_ms < next)
			next = call->deadline_ms;
	}
	set_timer(queue, next > now ? next - now : 0);
}

/* ---- answers -------------------------------------------------------------------- */

static void leave(struct method_call *call, struct call_list *list)
{
	TAILQ_REMOVE(list, call, link);
	call->waiting = NULL;
}

/* Answers with the members of the answer and of what was settled. */
static void answer(struct method_call *call, struct db_reply *reply, struct slice body)
{
	const char *settled = args_get(call, NEXT_SETTLED);
	struct method_reply result = {.npieces = 3};

	result.pieces[0] = piece_of("{");
	result.pieces[1] = method_piece(reply, body);
	result.pieces[2] = piece_of(settled != NULL ? settled : "}");
	call->done(call->arg, &result);
}

static void answer_nothing(struct method_call *call)
{
	struct db_reply none = {.status = DB_OK};

	answer(call, &none, slice_of("\"claim\":null,\"messages\":[]"));
}

/* Keeps what came of the settlements: members behind those of the answer, and its end. */
static void keep_settled(struct method_call *call, struct slice settled)
{
	if (settled.bytes == NULL)
		return;
	call->texts[NEXT_SETTLED] = (ssize_t)call->text.len;
	buf_add(&call->text, settled.bytes, settled.len);
	buf_add(&call->text, "}", 2);
	call->texts[NEXT_SETTLE] = -1;
}

static void ignore(void *arg, struct db_reply *reply)
{
	(void)arg;
	(void)reply;
}

/* Gives back a claim whose client is gone. */
static void release(struct consumer_queue *queue, int64_t claim)
{
	char options[60];
	const struct db_consumer in = {.namespace_name = queue->namespace_name,
								   .method = "settle",
								   .consumer = queue->consumer,
								   .options = options};

	snprintf(options, sizeof(options), "{\"claim\":%" PRId64 ",\"release\":true}", claim);
	(void)db_consumer(queue->consumers->methods->db, &in, ignore, NULL);
	queue->woken = true;
}

/* Back to where it came from. */
static void put_back(struct consumer_queue *queue, struct method_call *call, struct method_call **last)
{
	struct method_reply waits = {.waiting = true};

	call->asked = false;
	call->waiting = queue;
	if (*last != NULL)
		TAILQ_INSERT_AFTER(&queue->waiting, *last, call, link);
	else
		TAILQ_INSERT_HEAD(&queue->waiting, call, link);
	*last = call;
	if (!call->told)
	{
		call->told = true;
		call->done(call->arg, &waits);
	}
}

static bool may_wait(const struct consumer_queue *queue, const struct method_call *call)
{
	return !queue->consumers->ended && !call->abandoned && !call->text.failed &&
		   clock_ms() < call->deadline_ms;
}

static void take_delivery(struct consumer_queue *queue, struct method_call *call, struct db_reply *reply,
						  const struct db_delivery *delivery, struct method_call **last)
{
	uint64_t due =
		delivery->next_due_ms.is_set ? clock_ms() + (uint64_t)delivery->next_due_ms.value : UINT64_MAX;

	keep_settled(call, delivery->settled);
	queue->due_ms = due < queue->due_ms ? due : queue->due_ms;
	if (!delivery->claim.is_set && may_wait(queue, call))
	{
		put_back(queue, call, last);
		return;
	}
	if (delivery->claim.is_set && call->abandoned)
		release(queue, delivery->claim.value);
	answer(call, reply, delivery->body);
}

/* ---- asking --------------------------------------------------------------------- */

static void fail(struct method_call *call, struct db_reply *reply)
{
	method_fail_status(call, reply->status, &reply->error);
	method_answer_error(call);
}

static void fail_locked(struct method_call *call)
{
	method_fail(call, ERROR_BACKEND_UNAVAILABLE, "another session is at the consumer for long");
	method_answer_error(call);
}

/* One of several may be at fault: each is asked for alone. */
static void take_failure(struct consumer_queue *queue, struct call_list *asked, unsigned nasked,
						 struct db_reply *reply)
{
	struct method_call *call, *last = NULL;

	if (nasked == 1)
	{
		call = TAILQ_FIRST(asked);
		leave(call, asked);
		fail(call, reply);
		return;
	}
	queue->alone = nasked;
	queue->woken = true;
	while ((call = TAILQ_FIRST(asked)) != NULL)
	{
		leave(call, asked);
		put_back(queue, call, &last);
	}
}

static void take_locked(struct consumer_queue *queue, struct call_list *asked)
{
	struct method_call *call, *last = NULL;

	queue->due_ms = clock_ms() + LOCKED_MS;
	while ((call = TAILQ_FIRST(asked)) != NULL)
	{
		leave(call, asked);
		if (queue->consumers->ended || clock_ms() >= call->deadline_ms + LOCKED_MAX)
			fail_locked(call);
		else
			put_back(queue, call, &last);
	}
}

static void on_reply(void *arg, struct db_reply *reply)
{
	struct consumer_queue *queue = arg;
	struct call_list asked = TAILQ_HEAD_INITIALIZER(asked);
	struct method_call *call, *last = NULL;
	unsigned nasked = 0;
	bool settled = false;

	queue->asking = false;
	queue->busy = true;
	queue->due_ms = UINT64_MAX;
	TAILQ_CONCAT(&asked, &queue->asked, link);
	TAILQ_FOREACH(call, &asked, link)
	nasked++;
	if (reply->status != DB_OK)
		take_failure(queue, &asked, nasked, reply);
	else if (db_deliveries_of(reply) != nasked)
		take_locked(queue, &asked);
	else
	{
		for (unsigned i = 0; i < nasked; i++)
		{
			const struct db_delivery delivery = db_delivery_of(reply, i);

			call = TAILQ_FIRST(&asked);
			leave(call, &asked);
			settled = settled || delivery.settled.bytes != NULL;
			take_delivery(queue, call, reply, &delivery, &last);
		}
	}
	queue->busy = false;
	if (settled)
		queue->consumers->hooks->settled(queue->consumers->hooks->arg, queue->namespace_name);
	if (queue->woken)
		ask(queue);
	else if (!TAILQ_EMPTY(&queue->waiting) && !queue->asking)
		wait_on(queue);
	free_if_empty(queue);
}

/* The requests as one JSON array. */
static void gather(struct consumer_queue *queue, struct buf *requests)
{
	unsigned most = queue->alone > 0 ? 1 : MAX_ASKED;
	struct method_call *call;

	buf_add_str(requests, "[");
	for (unsigned n = 0; n < most && (call = TAILQ_FIRST(&queue->waiting)) != NULL; n++)
	{
		const char *settle = args_get(call, NEXT_SETTLE);

		TAILQ_REMOVE(&queue->waiting, call, link);
		TAILQ_INSERT_TAIL(&queue->asked, call, link);
		call->asked = true;
		buf_add_str(requests, n > 0 ? "," : "");
		buf_add_str(requests, settle != NULL ? settle : args_get(call, NEXT_REQUEST));
	}
	buf_add(requests, "]", 2);
	queue->alone -= queue->alone > 0;
}

static void ask(struct consumer_queue *queue)
{
	struct buf requests = {0};
	struct db_consumer_next in = {.namespace_name = queue->namespace_name, .consumer = queue->consumer};
	struct db_reply refused = {.status = DB_OVERLOADED};
	struct method_call *call;

	if (queue->asking || queue->busy)
	{
		queue->woken = true;
		return;
	}
	queue->woken = false;
	if (TAILQ_EMPTY(&queue->waiting))
		return;
	event_del(&queue->timer);
	gather(queue, &requests);
	in.requests = requests.data;
	queue->asking = !requests.failed && db_consumer_next(queue->consumers->methods->db, &in, on_reply, queue);
	buf_free(&requests);
	while (!queue->asking && (call = TAILQ_FIRST(&queue->asked)) != NULL)
	{
		leave(call, &queue->asked);
		fail(call, &refused);
	}
}

bool consumers_next(struct method_call *call, uint64_t deadline_ms)
{
	struct consumers *consumers = call->methods->consumers;
	struct consumer_queue *queue =
		find_or_add(consumers, call->namespace_name, args_get(call, NEXT_CONSUMER));

	if (queue == NULL)
		return method_fail(call, ERROR_INTERNAL_ERROR, "out of memory");
	call->deadline_ms = deadline_ms;
	call->waiting = queue;
	call->asked = call->abandoned = call->told = false;
	TAILQ_INSERT_TAIL(&queue->waiting, call, link);
	ask(queue);
	return true;
}

void consumers_abandon(struct method_call *call)
{
	struct consumer_queue *queue = call->waiting;

	call->abandoned = true;
	if (call->asked)
		return;
	leave(call, &queue->waiting);
	answer_nothing(call);
	free_if_empty(queue);
}

/* ---- what wakes ------------------------------------------------------------------ */

void consumers_settled(struct methods *methods, const char *namespace_name, const char *consumer)
{
	struct consumer_queue *queue = find(methods->consumers, namespace_name, consumer);

	if (queue != NULL)
		ask(queue);
	methods->consumers->hooks->settled(methods->consumers->hooks->arg, namespace_name);
}

void consumers_wake(struct consumers *consumers, uint64_t namespaces)
{
	struct consumer_queue *queue, *next;

	for (queue = TAILQ_FIRST(&consumers->queues); queue != NULL; queue = next)
	{
		next = TAILQ_NEXT(queue, link);
		if ((queue->bit & namespaces) != 0)
			ask(queue);
	}
}

/* ---- life ------------------------------------------------------------------------ */

struct consumers *consumers_new(struct event_base *base, struct methods *methods,
								const struct consumers_hooks *hooks)
{
	struct consumers *consumers = calloc(1, sizeof(*consumers));

	if (consumers == NULL)
		return NULL;
	consumers->base = base;
	consumers->methods = methods;
	consumers->hooks = hooks;
	TAILQ_INIT(&consumers->queues);
	return consumers;
}

void consumers_end(struct consumers *consumers)
{
	struct consumer_queue *queue, *next;
	struct method_call *call;

	consumers->ended = true;
	for (queue = TAILQ_FIRST(&consumers->queues); queue != NULL; queue = next)
	{
		next = TAILQ_NEXT(queue, link);
		queue->busy = true;
		while ((call = TAILQ_FIRST(&queue->waiting)) != NULL)
		{
			leave(call, &queue->waiting);
			answer_nothing(call);
		}
		queue->busy = false;
		free_if_empty(queue);
	}
}

void consumers_free(struct consumers *consumers)
{
	free(consumers);
}
