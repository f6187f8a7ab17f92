/*
 * append.h: the one core through which messages get in.
 *
 * A call takes requests; a request is one or more parts, all or none; a part is messages for one stream.
 * Each request gets its own verdict: one that is refused leaves the others alone and raises nothing.
 */
#ifndef MILLRACE_APPEND_H
#define MILLRACE_APPEND_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "core/query.h"
#include "store/store.h"

typedef struct AppendMessage
{
	text *type;
	Jsonb *data;
	Jsonb *metadata; /* NULL: none */
	pg_uuid_t id;
	bool id_is_new;	   /* don't look whether it is stored: made by this call, or to be a unique violation */
	bool id_was_given; /* of the latter: look whether one with it was removed */
	/* results */
	int64 position;
	int64 global_position;
	/* the core's own */
	struct AppendMessage *earlier;	/* the one before it in this call with the same id */
	struct AppendMessage *original; /* idempotence: the earlier one that this one repeats */
	bool accepted;					/* will be inserted, into `space` */
	struct AppendRequest *request;
	struct OpenNamespace *space;
	text *stream;
	NewRow row;
} AppendMessage;

typedef struct AppendPart
{
	text *stream;
	int64 expected; /* NO_STREAM, a version, or EXPECT_ANY */
	AppendMessage *messages;
	int nmessages;				/* at least 1 */
	struct AppendStream *state; /* the core's own */
	int64 version_before;		/* the core's own */
} AppendPart;

/* sqlerrcode 0: appended, or found to have been appended before; positions are in the messages. */
typedef struct AppendVerdict
{
	int sqlerrcode;
	int part; /* the part refused */
	int64
		expected; /* wrong expected version: both; a condition that does not hold: `after`, and the match's */
	int64 actual; /* global position */
	char *message;
	/* of a condition that does not hold: what matches */
	char *stream;
	char *type;
	AppendMessage *match; /* the core's own: of the same call */
} AppendVerdict;

typedef struct AppendRequest
{
	const char *namespace_name; /* or NULL, and: */
	Oid schema;					/* the schema of the table */
	AppendPart *parts;
	int nparts;
	Condition *conditions; /* all must hold */
	int nconditions;
	bool reserved; /* its types may be the store's own */
	int malformed; /* the SQLSTATE that it is refused with, for what it says of them; 0: none */
	char *malformation;
	AppendVerdict verdict;
	/* the core's own */
	struct OpenNamespace *space;
	AppendMessage *twice; /* a message whose id another one of the request has, too */
} AppendRequest;

/* What is done about a condition that a transaction in progress may break. */
typedef enum AppendDoubt
{
	APPEND_WAIT,  /* waits for its end */
	APPEND_REFUSE /* the request's verdict is 55P03 */
} AppendDoubt;

extern void AppendRequests(AppendRequest *requests, int nrequests, AppendDoubt doubt);
extern void GenerateUuidV7(pg_uuid_t *id);

#endif
