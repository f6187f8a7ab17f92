/*
 * protocol.h: what the extension and the program `millrace` have to agree on.
 *
 * Plain C, which both include, so that each rule is said once.  What SQL and the documents have to repeat,
 * test/agreement.py compares with it.
 */
#ifndef MILLRACE_PROTOCOL_H
#define MILLRACE_PROTOCOL_H

#include <stdint.h>

/* ---- names and limits ------------------------------------------------------ */

/* Its token is the administrator's, and it can't be dropped. */
#define DEFAULT_NAMESPACE "default"

/* Bytes.  A stream name must fit a btree entry (2704 bytes) together with a position. */
#define MAX_NAMESPACE_NAME 200
#define MAX_CLUSTER_NAME 200
#define MAX_NAME 2000 /* of a stream, a category, a type */

/* Of one call.  Each is a heavyweight lock; all sessions share a table, by default with room for 12,000. */
#define MAX_STREAMS 1000

/* Types in one filter over HTTP: each message that is looked at is compared with all. */
#define MAX_TYPES 1000

/* Distinct tags of a message, where the namespace has an index of tags. */
#define MAX_ROW_TAGS 1000

/* Messages of a read that does not say how many: Message DB's. */
#define DEFAULT_BATCH_SIZE 1000

/* Streams of a list that does not say how many, and of any list over HTTP. */
#define DEFAULT_MAX_ROWS 100
#define MAX_ROWS 1000

/* Messages that a call removes that does not say how many, and at most over HTTP. */
#define MAX_REMOVED 10000

/* Messages that a search and its like look at, where they don't say how many, and at most over HTTP. */
#define DEFAULT_SCAN_LIMIT 10000
#define MAX_SCAN_LIMIT 100000

/*
 * Consumers.  A claim, and all open claims of a consumer together, have at most so many messages and bytes.
 */
#define MAX_CONSUMER_NAME 200
#define MAX_CONSUMERS 1000 /* of a namespace */
#define MAX_CLAIM_MESSAGES 1000
#define DEFAULT_CLAIM_MESSAGES 100
#define MAX_CLAIM_BYTES 8388608
#define DEFAULT_CLAIM_BYTES 1048576
#define MIN_LEASE_MS 1000
#define MAX_LEASE_MS 43200000
#define DEFAULT_LEASE_MS 30000
#define MAX_ERROR_TEXT 2000
#define DEFAULT_MAX_ATTEMPTS 10
#define DEFAULT_MAX_PARKED 1000
#define PARK_AFTER_MS 30000
#define MAX_WAITING_STREAMS 1000 /* of a consumer, not parked */

/* Queries and conditions.  Each type of an item is looked up by itself, together with each of its tags. */
#define MAX_QUERY_ITEMS 100
#define MAX_QUERY_TYPES 100 /* of an item */
#define MAX_QUERY_TAGS 20	/* of an item */
#define MAX_QUERY_LOOKUPS 500
#define MAX_CONDITIONS 10

/* Messages that are redacted in one call, all or none. */
#define MAX_REDACTED 1000
/* Tokens beside a namespace's first. */
#define MAX_TOKEN_NAME 200
#define MAX_TOKENS 1000 /* of a namespace */

/* Rows that one step of a sweep looks at. */
#define DEFAULT_SWEEP_ROWS 10000
#define MAX_SWEEP_ROWS 1000000

/* What a namespace may be allowed over HTTP, a second. */
#define MAX_REQUESTS_PER_SECOND INT64_C(1000000000)
#define MAX_BYTES_PER_SECOND INT64_C(10000000000)

/* How types begin that only the store itself appends. */
#define RESERVED_TYPES "millrace."

/*
 * The member of a redacted message's metadata, true.  A retry is not compared with the content of who has it,
 * so no append takes it, and an import only of who may redact.
 */
#define REDACTED_MEMBER "millrace.redacted"

/* The version of a stream without messages. */
#define NO_STREAM INT64_C(-1)

/* The expected version that any version meets. */
#define EXPECT_ANY INT64_MIN

/* A limit in a message. */
#define LIMIT_TEXT(limit) LIMIT_DIGITS(limit)
#define LIMIT_DIGITS(digits) #digits

/* ---- SQLSTATEs ------------------------------------------------------------- */

#define SQLSTATE_LEN 5

