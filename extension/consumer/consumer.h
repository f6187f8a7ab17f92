/*
 * consumer.h: named, durable readers that give work to any number of members, each stream in order.
 *
 * A member asks for a claim (next.c): a number, a lease, and messages of streams that no other member has.
 * It settles the claim (settle.c) and asks again.  Nothing is copied: what waits, is retried or parked stays
 * where it is in the log.
 *
 *   claim    a row from `next` to `settle`, with what was handed out (content.c).  The newest one of a
 *            consumer says how far the log was handed out, its ceiling, and which is the oldest open one, so
 *            that both are found from the index's end; it is never deleted before there is a newer one.
 *   stream   a row while a stream is retried, parked or has messages below the ceiling that were passed over.
 *
 * Every message up to the ceiling that passes the consumer's filters is settled, in an open claim, or at or
 * behind the position of its stream's row.
 *
 * All but settle() and extend() run under the consumer's lock, to commit; those two touch the row of their
 * own claim only, which next() reads under the lock, so what they said takes effect at the next call of
 * next().
 */
#ifndef MILLRACE_CONSUMER_H
#define MILLRACE_CONSUMER_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/read.h"
#include "store/store.h"

/* ---- tables -------------------------------------------------------------------------------------- */

typedef enum ConsumerTable
{
	TABLE_CONSUMERS,
	TABLE_CLAIMS,
	TABLE_STREAMS,
	TABLE_SKIPPED,
	CONSUMER_TABLES
} ConsumerTable;

enum /* of consumers */
{
	CONSUMER_ID = 1,
	CONSUMER_NAME,
	CONSUMER_CATEGORY,
	CONSUMER_STREAM,
	CONSUMER_TYPES,
	CONSUMER_CORRELATION,
	CONSUMER_QUERY,
	CONSUMER_ORDERING,
	CONSUMER_OPTIONS,
	CONSUMER_STATE,
	CONSUMER_REASON,
	CONSUMER_CREATED_AT,
	CONSUMER_COLUMNS = CONSUMER_CREATED_AT
};

enum /* of consumer_claims */
{
	CLAIM_CONSUMER = 1,
	CLAIM_CLAIM,
	CLAIM_CEILING,
	CLAIM_OLDEST,
	CLAIM_GRANTED,
	CLAIM_LEASE_UNTIL,
	CLAIM_MEMBER,
	CLAIM_REQUEST,
	CLAIM_CONTENT,
	CLAIM_COLUMNS = CLAIM_CONTENT
};

enum /* of consumer_streams */
{
	STREAM_CONSUMER = 1,
	STREAM_STREAM,
	STREAM_POSITION,
	STREAM_GLOBAL_POSITION,
	STREAM_CLAIM,
	STREAM_CLAIMED_TO,
	STREAM_ATTEMPTS,
	STREAM_SUSPECT,
	STREAM_RETRY_AT,
	STREAM_FIRST_FAILED,
	STREAM_PARKED_AT,
	STREAM_ERROR,
	STREAM_COLUMNS = STREAM_ERROR
};

enum /* of consumer_skipped */
{
	SKIPPED_CONSUMER = 1,
	SKIPPED_GLOBAL_POSITION,
	SKIPPED_STREAM,
	SKIPPED_POSITION,
	SKIPPED_ATTEMPTS,
	SKIPPED_AT,
	SKIPPED_ERROR,
	SKIPPED_COLUMNS = SKIPPED_ERROR
};

#define CONSUMER_MAX_COLUMNS STREAM_COLUMNS

/* The tables of one namespace, opened for one call.  The locks last to commit. */
typedef struct ConsumerTables
{
	Store *store; /* the messages, for reading */
	Relation table[CONSUMER_TABLES];
	Relation key[CONSUMER_TABLES]; /* the unique index by the first two columns; of consumers: by name */
	Relation parked;			   /* the index of consumer_streams by consumer and parked_at */
	struct ResultRelInfo *indexes[CONSUMER_TABLES]; /* all of a table's, for writing; NULL: not opened yet */
	Oid numbers;									/* the sequence of claims' and consumers' numbers */
	Snapshot snapshot;								/* by which rows are read; NULL: the newest each time */
} ConsumerTables;

/* A row taken apart; in the current memory context. */
typedef struct ConsumerRow
{
	Datum value[CONSUMER_MAX_COLUMNS];
	bool isnull[CONSUMER_MAX_COLUMNS];
	ItemPointerData tid;
} ConsumerRow;

/* ---- consumers ----------------------------------------------------------------------------------- */

