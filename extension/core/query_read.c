/*
 * query_read.c: reading the messages that match a query, and up to where the answer is complete.
 *
 * What the index leads to is judged as in prefix.c.  A message that the snapshot doesn't see, and that may
 * still commit or did so later, ends the read: the head is below it.  Messages that don't match hold up
 * nobody, whoever writes them.  Where nothing ends the read the head is the last message that the snapshot
 * sees: a position that only an open transaction has used may be given again after a crash.
 *
 * Backward the first message that is in doubt must be known before the read begins.  None is among those that
 * are decided (undecided.c), so the rest is looked through.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/prefix.h"
#include "core/query_read.h"
#include "core/query_scan.h"
#include "core/row.h"
#include "core/undecided.h"

typedef struct QueryReader
{
	Store *store;
	const TagQuery *query;
	Snapshot snapshot;
	QueryScans *scans;
	QueryScan *scan;
	StoreScan *positions; /* which the judge wants, unmoved */
	PrefixScan *prefix;
	MemoryContext context; /* of one message */
	Message message;
} QueryReader;

static QueryReader
Begin(Store *store, const TagQuery *query)
{
	QueryReader reader = {.store = store, .query = query, .snapshot = GetActiveSnapshot()};

	if (IsolationIsSerializable())
		PredicateLockRelation(store->heap, reader.snapshot);
	reader.scans = QueryScansBegin(store);
	reader.scan = QueryScanBegin(reader.scans, query);
	QueryScanCheckSnapshot(reader.scan, reader.snapshot);
	reader.positions = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 0);
	reader.prefix = PrefixBegin(reader.positions, reader.snapshot, ForwardScanDirection);
	reader.context = AllocSetContextCreate(CurrentMemoryContext, "millrace message", ALLOCSET_DEFAULT_SIZES);
	return reader;
}

static void
End(QueryReader *reader)
{
	PrefixEnd(reader->prefix);
	StoreEndScan(reader->positions);
	QueryScansEnd(reader->scans);
	MemoryContextDelete(reader->context);
}

/* Makes a message of a row, which must live as long; returns whether it matches. */
static bool
TakeRow(QueryReader *reader, HeapTuple row)
{
	MemoryContext caller;

	MemoryContextReset(reader->context);
	caller = MemoryContextSwitchTo(reader->context);
	MessageFromRow(reader->store, row, &reader->message);
	MemoryContextSwitchTo(caller);
	return QueryMatches(reader->query, reader->message.type, reader->message.metadata);
}

/*
 * Goes to the next message that matches, or is in doubt: *doubt is its position then, else 0.  False: there
 * is no more.
 */
static bool
Next(QueryReader *reader, int64 *doubt)
{
	Candidate candidate;
	HeapTuple row;

	*doubt = 0;
	while (QueryScanNext(reader->scan, &candidate))
	{
		PrefixStep step = PrefixAt(reader->prefix, &candidate.tid, &row);

		if (step == PREFIX_NO_MORE || RowInt64(row, COLUMN_GLOBAL_POSITION) != candidate.global_position)
			continue;
		if (step == PREFIX_UNDECIDED)
		{
			*doubt = candidate.global_position;
			return true;
		}
		if (TakeRow(reader, row))
			return true;
	}
	return false;
}

/* The first position from `position` on that is in doubt; LAST_POSITION: there is none. */
static int64
FirstDoubt(QueryReader *reader, int64 position)
{
	int64 doubt;

	QueryScanSeek(reader->scan, position, ForwardScanDirection);
	while (Next(reader, &doubt))
		if (doubt > 0)
			return doubt;
	return LAST_POSITION;
}

static int64
HeadBelow(QueryReader *reader, int64 doubt)
{
	return Min(doubt - 1, ReadLastPosition(reader->store));
}

int64
QueryHead(Store *store, const TagQuery *query)
{
	QueryReader reader = Begin(store, query);
	int64 head = HeadBelow(&reader, FirstDoubt(&reader, PositionBehind(DecidedTo(store, reader.snapshot))));

	End(&reader);
	return head;
}

/* Hands messages to the sink from where the scan stands; returns the doubt that ended it, or 0. */
static int64
HandOver(QueryReader *reader, const QueryRequest *request, MessageSink sink, void *arg, int64 *last,
		 bool *full)
{
	int64 count = 0;
	int64 doubt;

	while (Next(reader, &doubt))
	{
		if (doubt > 0 && !request->backward)
			return doubt;
		if (doubt > 0)
			continue;
		if (count == request->limit)
		{
			*full = true;
			return 0;
		}
		count++;
		*last = reader->message.global_position;
		if (!sink(arg, &reader->message))
		{
			*full = true;
			return 0;
		}
	}
	return 0;
}

int64
QueryReadMessages(Store *store, const QueryRequest *request, MessageSink sink, void *arg, bool *more)
{
	QueryReader reader = Begin(store, request->query);
	int64 head = LAST_POSITION;
	int64 last = request->position - 1;
	bool full = false;
	int64 doubt;

	if (request->backward)
	{
		head = HeadBelow(&reader, FirstDoubt(&reader, PositionBehind(DecidedTo(store, reader.snapshot))));
		QueryScanSeek(reader.scan, Min(request->position, head), BackwardScanDirection);
	}
	else
		QueryScanSeek(reader.scan, request->position, ForwardScanDirection);
	doubt = HandOver(&reader, request, sink, arg, &last, &full);
	if (!request->backward)
		head = full ? last : HeadBelow(&reader, doubt > 0 ? doubt : LAST_POSITION);
	End(&reader);
	if (more)
		*more = full;
	return head;
}