/* Millrace's own. */
#define SQLSTATE_WRONG_EXPECTED_VERSION "MR001"
#define SQLSTATE_MESSAGE_ID_CONFLICT "MR002" /* stored with other contents, or the request only in part */
#define SQLSTATE_NAMESPACE_NOT_FOUND "MR003"
#define SQLSTATE_NAMESPACE_EXISTS "MR004"
#define SQLSTATE_NULL_ARGUMENT "MR005"
#define SQLSTATE_EMPTY_NAME "MR006"
#define SQLSTATE_TOO_LONG "MR007"
#define SQLSTATE_NOT_AN_OBJECT "MR008"		   /* data or metadata */
#define SQLSTATE_OUT_OF_RANGE "MR009"		   /* an argument, or how many streams a call has */
#define SQLSTATE_UNUSABLE_TABLE "MR010"		   /* of the namespace */
#define SQLSTATE_MALFORMED_BATCH "MR011"	   /* a frame that is none */
#define SQLSTATE_DEFAULT_NAMESPACE "MR012"	   /* can't be dropped */
#define SQLSTATE_POSITION_EXISTS "MR013"	   /* or the id, of an import */
#define SQLSTATE_POSITION_OUT_OF_RANGE "MR014" /* or the time, of an import */

#define SQLSTATE_CLAIM_LOST "MR015" /* settled already, or given to another member */
#define SQLSTATE_CONSUMER_NOT_FOUND "MR016"
#define SQLSTATE_CONSUMER_EXISTS "MR017" /* and is another one */
#define SQLSTATE_CONSUMER_MOVED "MR018"	 /* is not at the position that it was to be moved from */

#define SQLSTATE_APPEND_CONDITION_FAILED "MR019"
#define SQLSTATE_NO_TAG_INDEX "MR020" /* of the namespace, or one without types */

#define SQLSTATE_STREAM_CLOSED "MR021"
#define SQLSTATE_POSITION_REMOVED "MR022" /* that a strict read touches */
#define SQLSTATE_RETENTION_HELD "MR023"	  /* by a consumer, or by a name */
#define SQLSTATE_RESERVED_TYPE "MR024"	  /* one that begins with RESERVED_TYPES */
#define SQLSTATE_MESSAGE_NOT_FOUND "MR027"
#define SQLSTATE_TOKEN_EXISTS "MR025"
#define SQLSTATE_TOKEN_NOT_FOUND "MR026"

#define SQLSTATE_NAMESPACE_SEALED "MR028" /* for a moment, while it moves */
#define SQLSTATE_NAMESPACE_MOVED "MR029"  /* to another cluster, which the detail names as JSON */

/* PostgreSQL's that the program decides by. */
#define SQLSTATE_SUCCESS "00000"
#define SQLSTATE_CONNECTION_FAILURE "08006"
#define SQLSTATE_FEATURE_NOT_SUPPORTED "0A000"
#define SQLSTATE_NUMERIC_VALUE_OUT_OF_RANGE "22003"
#define SQLSTATE_DIVISION_BY_ZERO "22012"
#define SQLSTATE_INVALID_PARAMETER_VALUE "22023"
#define SQLSTATE_INVALID_TEXT_REPRESENTATION "22P02"
#define SQLSTATE_UNTRANSLATABLE_CHARACTER "22P05"
#define SQLSTATE_UNIQUE_VIOLATION "23505"
#define SQLSTATE_READ_ONLY_TRANSACTION "25006" /* a standby, until a failover is done */
#define SQLSTATE_UNDEFINED_FUNCTION "42883"
#define SQLSTATE_INVALID_STATEMENT_NAME "26000" /* what was prepared is in another session */
#define SQLSTATE_SERIALIZATION_FAILURE "40001"
#define SQLSTATE_DEADLOCK "40P01"
#define SQLSTATE_INSUFFICIENT_PRIVILEGE "42501"
#define SQLSTATE_DUPLICATE_PREPARED_STATEMENT "42P05"
#define SQLSTATE_DISK_FULL "53100"
#define SQLSTATE_OUT_OF_MEMORY "53200"
#define SQLSTATE_TOO_MANY_CONNECTIONS "53300"
#define SQLSTATE_PROGRAM_LIMIT_EXCEEDED "54000" /* jsonb that is too large */
#define SQLSTATE_STATEMENT_TOO_COMPLEX "54001"	/* nested too deep */
#define SQLSTATE_OBJECT_IN_USE "55006"
#define SQLSTATE_LOCK_NOT_AVAILABLE "55P03" /* another session holds the stream for too long */
#define SQLSTATE_ADMIN_SHUTDOWN "57P01"
#define SQLSTATE_CRASH_SHUTDOWN "57P02"
#define SQLSTATE_CANNOT_CONNECT_NOW "57P03"
#define SQLSTATE_IDLE_SESSION_TIMEOUT "57P05"
#define SQLSTATE_INTERNAL_ERROR "XX000"