typedef enum ConsumerOrdering
{
	ORDERING_STREAM,
	ORDERING_ALL,
	ORDERING_MANUAL
} ConsumerOrdering;

typedef enum ConsumerState
{
	STATE_RUNNING,
	STATE_PAUSED,
	STATE_STOPPED
} ConsumerState;

typedef enum OnPoison
{
	POISON_PARK,
	POISON_SKIP,
	POISON_STOP
} OnPoison;

typedef struct Consumer
{
	int64 id;
	text *name;
	ReadRequest source; /* kind, name, types, correlation, query */
	ConsumerOrdering ordering;
	ConsumerState state;
	text *reason; /* of being stopped; may be NULL */
	int64 lease_ms;
	int max_attempts;
	int max_parked;
	OnPoison on_poison;
	ConsumerRow row;
} Consumer;

/* ---- claims -------------------------------------------------------------------------------------- */

/* Messages of one stream in a claim, one behind the other. */
typedef struct Span
{
	uint64 hash;		   /* of the stream's name; 0 where the order is of all streams */
	int64 global_position; /* of the first */
	int count;
} Span;

typedef enum FailureKind
{
	FAILURE_RETRY,
	FAILURE_PARK
} FailureKind;

/* That a message was not dealt with. */
typedef struct Failure
{
	text *stream;
	int64 position;
	int64 global_position;
	FailureKind kind;
	int64 delay_ms; /* -1: by the number of attempts */
	text *error;	/* may be NULL */
} Failure;

/* What is in a claim's row: what was handed out and, once it is settled, what became of it. */
typedef struct Content
{
	uint32 place; /* ConsumerPlace() where the number was given */
	int64 lease_ms;
	int64 bytes; /* of the messages */
	Span *spans;
	int nspans;
	/* when it is settled */
	int64 settled_to; /* what has a higher global position was given back; PG_INT64_MAX: nothing */
	Failure *failures;
	int nfailures;
} Content;

typedef struct Claim
{
	int64 number;
	int64 ceiling;
	int64 oldest;
	bool open;
	bool gone; /* in this call */
	TimestampTz granted;
	TimestampTz lease_until;
	text *member;		/* may be NULL */
	pg_uuid_t *request; /* may be NULL */
	Content content;
	ItemPointerData tid;
} Claim;

/* ---- streams ------------------------------------------------------------------------------------- */

/* A stream that has a row; where the order is of all streams there is one, with the name ''. */
typedef struct StreamRow
{
	text *stream;
	uint64 hash;
	int64 position;		   /* the first that is not settled */
	int64 global_position; /* its */
	int64 claim;		   /* that has `position` to `claimed_to`; 0: none */
	int64 claimed_to;
	int attempts;			  /* of `position` */
	int suspect;			  /* of having killed its member: SUSPECT_..., or 0 */
	TimestampTz retry_at;	  /* 0: now */
	TimestampTz first_failed; /* 0: it has not */
	TimestampTz parked_at;	  /* 0: it is not */
	text *error;			  /* may be NULL */
	bool stored;			  /* `tid` is its row */
	bool changed;
	bool gone;
	bool passed;				 /* made for a message that the scan passed over */
	struct StreamRow *same_hash; /* the next in its place of the hash table */
	ItemPointerData tid;
} StreamRow;

/* Everything about one consumer that a call under its lock works on. */
typedef struct ConsumerWork
{
	ConsumerTables *tables;
	Consumer *consumer;
	TimestampTz now;
	Claim newest;
	Claim *claims; /* open ones, and settled ones to be looked at; rising; with the newest */
	int nclaims;
	StreamRow **streams; /* those that are not parked, and what was made of them */
	int nstreams;
	int streams_size;
	struct HTAB *by_name; /* of the streams */
	int nparked;		  /* -1: not counted yet */
	bool any_parked;	  /* when the rows were read */
	int64 expired;		  /* claims whose lease ran out */
	bool look_only;		  /* nothing is written */
	bool claims_only;	  /* the transaction has written nothing else */
} ConsumerWork;

/* tables.c */
extern ConsumerTables *ConsumerTablesOpen(const char *namespace_name, bool write);
extern void ConsumerTablesClose(ConsumerTables *tables);
extern void ConsumerLock(ConsumerTables *tables, int64 consumer);
extern bool ConsumerTryLock(ConsumerTables *tables, int64 consumer);
extern bool RowFirst(ConsumerTables *tables, ConsumerTable kind, Relation index, ScanKey keys, int nkeys,
					 ScanDirection direction, ConsumerRow *row);
