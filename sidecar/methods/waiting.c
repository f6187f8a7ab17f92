/*
 * waiting.c: calls of consumer.next, and those of them that wait for something to do.
 *
 * All calls of a worker for one consumer are in one queue, in the order in which they came, until they are
 * answered.  At most one question of it is with Postgres: it asks for many of them in one transaction, so
 * that they share its commit.  A call that gets nothing and may wait stays, and holds no connection.  The
 * queue asks again when something was committed to the namespace, when a claim was settled, when a retry is
 * due or a lease runs out, and now and then, as it is not told of everything.
 *
 * What calls have to settle is settled before their first question, in a transaction of its own: that one
 * waits for the disk, and nobody with it, as it does not take the consumer's lock.  What came of it is kept
 * with the call, whose answer tells it whatever comes of the question.  When Postgres refuses a transaction,
 * each of its calls is asked for alone, as one of them is at fault.
 */
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/stats.h"
#include "methods/question.h"

#define POLL_MS 2500	/* at the latest, when every commit is told... */
#define UNTOLD_MS 100	/* ...and when it is not */
#define HELD_MS 1000	/* something is due, but a transaction holds it */
#define LOCKED_MS 3		/* another session is at the consumer; twice that the next time... */
#define LOCKED_POLL 100 /* ...and so on up to here */
#define LOCKED_MAX 5000 /* so long after its time a call is told of it, and not asked for any more */

struct consumers
{
	struct event_base *base;
	struct methods *methods;
	const struct consumers_hooks *hooks;
	struct queue_list queues;
	bool ended;
};

static void wake(struct consumer_queue *queue);
static void go_on(struct consumer_queue *queue);

/* ---- queues -------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	wake(arg);
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
	queue->due_ms = UINT64_MAX;
	TAILQ_INIT(&queue->calls);
	if (TAILQ_EMPTY(&consumers->queues))
		consumers->hooks->set_waiting(consumers->hooks->arg, true);
	event_assign(&queue->timer, consumers->base, -1, 0, on_timer, queue);
	TAILQ_INSERT_TAIL(&consumers->queues, queue, link);
	return queue;
}

static void free_if_empty(struct consumer_queue *queue)
{
	struct consumers *consumers = queue->consumers;

	if (queue->asking || queue->busy || queue->releasing > 0 || !TAILQ_EMPTY(&queue->calls))
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
	uint64_t next = now + (hooks->are_told(hooks->arg, queue->namespace_name) ? POLL_MS : UNTOLD_MS);
	struct method_call *call;

	if (queue->due_ms < next)
		next = queue->due_ms;
	TAILQ_FOREACH(call, &queue->calls, link)
	{
		if (call->deadline_ms < next)
			next = call->deadline_ms;
	}
	set_timer(queue, next > now ? next - now : 0);
}

/* ---- what a question gave ---------------------------------------------------------- */

static void on_released(void *arg, struct db_reply *reply)
{
	struct consumer_queue *queue = arg;

	(void)reply;
	queue->releasing--;
	queue->consumers->hooks->settled(queue->consumers->hooks->arg, queue->namespace_name);
	wake(queue);
}

/* The database in which the consumer is; NULL: it can't be had. */
static struct db *db_of(const struct consumer_queue *queue)
{
	const struct place *place = places_of(queue->consumers->methods->places, queue->namespace_name);

	return place != NULL ? place->db : NULL;
}

/* Gives back a claim whose client is gone, unless it has sent its request again and was given it. */
static void release(struct consumer_queue *queue, const struct db_delivery *delivery)
{
	const struct db_consumer_release in = {.namespace_name = queue->namespace_name,
										   .consumer = queue->consumer,
										   .claim = delivery->claim.value,
										   .granted = delivery->granted};

	struct db *db = db_of(queue);

	queue->releasing += db != NULL && db_consumer_release(db, &in, on_released, queue);
}

static bool may_wait(const struct consumer_queue *queue, const struct method_call *call)
{
	return !queue->consumers->ended && !call->abandoned && !call->text.failed &&
		   clock_ms() < call->deadline_ms;
}

static void take_delivery(struct consumer_queue *queue, struct method_call *call, struct db_reply *reply,
						  const struct db_delivery *delivery)
{
	call->asked_once = true;
	if (!delivery->claim.is_set && may_wait(queue, call))
		return;
	if (call->abandoned)
	{
		if (delivery->claim.is_set)
			release(queue, delivery);
		answer_nothing(queue, call);
		return;
	}
	answer_call(queue, call, reply, delivery->body);
}

