/*
 * read.c: reading messages, and the prefix rule.
 *
 * A stream is read with the caller's snapshot and no more: the stream lock is held to commit, so positions
 * commit in order.  Global positions don't: they are drawn before commit, and a reader that remembers the
 * last one it saw could step over one that commits later.  The prefix rule prevents it, also for a stream
 * that is read up to a global position:
 *
 *   - store/entry.c puts index entries in, in the order of their global positions, so when entry g is in the
 *     index, every smaller one is too.
 *   - A reader scans the index in order and looks at every row, visible or not.  A row that its snapshot sees
 *     is returned.  A row that it doesn't see ends the read if it may still commit or did so after the
 *     snapshot; the row of an aborted transaction, or a deleted one, is passed over, and so is a new version
 *     of a message that the snapshot sees in an older one (prefix.c).
 *
 * So what a read returns is final: nothing will ever appear below its last row.  Why the scan can't miss an
 * entry g' below a row g that it returns: g is visible, so g was in the index before the snapshot was taken,
 * so g' was too, and the scan begins after the snapshot.
 *
 * Filters come after the rule: a row that they would leave out ends the read just the same.
 *
 * Backward a read can't end at such a row, so it begins below the first of them (readable.c).
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "core/prefix.h"
#include "core/query_scan.h"
#include "core/read.h"
#include "core/readable.h"
#include "core/row.h"
#include "store/store.h"

/* ---- filters -------------------------------------------------------------------------------------- */

/* The text of metadata's correlationStreamName, as ->> gives it; false when there is none. */
static bool
CorrelationStream(Jsonb *metadata, Slice *name)
{
	static const char key[] = "correlationStreamName";
	JsonbValue found;
	char *text_form;

	if (!metadata || !JB_ROOT_IS_OBJECT(metadata) ||
		!getKeyJsonValueFromContainer(&metadata->root, key, (int)strlen(key), &found) ||
		found.type == jbvNull)
		return false;
	if (found.type == jbvString)
	{
		*name = (Slice){found.val.string.val, found.val.string.len};
		return true;
	}
	if (found.type == jbvNumeric)
		text_form = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(found.val.numeric)));
	else if (found.type == jbvBool)
		text_form = found.val.boolean ? "true" : "false";
	else
		text_form = JsonbToCString(NULL, found.val.binary.data, found.val.binary.len);
	*name = (Slice){text_form, (int)strlen(text_form)};
	return true;
}

/* Says whether a list of names, which may be missing, lets this one pass. */
static bool
IsWanted(text **names, int nnames, Slice name)
{
	if (!names)
		return true;
	for (int i = 0; i < nnames; i++)
		if (SliceEqual(name, SliceOfText(names[i])))
			return true;
	return false;
}

/*
 * What is known of streams that a group's read has met: a category's messages are of few streams, again and
 * again.
 */
#define MEMBERS 1024
#define MEMBER_NAME 47

typedef struct Member
{
	uint8 len; /* 0: empty */
	bool is_member;
	char name[MEMBER_NAME];
} Member;

struct Reader
{
	Store *store;
	const ReadRequest *request;
	Snapshot snapshot;
	ScanDirection direction;
	int64 highest;		/* backward, by global position: what is above is not returned */
	StoreScan *scan;	/* NULL: there is nothing to read, or no more */
	PrefixScan *prefix; /* NULL: the scan is by the snapshot alone */
	QueryScans *queries;
	QueryScan *query;	   /* leads to the rows in place of the scan, which is not moved; NULL: it doesn't */
	Member *members;	   /* a group's read's; else NULL */
	MemoryContext home;	   /* the reader's own */
	MemoryContext context; /* of one message */
	Message message;
	ReadOutcome outcome;
};

/* Says whether the stream is the member's, and remembers it. */
static bool
LookUpMember(const ReadRequest *request, Slice name, Member *members)
{
	Member *known;

	if (name.len == 0 || name.len > MEMBER_NAME)
		return NameIsMembers(name, request->member, request->size);
	known = &members[hash_bytes((const unsigned char *)name.bytes, name.len) % MEMBERS];
	if (known->len != name.len || memcmp(known->name, name.bytes, name.len) != 0)
	{
		known->len = (uint8)name.len;
		known->is_member = NameIsMembers(name, request->member, request->size);
		memcpy(known->name, name.bytes, name.len);
	}
	return known->is_member;
}