typedef bool (*RowSink)(void *arg, const ConsumerRow *row);
extern void RowEach(ConsumerTables *tables, ConsumerTable kind, Relation index, ScanKey keys, int nkeys,
					RowSink sink, void *arg);
extern void RowInsert(ConsumerTables *tables, ConsumerTable kind, ConsumerRow *row);
extern void RowUpdate(ConsumerTables *tables, ConsumerTable kind, ConsumerRow *row);
extern void RowDelete(ConsumerTables *tables, ConsumerTable kind, ItemPointer tid);
extern bool RowTryDelete(ConsumerTables *tables, ConsumerTable kind, ItemPointer tid);
extern bool RowLock(ConsumerTables *tables, ConsumerTable kind, ItemPointer tid, bool wait);
extern uint32 ConsumerPlace(ConsumerTables *tables);
extern int64 ConsumerNumber(ConsumerTables *tables, uint32 place, bool *jumped);

/* consumers.c */
typedef struct ConsumerNames
{
	text *names[MAX_CONSUMERS];
	int nnames;
} ConsumerNames;

extern ConsumerNames *ConsumersAll(ConsumerTables *tables);
extern Consumer *ConsumerFind(ConsumerTables *tables, text *name);
extern Consumer *ConsumerOpen(ConsumerTables *tables, text *name);
extern void ConsumerSetState(ConsumerTables *tables, Consumer *consumer, ConsumerState state, text *reason);
extern const char *ConsumerStateName(ConsumerState state);

/* content.c */
extern bytea *ContentEncode(const Content *content);
extern void ContentDecode(bytea *packed, Content *content);
extern int64 ContentCount(const Content *content);

/* claims.c */
extern bool ClaimFind(ConsumerTables *tables, int64 consumer, int64 number, Claim *claim);
extern bool ClaimFindNewest(ConsumerTables *tables, int64 consumer, Claim *claim);
extern void ClaimNewest(ConsumerTables *tables, int64 consumer, Claim *claim);
extern Claim *ClaimsFrom(ConsumerTables *tables, int64 consumer, int64 number, int *nclaims);
extern void ClaimInsert(ConsumerTables *tables, int64 consumer, Claim *claim);
extern void ClaimUpdate(ConsumerTables *tables, int64 consumer, Claim *claim);
extern TimestampTz ClaimEnd(const Claim *claim);

/* streams.c */
/*
 * Streams of claims whose leases ran out.  One is suspected until something of it is settled, or failed by a
 * member that lives: first of nothing, if the outage had all claims, then by ever smaller claims.
 */
enum
{
	SUSPECT_OUTAGE = 1,
	SUSPECT_QUARTER,
	SUSPECT_SIXTEENTH,
	SUSPECT_ALONE
};

extern uint64 StreamHash(text *stream);
extern void StreamsLoad(ConsumerWork *work);
extern int64 StreamsLowestParked(ConsumerTables *tables, int64 consumer);
extern void StreamsStore(ConsumerWork *work);
extern void StreamsForget(ConsumerWork *work);
extern StreamRow *StreamsFind(ConsumerWork *work, text *stream);
extern StreamRow *StreamsFindParked(ConsumerWork *work, text *stream);
extern StreamRow *StreamsFindOrAdd(ConsumerWork *work, text *stream);
extern int StreamsWaiting(const ConsumerWork *work);
extern int StreamsParked(ConsumerWork *work);
extern bool StreamsAreParked(const ConsumerWork *work);
extern void StreamGoOn(ConsumerWork *work, StreamRow *row, int64 position);
extern void StreamSkip(ConsumerWork *work, StreamRow *row);
extern void StreamPark(ConsumerWork *work, StreamRow *row);
extern void StreamFailed(ConsumerWork *work, StreamRow *row, int64 delay_ms, text *error);

/* Rows of the log that one call looks at, of which the filters may leave none. */
#define SCAN_ROWS 10000

/* source.c */
extern text *SourceKey(const Consumer *consumer, text *stream);
extern int64 SourcePosition(const Consumer *consumer, const Message *message);
extern ReadOutcome SourceRead(ConsumerTables *tables, const Consumer *consumer, int64 from, int64 rows,
							  MessageSink sink, void *arg);
extern void SourceReadStream(ConsumerTables *tables, const Consumer *consumer, text *key, int64 position,
							 int64 below, int64 limit, MessageSink sink, void *arg);
extern bool SourceNext(ConsumerTables *tables, const Consumer *consumer, text *key, int64 position,
					   int64 ceiling, int64 *found, int64 *global_position);
extern bool SourceLacksIndex(ConsumerTables *tables, const Consumer *consumer);
extern bool SourceAt(ConsumerTables *tables, int64 global_position, text **stream, int64 *position);

