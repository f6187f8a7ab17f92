/*
 * read.h: reading messages in order, each handed to a sink.
 */
#ifndef MILLRACE_READ_H
#define MILLRACE_READ_H

#include "postgres.h"

#include "core/query.h"
#include "store/store.h"

typedef enum ReadKind
{
	READ_STREAM,   /* by position */
	READ_CATEGORY, /* by global position, by the prefix rule */
	READ_ALL,	   /* the same */
	READ_QUERY	   /* the same, by the index on tags; forward only */
} ReadKind;

#define NO_LIMIT INT64CONST(-1)

/*
 * The position to go on from.  Behind the last one there is none: a message that was put there by hand is
 * read, but what goes on from position to position, a subscription or a horizon, ends below it, or would come
 * to it again and again.
 */
#define LAST_POSITION PG_INT64_MAX

static inline int64
PositionBehind(int64 position)
{
	return position == LAST_POSITION ? position : position + 1;
}

typedef struct ReadRequest
{
	ReadKind kind;
	text *name;		/* stream or category, NULL: there is none; of the first two kinds */
	bool backward;	/* the newest first; then what is said of `first` here is of the last */
	int64 position; /* the first wanted: position in the stream, or global position */
	int64 limit;	/* messages, after filters; NO_LIMIT */
	/* filters; NULL or 0: none */
	int64 global_position; /* READ_STREAM: the first wanted; backward: LAST_POSITION is none */
	text **types;
	int ntypes;
	text *correlation; /* category of metadata.correlationStreamName */
	int64 member;
	int64 size;				/* of the consumer group; 0: none */
	int64 below;			/* global positions end here; 0: no bound */
	const Timestamp *since; /* inclusive */
	const Timestamp *until; /* exclusive */
	text **categories;
	int ncategories;
	int64 max_rows;		   /* looked at, whether the filters let them pass or not; 0: no bound */
	int64 max_gone;		   /* READ_CATEGORY forward: rows passed over, as nobody sees them; 0: no bound */
	bool heads;			   /* data and metadata are not wanted */
	const TagQuery *query; /* of READ_QUERY; else a filter */
} ReadRequest;

/* Why a read ended. */
typedef enum ReadEnd
{
	READ_EXHAUSTED, /* there is nothing more, or nothing below the bound */
	READ_STOPPED,	/* by the limit or by the sink */
	READ_UNDECIDED	/* below a message that may still commit */
} ReadEnd;

/* What a read came to. */
typedef struct ReadOutcome
{
	int64 count; /* handed to the sink */
	ReadEnd end;
	int64 last_global_position; /* of the last row passed, filtered out or not; 0: none */
	Timestamp last_time;		/* the same row's */
	int64 rows;					/* passed */
	int64 bound_position;		/* where max_gone ended it, and to go on from; 0: it did not */
} ReadOutcome;

/* A message; valid until the sink returns. */
typedef struct Message
{
	text *stream_text;
	text *type_text;
	Slice stream; /* the same as bytes */
	Slice type;
	int64 position;
	int64 global_position;
	Jsonb *data;	 /* may be NULL */
	Jsonb *metadata; /* may be NULL */
	Timestamp time;	 /* UTC */
	pg_uuid_t *id;
} Message;

/* Takes a message.  Returns false to end the read after it. */
typedef bool (*MessageSink)(void *arg, const Message *message);

/* A read whose messages are fetched one by one. */
typedef struct Reader Reader;

extern Reader *ReaderBegin(Store *store, const ReadRequest *request, Snapshot snapshot);
extern const Message *ReaderNext(Reader *reader);
extern ReadOutcome ReaderEnd(Reader *reader);

extern ReadOutcome ReadMessages(Store *store, const ReadRequest *request, MessageSink sink, void *arg);
extern int64 ReadHead(Store *store);
extern int64 ReadPrefixEnd(Store *store, const ReadRequest *request, int64 last);
extern bool ReadLastMessage(Store *store, text *stream, text *type, MessageSink sink, void *arg);
extern int64 ReadStreamTail(Store *store, text *stream);
extern int64 ReadStreamVersion(Store *store, text *stream);
extern int64 ReadRaiseToFloor(Store *store, text *stream, int64 version);
extern int64 ReadLastPosition(Store *store);

/* lookup.c */
extern bool ReadMessageById(Store *store, const pg_uuid_t *id, MessageSink sink, void *arg);
extern int64 ReadPositionAt(Store *store, Timestamp time, int64 head);

/* A stream in a list: its name, version and the time of its last message. */
typedef void (*StreamSink)(void *arg, text *stream, int64 version, Timestamp last_activity);

extern void ReadStreamNames(Store *store, text *prefix, text *after, int64 limit, StreamSink sink, void *arg);

#endif