/* The filters that need no more than the name: those which most rows of a group's read fail. */
static bool
PassesNameFilters(const Reader *reader, Slice name)
{
	const ReadRequest *request = reader->request;

	return (!request->categories ||
			IsWanted(request->categories, request->ncategories, NameCategory(name))) &&
		   (!reader->members || LookUpMember(request, name, reader->members));
}

/* Those that need neither data nor metadata. */
static bool
PassesHeadFilters(const ReadRequest *request, const Message *message)
{
	if ((request->backward ? message->global_position > request->global_position
						   : message->global_position < request->global_position) ||
		!IsWanted(request->types, request->ntypes, message->type))
		return false;
	return (!request->since || message->time >= *request->since) &&
		   (!request->until || message->time < *request->until);
}

static bool
PassesQuery(const ReadRequest *request, const Message *message)
{
	return !request->query || QueryMatches(request->query, message->type, message->metadata);
}

static bool
PassesCorrelation(const ReadRequest *request, const Message *message)
{
	Slice correlation;

	if (!request->correlation)
		return true;
	return CorrelationStream(message->metadata, &correlation) &&
		   SliceEqual(NameCategory(correlation), SliceOfText(request->correlation));
}

/* ---- reads --------------------------------------------------------------------------------------------- */

/*
 * Begins the scan of the index that the request needs, from a position on, by a snapshot of its own: prefix.c
 * says what that means.
 */
static StoreScan *
BeginScan(Store *store, const ReadRequest *request, int64 position, Snapshot scan_snapshot)
{
	StrategyNumber side = request->backward ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber;
	ScanKeyData keys[2];
	StoreScan *scan;

	if (request->kind == READ_ALL)
	{
		scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, scan_snapshot, 1);
		scan->scan->xs_want_itup = scan_snapshot == SnapshotAny;
		StoreInt8Key(&keys[0], 1, side, position);
		StoreRescan(scan, keys, 1);
		return scan;
	}
	scan =
		StoreBeginScan(store, request->kind == READ_STREAM ? INDEX_STREAM : INDEX_CATEGORY, scan_snapshot, 2);
	scan->scan->xs_want_itup = request->kind == READ_CATEGORY && scan_snapshot == SnapshotAny;
	StoreTextKey(scan, &keys[0], 1, BTEqualStrategyNumber, request->name);
	StoreInt8Key(&keys[1], 2, side, position);
	StoreRescan(scan, keys, 2);
	return scan;
}

static void
BeginQuery(Reader *reader)
{
	reader->queries = QueryScansBegin(reader->store);
	reader->query = QueryScanBegin(reader->queries, reader->request->query);
	QueryScanCheckSnapshot(reader->query, reader->snapshot);
	QueryScanSeek(reader->query, reader->request->position, ForwardScanDirection);
	reader->scan = StoreBeginScan(reader->store, INDEX_GLOBAL_POSITION, SnapshotAny, 0);
	reader->prefix = PrefixBegin(reader->scan, reader->snapshot, ForwardScanDirection);
}

/*
 * Begins the scan of the rows.  A serializable transaction must meet those that its answer left out, too, to
 * learn of its conflicts, so backward its scan begins where it was asked to.
 */
static void
BeginRows(Reader *reader)
{
	const ReadRequest *request = reader->request;
	Snapshot scan_snapshot = request->below > 0 || request->max_gone > 0 ? SnapshotAny : reader->snapshot;
	int64 position = ReadableFrom(reader->store, request, reader->snapshot);

	reader->highest = position;
	if (request->kind != READ_STREAM && IsolationIsSerializable())
		position = request->position;
	reader->scan = BeginScan(reader->store, request, position, scan_snapshot);
	if (request->kind != READ_STREAM || request->below > 0)
		reader->prefix = PrefixBegin(reader->scan, reader->snapshot, reader->direction);
	if (request->max_gone > 0)
		PrefixBound(reader->prefix, request->max_gone);
}