/* span.c */
extern text *SpanRead(ConsumerWork *work, const Claim *claim, const Span *span, MessageSink sink, void *arg);
extern int64 SpanFind(ConsumerTables *tables, const Consumer *consumer, const Claim *claim, const Span *span,
					  text *stream, int64 position);

/* fold.c */
extern ConsumerWork *ConsumerBegin(ConsumerTables *tables, Consumer *consumer);
extern void ConsumerFold(ConsumerWork *work);
extern void ConsumerLook(ConsumerWork *work);
extern int64 ConsumerOldest(const ConsumerWork *work, int64 otherwise);

/* commit.c */
extern bool ConsumerCommitBegin(void);
extern void ConsumerCommitEnd(bool claims_only);

/* next.c */
typedef struct NextRequest
{
	int max;
	int64 max_bytes;
	int64 lease_ms; /* 0: the consumer's */
	text *member;
	pg_uuid_t *request;
} NextRequest;

/* A message that was handed out, copied. */
typedef struct Delivered
{
	Message message;
	int attempts; /* before this one */
	text *error;  /* of the last one */
} Delivered;

typedef struct Delivery
{
	int64 claim; /* 0: none */
	int64 lease_ms;
	TimestampTz granted; /* of a claim */
	Delivered *messages; /* by global position */
	int nmessages;
	int64 next_due_ms; /* without a claim: when there may be one without an append or a settle; -1: never */
	ConsumerState state;
	text *reason;
} Delivery;

extern ConsumerWork *ConsumerNextBegin(ConsumerTables *tables, Consumer *consumer);
extern void ConsumerNext(ConsumerWork *work, const NextRequest *request, Delivery *delivery);
extern void ConsumerNextEnd(ConsumerWork *work);

/* settle.c */
typedef struct Settlement
{
	int64 claim;
	int64 settled_to; /* PG_INT64_MAX: all but the failures */
	Failure *failures;
	int nfailures;
} Settlement;

extern bool ConsumerTrySettle(ConsumerTables *tables, const Consumer *consumer, const Settlement *settlement);
extern void ConsumerSettle(ConsumerTables *tables, const Consumer *consumer, const Settlement *settlement);
extern bool ConsumerRelease(ConsumerTables *tables, const Consumer *consumer, int64 number,
							TimestampTz granted);
extern void ConsumerExtend(ConsumerTables *tables, const Consumer *consumer, int64 number, int64 lease_ms);

/* manage.c */
extern bool ConsumerCreate(ConsumerTables *tables, ConsumerRow *row, int64 ceiling);
extern void ConsumerDrop(ConsumerTables *tables, Consumer *consumer);
extern void ConsumerReset(ConsumerTables *tables, Consumer *consumer, int64 ceiling, bool keep_parked);
extern void ConsumerMove(ConsumerTables *tables, Consumer *consumer, int64 from, int64 to);
extern int64 ConsumerUnpark(ConsumerTables *tables, Consumer *consumer, text *stream, int64 most);
extern void ConsumerSkip(ConsumerTables *tables, Consumer *consumer, text *stream, int64 position);

/* floor.c */
/* The first messages of a stream, which were removed. */
typedef struct ConsumerLoss
{
	text *stream;
	int64 before; /* positions below that are gone */
	int64 last_global_position;
} ConsumerLoss;

extern int64 ConsumerFloor(const ConsumerWork *work);
extern int64 ConsumerFloorOf(ConsumerTables *tables, Consumer *consumer);
extern bool ConsumersExist(Store *store);
extern bool ConsumerReads(const Consumer *consumer, Slice category);
extern void ConsumerKeepSource(ConsumerTables *tables, text *category, text *stream);
extern void ConsumerMoveOn(ConsumerTables *tables, Consumer *consumer, const ConsumerLoss *losses,
						   int nlosses, int64 last);

/* status.c */
typedef struct ConsumerStatus
{
	int64 ceiling;
	int64 floor;			  /* everything up to here is settled */
	int64 lag;				  /* messages that are not settled; exact up to 10,000 */
	Timestamp lag_since;	  /* the time of the oldest of them, UTC; 0: there is none */
	int64 claims;			  /* open ones */
	int64 in_flight;		  /* messages in them */
	TimestampTz oldest_claim; /* when it was given; 0: there is none */
	int64 waiting;			  /* streams with messages that were passed over, not parked */
	int64 retrying;			  /* of them */
	int64 parked;
} ConsumerStatus;

extern void ConsumerGetStatus(ConsumerTables *tables, Consumer *consumer, ConsumerStatus *status);

#endif
