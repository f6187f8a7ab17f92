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
	return (unsigned)PQntuples(reply->result);
}

struct db_delivery db_delivery_of(const struct db_reply *reply, unsigned index)
{
	int row = (int)index;

	return (struct db_delivery){
		.body = db_text(reply, row, 0),
		.settled = db_optional_text(reply, row, 1),
		.claim = db_optional_integer(reply, row, 2),
		.next_due_ms = db_optional_integer(reply, row, 3),
		.expired = db_integer(reply, row, 4),
	};
}

bool db_consumer(struct db *db, const struct db_consumer *in, db_query_done done, void *arg)
{
	const char *const params[] = {in->namespace_name, in->method, in->consumer, in->options};

	return db_ask(db, in->reads ? &db_consumer_read_statement : &db_consumer_statement, params, done, arg);
}