/* How all of a class begin. */
#define SQLSTATE_CLASS_OURS "MR"
#define SQLSTATE_CLASS_CONNECTION "08"
#define SQLSTATE_CLASS_DATA "22"
#define SQLSTATE_CLASS_RESOURCES "53" /* out of connections, memory, disk */
#define SQLSTATE_CLASS_LIMITS "54"
#define SQLSTATE_CLASS_SHUTDOWN "57P0" /* shutting down, crashed, starting up */

/* ---- frames ---------------------------------------------------------------- */

/*
 * What append_batch(), append_batch_packed() and import_batch() are given, and the packed verdicts.  Each is
 * one bytea, so that a message costs no array and no conversion.  Integers are big-endian.  A string is UTF-8
 * and ends in a NUL that is not part of it, so that it is used where it lies.
 *
 *     batch     = u8 version, u32 number of requests, request...
 *     request   = string namespace, u32 number of parts, part...
 *               | string namespace, u32 number of parts with FRAME_CONDITIONS, string conditions, part...
 *     part      = string stream, i64 expected version or EXPECT_ANY, u32 number of messages, message...
 *     message   = 16 bytes id, string type, string data, string metadata
 *     string    = u32 length, bytes, NUL; as metadata also u32 FRAME_NULL: none
 *
 *     verdicts  = u8 version, u32 number of requests, verdict...
 *     verdict   = u32 number of parts, positions...                                              appended
 *               | u32 0, 5 bytes SQLSTATE, u32 part, i64 expected, i64 actual, string message    refused
 *                 and of SQLSTATE_APPEND_CONDITION_FAILED also string stream, string type
 *     positions = i64 first position, i64 last, i64 first global position, i64 last
 *
 *     import    = u8 version, u32 number of records, record...
 *     record    = 16 bytes id, string stream, string type, i64 position, i64 global position,
 *                 i64 time (microseconds since 2000-01-01 UTC), string data, string metadata
 *
 * and with IMPORT_VERSION_MARKS a byte before each record, which says what it is:
 *
 *     floor     = 16 bytes of a stream's name (see store/floors.c), i64 version, u8 IMPORT_FLOOR_...
 *     last      = i64 global position
 */
#define BATCH_VERSION 1
/* All ids were made just now, so that none is looked for; one that is there already is a unique violation. */
#define BATCH_VERSION_NEW_IDS 2
/*
 * What a condition is in doubt about is waited for, and it is looked at however long that takes; else the
 * verdict is SQLSTATE_LOCK_NOT_AVAILABLE.
 */
#define BATCH_VERSION_WAIT 3
#define VERDICTS_VERSION 1
#define IMPORT_VERSION 1
#define IMPORT_VERSION_MARKS 2

/*
 * So many records of a frame, and then the next ones, are a batch: it is stored whole or not at all.  Where a
 * record is refused, the batches before its own are stored.
 */
#define IMPORT_BATCH_RECORDS 1000

#define IMPORT_MESSAGE 0
#define IMPORT_FLOOR 1
#define IMPORT_LAST 2

#define IMPORT_FLOOR_KEY_LEN 16
#define IMPORT_FLOOR_CLOSED 1
#define IMPORT_FLOOR_RESTORED 2

#define FRAME_HEADER_LEN 5 /* version and number */
#define FRAME_ID_LEN 16
#define FRAME_POSITIONS_LEN 32
#define FRAME_NULL UINT32_MAX
#define FRAME_CONDITIONS UINT32_C(0x80000000)

/* ---- live messages --------------------------------------------------------- */

/* Events: the extension writes them for subscriptions that catch up, the program for those that follow. */
#define SSE_ID "id: "
#define SSE_EVENT "event: "
#define SSE_DATA "\ndata: "
#define SSE_END "\n\n"
#define SSE_POKE "poke"
#define SSE_MESSAGE "message"

/* How far read_pokes() came. */
#define POKES_MORE "more"		/* the page is full */
#define POKES_WAITING "waiting" /* what comes next is not decided yet */
#define POKES_DONE "done"

#endif
