/*
 * protocol.h: what the extension and the program `millrace` have to agree on.
 *
 * Plain C, which both include, so that each rule is said once.
 */
#ifndef MILLRACE_PROTOCOL_H
#define MILLRACE_PROTOCOL_H

#include <stdint.h>

/* ---- names and limits ------------------------------------------------------------------------------- */

/* Its token is the administrator's, and it can't be dropped. */
#define DEFAULT_NAMESPACE "default"

/* Bytes.  A stream name must fit a btree entry (2704 bytes) together with a position. */
#define MAX_NAMESPACE_NAME 200
#define MAX_NAME 2000 /* of a stream, a category, a type */

/* Streams of one call.  Each is a heavyweight lock; all sessions share a table with room for some 12,000 by default. */
#define MAX_STREAMS 1000

/* Types in one filter over HTTP: each message that is looked at is compared with all. */
#define MAX_TYPES 1000

/* Messages of a read that does not say how many: Message DB's. */
#define DEFAULT_BATCH_SIZE 1000

/* Streams of a list that does not say how many. */
#define DEFAULT_MAX_ROWS 100

/* What a namespace may be allowed over HTTP, a second. */
#define MAX_REQUESTS_PER_SECOND INT64_C(1000000000)
#define MAX_BYTES_PER_SECOND INT64_C(10000000000)

/* The expected version that any version meets.  -1 is a stream without messages. */
#define EXPECT_ANY INT64_MIN

/* A limit in a message. */
#define LIMIT_TEXT(limit) LIMIT_DIGITS(limit)
#define LIMIT_DIGITS(digits) #digits

#endif
