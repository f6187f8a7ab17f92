/*
 * query_read.h: reading the messages that match a query.
 */
#ifndef MILLRACE_QUERY_READ_H
#define MILLRACE_QUERY_READ_H

#include "postgres.h"

#include "core/query.h"
#include "core/read.h"

typedef struct QueryRequest
{
	const TagQuery *query;
	bool backward;	/* the newest first */
	int64 position; /* global, the first wanted; backward the highest */
	int64 limit;	/* messages; NO_LIMIT */
} QueryRequest;

/*
 * Hands the messages of a query to the sink, in order, as the active snapshot sees them.  Errors: MR020
 * without an index on tags, 55000 where that is younger than the snapshot.
 *
 * Returns the head: every message that matches, from the request's position up to the head, was returned, and
 * no other will ever appear among them.  So it is what a condition is to be after.  *more, which may be NULL:
 * the limit or the sink ended the read, which forward lowers the head to the last message.
 */
extern int64 QueryReadMessages(Store *store, const QueryRequest *request, MessageSink sink, void *arg,
							   bool *more);

/* The head of a query without its messages. */
extern int64 QueryHead(Store *store, const TagQuery *query);

#endif