/*
 * Begins a read, which may be drawn out (scan/scan.c).  The request and the snapshot must live until its
 * end.
 */
Reader *
ReaderBegin(Store *store, const ReadRequest *request, Snapshot snapshot)
{
	Reader *reader = palloc0(sizeof(Reader));

	reader->store = store;
	reader->request = request;
	reader->snapshot = snapshot;
	reader->direction = request->backward ? BackwardScanDirection : ForwardScanDirection;
	reader->outcome.end = READ_EXHAUSTED;
	reader->home = CurrentMemoryContext;
	if (request->limit == 0 || (request->kind < READ_ALL && !request->name))
		return reader;
	if (request->kind != READ_STREAM && IsolationIsSerializable())
		PredicateLockRelation(store->heap, snapshot);
	reader->context = AllocSetContextCreate(CurrentMemoryContext, "millrace message", ALLOCSET_DEFAULT_SIZES);
	if (request->kind == READ_QUERY)
		BeginQuery(reader);
	else
		BeginRows(reader);
	if (request->size > 0)
		reader->members = palloc0(sizeof(Member) * MEMBERS);
	return reader;
}

/* Gives back what the read holds, but not its outcome. */
static void
EndScan(Reader *reader)
{
	if (!reader->scan)
		return;
	if (reader->prefix)
		PrefixEnd(reader->prefix);
	if (reader->queries)
		QueryScansEnd(reader->queries);
	StoreEndScan(reader->scan);
	reader->scan = NULL;
}

/*
 * Whether a row is at the bound or behind it.  An index of a stream says nothing of global positions, so in
 * recovery a row that the snapshot doesn't see may be another one, and proves nothing.
 */
static bool
IsBehind(Reader *reader, PrefixStep step, HeapTuple row)
{
	const ReadRequest *request = reader->request;

	if (request->below == 0)
		return false;
	if (step == PREFIX_UNDECIDED && request->kind == READ_STREAM && reader->snapshot->takenDuringRecovery)
		return false;
	return (reader->query ? RowInt64(row, COLUMN_GLOBAL_POSITION) : PrefixEntryPosition(reader->scan, row)) >=
		   request->below;
}

/* Goes to the next row below what may still commit; one that came in since then is passed over. */
static PrefixStep
NextRowBelow(Reader *reader, HeapTuple *row)
{
	PrefixStep step;

	do
		step = PrefixNext(reader->prefix, row);
	while (step == PREFIX_UNDECIDED ||
		   (step == PREFIX_ROW && RowInt64(*row, COLUMN_GLOBAL_POSITION) > reader->highest));
	return step;
}

static PrefixStep
NextRow(Reader *reader, HeapTuple *row)
{
	if (reader->query)
		return QueryScanNextRow(reader->query, reader->prefix, row);
	if (reader->prefix)
		return reader->request->backward ? NextRowBelow(reader, row) : PrefixNext(reader->prefix, row);
	CHECK_FOR_INTERRUPTS();
	if (!StoreScanNext(reader->scan, reader->direction))
		return PREFIX_NO_MORE;
	*row = StoreScanRow(reader->scan);
	return PREFIX_ROW;
}

/* Makes a message of the row, if the filters let it pass. */
static bool
TakeRow(Reader *reader, HeapTuple row)
{
	const ReadRequest *request = reader->request;
	Datum values[COLUMNS];
	bool isnull[COLUMNS];

	if ((reader->members || request->categories) && !PassesNameFilters(reader, SliceOfText(RowStream(row))))
		return false;
	RowValues(reader->store, row, values, isnull);
	MessageHead(values, &reader->message);
	if (!PassesHeadFilters(request, &reader->message))
		return false;
	if (!request->heads)
		MessageContent(values, isnull, &reader->message);
	return PassesQuery(request, &reader->message) && PassesCorrelation(request, &reader->message);
}

/*
 * Ends the read at the last row that it may pass over, but for one at the position where it began: what goes
 * on from there would come no further.
 */
