/*
 * calls_consumer.c: the statements about consumers; see calls.h.
 */
#include "db/statement.h"

bool db_consumer_next(struct db *db, const struct db_consumer_next *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->consumer, in->requests};

	return db_ask(db, &db_consumer_next_statement, params, done, arg);
}

unsigned db_deliveries_of(const struct db_reply *reply)
{
	return (unsigned)db_rows(reply);
}

struct db_delivery db_delivery_of(const struct db_reply *reply, unsigned index)
{
	int row = (int)index;

	return (struct db_delivery){
		.body = db_text(reply, row, 0),
		.claim = db_optional_integer(reply, row, 1),
		.next_due_ms = db_optional_integer(reply, row, 2),
		.expired = db_integer(reply, row, 3),
		.granted = db_integer(reply, row, 4),
	};
}

bool db_consumer_settle(struct db *db, const struct db_consumer_next *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->consumer, in->requests};

	return db_ask(db, &db_consumer_settle_statement, params, done, arg);
}

struct db_settled db_settled_of(const struct db_reply *reply, unsigned index)
{
	int row = (int)index;

	return (struct db_settled){
		.settled = db_text(reply, row, 0),
		.claims_settled = db_integer(reply, row, 1),
		.claims_lost = db_integer(reply, row, 2),
		.messages_failed = db_integer(reply, row, 3),
	};
}

bool db_consumer_release(struct db *db, const struct db_consumer_release *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->consumer, DB_NUMBER(in->claim),
								  DB_NUMBER(in->granted)};

	return db_ask(db, &db_consumer_release_statement, params, done, arg);
}

bool db_consumer(struct db *db, const struct db_consumer *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->method, in->consumer, in->options};

	return db_ask(db, in->reads ? &db_consumer_read_statement : &db_consumer_statement, params, done, arg);
}

bool db_consumer_metrics(struct db *db, int max_consumers, int max_ms, db_query_done done, void *arg)
{
	char texts[2][12];
	const char *const params[] = {texts[0], texts[1]};

	snprintf(texts[0], sizeof(texts[0]), "%d", max_consumers);
	snprintf(texts[1], sizeof(texts[1]), "%d", max_ms);
	return db_ask(db, &db_consumer_metrics_statement, params, done, arg);
}

struct db_consumer_status db_consumer_status_of(const struct db_reply *reply, unsigned row)
{
	struct db_consumer_status status = {
		.namespace_name = db_is_null(reply, (int)row, 0) ? NULL : db_string(reply, (int)row, 0),
		.consumer = db_string(reply, (int)row, 1),
		.state = db_string(reply, (int)row, 2),
	};

	for (int i = 0; i < CONSUMER_FIGURES; i++)
		status.figures[i] = db_string(reply, (int)row, 3 + i);
	return status;
}