/* Of a question that was answered with nothing for one of its calls. */
static void take_due(struct consumer_queue *queue, const struct db_delivery *delivery)
{
	uint64_t ms = delivery->next_due_ms.is_set ? (uint64_t)delivery->next_due_ms.value : 0;
	uint64_t due = clock_ms() + (ms > 0 ? ms : HELD_MS);

	if (delivery->next_due_ms.is_set && due < queue->due_ms)
		queue->due_ms = due;
}

/* ---- asking --------------------------------------------------------------------- */

/* The end of a question without an answer for each: what stays is asked for again. */
static void take_failure(struct consumer_queue *queue, unsigned nasked, struct db_reply *reply)
{
	bool alone = nasked > 1 && reply->status == DB_ERROR;
	struct method_call *call, *next;

	for (call = question_first(TAILQ_FIRST(&queue->calls)); call != NULL; call = next)
	{
		next = question_first(TAILQ_NEXT(call, link));
		call->asked = false;
		call->alone = alone;
		if (!alone)
			answer_error(queue, call, reply);
		else if (call->abandoned)
			answer_nothing(queue, call);
		else
			answer_waits(call);
	}
	queue->woken = true;
	queue->locked_ms = 0;
}

static void take_locked(struct consumer_queue *queue)
{
	struct method_call *call, *next;

	queue->locked_ms = queue->locked_ms == 0 ? LOCKED_MS : queue->locked_ms * 2;
	if (queue->locked_ms > LOCKED_POLL)
		queue->locked_ms = LOCKED_POLL;
	for (call = question_first(TAILQ_FIRST(&queue->calls)); call != NULL; call = next)
	{
		next = question_first(TAILQ_NEXT(call, link));
		call->asked = false;
		if (call->abandoned)
			answer_nothing(queue, call);
		else if (queue->consumers->ended || clock_ms() >= call->deadline_ms + LOCKED_MAX)
			answer_locked(queue, call);
		else
			answer_waits(call);
	}
}

/* Asks again where all got something, as there may be more for those that were not asked for. */
static void take_deliveries(struct consumer_queue *queue, struct db_reply *reply)
{
	struct stats *stats = queue->consumers->methods->stats;
	struct method_call *call, *next = question_first(TAILQ_FIRST(&queue->calls));
	bool all = true;

	queue->due_ms = UINT64_MAX;
	queue->locked_ms = 0;
	for (unsigned i = 0; (call = next) != NULL; i++)
	{
		const struct db_delivery delivery = db_delivery_of(reply, i);

		next = question_first(TAILQ_NEXT(call, link));
		call->asked = call->alone = false;
		all = all && delivery.claim.is_set;
		stats_add(&stats->claims_given, delivery.claim.is_set);
		stats_add(&stats->claims_expired, (uint64_t)delivery.expired);
		take_due(queue, &delivery);
		take_delivery(queue, call, reply, &delivery);
	}
	queue->woken = queue->woken || all;
}

/* What was settled lets others go on at once; a call whose client is gone asks for nothing more. */
static void take_settled(struct consumer_queue *queue, struct db_reply *reply)
{
	struct method_call *call, *next;

	question_take_settled(queue, reply, queue->consumers->methods->stats);
	for (call = question_first(TAILQ_FIRST(&queue->calls)); call != NULL; call = next)
	{
		next = question_first(TAILQ_NEXT(call, link));
		if (call->abandoned)
			answer_nothing(queue, call);
	}
	queue->consumers->hooks->settled(queue->consumers->hooks->arg, queue->namespace_name);
}

static void on_reply(void *arg, struct db_reply *reply)
{
	struct consumer_queue *queue = arg;
	struct method_call *call;
	unsigned nasked = 0;

	TAILQ_FOREACH(call, &queue->calls, link)
	nasked += call->asked;
	queue->asking = false;
	queue->busy = true;
	if (reply->status != DB_OK)
		take_failure(queue, nasked, reply);
	else if (db_deliveries_of(reply) != nasked)
		take_locked(queue);
	else
		take_deliveries(queue, reply);
	queue->busy = false;
	go_on(queue);
}