static void
EndAtBound(Reader *reader, HeapTuple row)
{
	int64 position = PrefixEntryPosition(reader->scan, row);

	if (position <= reader->request->position)
		return;
	reader->outcome.end = READ_STOPPED;
	reader->outcome.bound_position = position;
	EndScan(reader);
}

/* Goes one row on; returns whether that gave a message. */
static bool
Step(Reader *reader)
{
	HeapTuple row;
	PrefixStep step = NextRow(reader, &row);

	if (step == PREFIX_BOUND)
		EndAtBound(reader, row);
	else if (step == PREFIX_NO_MORE || IsBehind(reader, step, row))
		EndScan(reader);
	else if (step == PREFIX_UNDECIDED)
	{
		reader->outcome.end = READ_UNDECIDED;
		EndScan(reader);
	}
	else
	{
		reader->outcome.last_global_position = RowInt64(row, COLUMN_GLOBAL_POSITION);
		reader->outcome.last_time = RowInt64(row, COLUMN_TIME);
		reader->outcome.rows++;
		MemoryContextSwitchTo(reader->context);
		return TakeRow(reader, row);
	}
	return false;
}

/* Returns the next message, which is valid until the next call; NULL at the end. */
const Message *
ReaderNext(Reader *reader)
{
	MemoryContext caller = CurrentMemoryContext;
	bool found = false;

	if (reader->scan && reader->outcome.count == reader->request->limit)
	{
		reader->outcome.end = READ_STOPPED;
		EndScan(reader);
	}
	while (reader->scan && !found)
	{
		if (reader->request->max_rows > 0 && reader->outcome.rows == reader->request->max_rows)
		{
			reader->outcome.end = READ_STOPPED;
			EndScan(reader);
			break;
		}
		MemoryContextReset(reader->context);
		MemoryContextSwitchTo(reader->home);
		found = Step(reader);
	}
	MemoryContextSwitchTo(caller);
	reader->outcome.count += found;
	return found ? &reader->message : NULL;
}

/* Ends the read, at its end or before. */
ReadOutcome
ReaderEnd(Reader *reader)
{
	ReadOutcome outcome = reader->outcome;

	EndScan(reader);
	if (reader->context)
		MemoryContextDelete(reader->context);
	pfree(reader);
	return outcome;
}

/*
 * Hands the messages that the request describes to the sink, in order.  Stops at the limit, at the end of the
 * prefix, or when the sink says so.
 */
ReadOutcome
ReadMessages(Store *store, const ReadRequest *request, MessageSink sink, void *arg)
{
	Reader *reader = ReaderBegin(store, request, GetActiveSnapshot());
	const Message *message;
	bool more = true;
	ReadOutcome outcome;

	while (more && (message = ReaderNext(reader)) != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(reader->context);

		more = sink(arg, message);
		MemoryContextSwitchTo(caller);
	}
	outcome = ReaderEnd(reader);
	if (!more)
		outcome.end = READ_STOPPED;
	return outcome;
}

/*
 * Returns the global position of the first row, from the request's position to `last`, at which a read by the
 * prefix rule ends; PG_INT64_MAX when there is none.
 */
int64
ReadPrefixEnd(Store *store, const ReadRequest *request, int64 last)
{
	Snapshot snapshot = GetActiveSnapshot();
	StoreScan *scan = BeginScan(store, request, request->position, SnapshotAny);
	PrefixScan *prefix = PrefixBegin(scan, snapshot, ForwardScanDirection);
	PrefixStep step;
	HeapTuple row;
	int64 end = PG_INT64_MAX;

	if (IsolationIsSerializable())
		PredicateLockRelation(store->heap, snapshot);
	while (end == PG_INT64_MAX && (step = PrefixNext(prefix, &row)) != PREFIX_NO_MORE)
	{
		int64 position = PrefixEntryPosition(scan, row);

		if (position > last)
			break;
		if (step == PREFIX_UNDECIDED)
			end = position;
	}
	PrefixEnd(prefix);
	StoreEndScan(scan);
	return end;
}