/* No question could be asked: those that wait go on with it. */
static void take_overload(struct consumer_queue *queue)
{
	struct db_reply refused = {.status = DB_OVERLOADED};
	struct method_call *call, *next;

	queue->busy = true;
	queue->due_ms = UINT64_MAX;
	for (call = question_first(TAILQ_FIRST(&queue->calls)); call != NULL; call = next)
	{
		next = question_first(TAILQ_NEXT(call, link));
		call->asked = false;
		if (!call->asked_once || !may_wait(queue, call))
			answer_error(queue, call, &refused);
	}
	queue->busy = queue->woken = false;
	if (!TAILQ_EMPTY(&queue->calls))
		wait_on(queue);
}

static void on_settled(void *arg, struct db_reply *reply);

/* Sends the question, or what is to be settled before it. */
static void send_question(struct consumer_queue *queue)
{
	struct db *db = db_of(queue);
	struct buf requests = {0};
	struct db_consumer_next in = {.namespace_name = queue->namespace_name, .consumer = queue->consumer};
	bool settles = question_write(queue, &requests);

	in.requests = requests.data;
	if (!requests.failed && db != NULL)
		queue->asking = settles ? db_consumer_settle(db, &in, on_settled, queue)
								: db_consumer_next(db, &in, on_reply, queue);
	buf_free(&requests);
	if (!queue->asking)
		take_overload(queue);
}

static void on_settled(void *arg, struct db_reply *reply)
{
	struct consumer_queue *queue = arg;

	if (reply->status != DB_OK)
	{
		on_reply(arg, reply);
		return;
	}
	queue->asking = false;
	queue->busy = true;
	take_settled(queue, reply);
	queue->busy = false;
	if (question_first(TAILQ_FIRST(&queue->calls)) != NULL)
	{
		send_question(queue);
		free_if_empty(queue);
	}
	else
		go_on(queue);
}

static void ask(struct consumer_queue *queue)
{
	if (queue->asking || queue->busy)
	{
		queue->woken = true;
		return;
	}
	queue->woken = false;
	if (TAILQ_EMPTY(&queue->calls))
		return;
	event_del(&queue->timer);
	question_choose(queue);
	send_question(queue);
}

/* Asks for what waits, if anything does. */
static void wake(struct consumer_queue *queue)
{
	ask(queue);
	free_if_empty(queue);
}

/* After a question. */
static void go_on(struct consumer_queue *queue)
{
	if (queue->locked_ms > 0 && !TAILQ_EMPTY(&queue->calls))
		set_timer(queue, queue->locked_ms);
	else if (queue->woken || question_is_left(queue))
		ask(queue);
	else if (!TAILQ_EMPTY(&queue->calls))
		wait_on(queue);
	free_if_empty(queue);
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
	call->asked = call->asked_once = call->alone = call->abandoned = call->told = false;
	TAILQ_INSERT_TAIL(&queue->calls, call, link);
	if (may_wait(queue, call))
		answer_waits(call); /* so that we hear when its client goes while Postgres has the first question */
	wake(queue);
	return true;
}

void consumers_abandon(struct method_call *call)
{
	struct consumer_queue *queue = call->waiting;

	call->abandoned = true;
	if (call->asked)
		return;
	answer_nothing(queue, call);
	free_if_empty(queue);
}

/* ---- what wakes ------------------------------------------------------------------ */

void consumers_settled(struct methods *methods, const char *namespace_name, const char *consumer)
{
	struct consumer_queue *queue = find(methods->consumers, namespace_name, consumer);

	if (queue != NULL)
		wake(queue);
	methods->consumers->hooks->settled(methods->consumers->hooks->arg, namespace_name);
}

void consumers_wake(struct consumers *consumers, uint64_t namespaces)
{
	struct consumer_queue *queue, *next;

	for (queue = TAILQ_FIRST(&consumers->queues); queue != NULL; queue = next)
	{
		next = TAILQ_NEXT(queue, link);
		if ((queue->bit & namespaces) != 0)
			wake(queue);
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
	struct consumer_queue *queue, *next_queue;
	struct method_call *call, *next;

	consumers->ended = true;
	for (queue = TAILQ_FIRST(&consumers->queues); queue != NULL; queue = next_queue)
	{
		next_queue = TAILQ_NEXT(queue, link);
		queue->busy = true;
		for (call = TAILQ_FIRST(&queue->calls); call != NULL; call = next)
		{
			next = TAILQ_NEXT(call, link);
			if (!call->asked)
				answer_nothing(queue, call);
		}
		queue->busy = false;
		free_if_empty(queue);
	}
}

void consumers_free(struct consumers *consumers)
{
	free(consumers);
}
