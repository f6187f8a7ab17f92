/*
 * read.c: reading messages, and the prefix rule.
 *
 * A stream is read with the caller's snapshot and no more: the stream lock is held to commit, so positions commit in
 * order.  Global positions don't: they are drawn before commit, and a reader that remembers the last one it saw could
 * step over one that commits later.  The prefix rule prevents it, also for a stream that is read up to a global position:
 *
 *   - insert.c puts index entries in in the order of their global positions, so when entry g is in the index,
 *     every smaller one is too.
 *   - A reader scans the index in order and looks at every row, visible or not.  A row that its snapshot sees is
 *     returned.  A row that it doesn't see ends the read if it may still commit or did so after the snapshot; the row of an aborted
 *     transaction, or a deleted one, is passed over.
 *
 * So what a read returns is final: nothing will ever appear below its last row.  Why the scan can't miss an entry g'
 * below a row g that it returns: g is visible, so g was in the index before the snapshot was taken, so g' was too, and the scan begins
 * after the snapshot.
 *
 * Filters come after the rule: a row that they would leave out ends the read just the same.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "read.h"
#include "store.h"

typedef enum Visibility
{
	VISIBLE,
	PASSED_OVER,
	UNDECIDED /* the end of the prefix */
} Visibility;

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

/* What is known of streams that a group's read has met: a category's messages are of few streams, again and again. */
#define MEMBERS 256
#define MEMBER_NAME 47

typedef struct Member
{
	uint8 len; /* 0: empty */
	bool is_member;
	char name[MEMBER_NAME];
} Member;

static bool
IsMember(const ReadRequest *request, Slice name, Member *members)
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

/*
 * The filters that need no more than the row's first columns: those which most rows of a group's read fail.  `members` is NULL
 * unless the read is a group's.
 */
static bool
PassesNameFilters(const ReadRequest *request, TupleTableSlot *slot, Member *members)
{
	bool isnull;
	text *stream;
	Slice name;

	if (request->size == 0 && !request->categories)
		return true;
	stream = DatumGetTextPP(slot_getattr(slot, COLUMN_STREAM_NAME, &isnull));
	name = SliceOfText(stream);
	return IsWanted(request->categories, request->ncategories, NameCategory(name)) &&
		   (!members || IsMember(request, name, members));
}

static bool
PassesFilters(const ReadRequest *request, const Message *message)
{
	Slice correlation;

	if (message->global_position < request->global_position ||
		!IsWanted(request->types, request->ntypes, message->type))
		return false;
	if ((request->since && message->time < *request->since) ||
		(request->until && message->time >= *request->until))
		return false;
	if (!request->correlation)
		return true;
	return CorrelationStream(message->metadata, &correlation) &&
		   SliceEqual(NameCategory(correlation), SliceOfText(request->correlation));
}

/* ---- rows -------------------------------------------------------------------------------------------- */

static void
MessageFromSlot(TupleTableSlot *slot, Message *message)
{
	slot_getallattrs(slot);
	message->stream_text = DatumGetTextPP(slot->tts_values[COLUMN_STREAM_NAME - 1]);
	message->type_text = DatumGetTextPP(slot->tts_values[COLUMN_TYPE - 1]);
	message->stream = SliceOfText(message->stream_text);
	message->type = SliceOfText(message->type_text);
	message->position = DatumGetInt64(slot->tts_values[COLUMN_POSITION - 1]);
	message->global_position = DatumGetInt64(slot->tts_values[COLUMN_GLOBAL_POSITION - 1]);
	message->data = StoreSlotJsonb(slot, COLUMN_DATA);
	message->metadata = StoreSlotJsonb(slot, COLUMN_METADATA);
	message->time = DatumGetTimestamp(slot->tts_values[COLUMN_TIME - 1]);
	message->id = DatumGetUUIDP(slot->tts_values[COLUMN_ID - 1]);
}

/*
 * A scan that is not by an MVCC snapshot takes no predicate locks and reports no conflicts, so a serializable
 * transaction does both by hand.
 */
static void
CheckSerializable(StoreScan *scan, Snapshot snapshot, bool visible)
{
	BufferHeapTupleTableSlot *row = (BufferHeapTupleTableSlot *)scan->slot;

	LockBuffer(row->buffer, BUFFER_LOCK_SHARE);
	HeapCheckForSerializableConflictOut(visible, scan->store->heap, row->base.tuple, row->buffer, snapshot);
	LockBuffer(row->buffer, BUFFER_LOCK_UNLOCK);
}

/* Decides what the row in the slot is to a reader with this snapshot. */
static Visibility
JudgeRow(StoreScan *scan, Snapshot snapshot)
{
	SnapshotData dirty;
	bool visible = table_tuple_satisfies_snapshot(scan->store->heap, scan->slot, snapshot);

	if (IsolationIsSerializable())
		CheckSerializable(scan, snapshot, visible);
	if (visible)
		return VISIBLE;
	InitDirtySnapshot(dirty);
	return table_tuple_satisfies_snapshot(scan->store->heap, scan->slot, &dirty) ? UNDECIDED : PASSED_OVER;
}

/* ---- reads --------------------------------------------------------------------------------------------- */

/*
 * Where in its stream a read begins: behind the message just below its global position if that is one of the stream, as
 * for a reader who comes back with the last one it saw, so that what it has seen is not read again.
 */
static int64
FirstPosition(Store *store, const ReadRequest *request, Snapshot snapshot)
{
	int64 first = request->position;
	ScanKeyData key;
	StoreScan *scan;
	bool isnull;

	if (request->global_position <= 1)
		return first;
	scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, snapshot, 1);
	StoreInt8Key(&key, 1, BTEqualStrategyNumber, request->global_position - 1);
	StoreRescan(scan, &key, 1);
	if (StoreScanNext(scan, ForwardScanDirection) &&
		SliceEqual(SliceOfText(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_STREAM_NAME, &isnull))),
				   SliceOfText(request->name)))
		first = Max(first, DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull)) + 1);
	StoreEndScan(scan);
	return first;
}

static StoreScan *
BeginRead(Store *store, const ReadRequest *request, Snapshot snapshot)
{
	int64 position = request->position;
	ScanKeyData keys[2];
	StoreScan *scan;

	switch (request->kind)
	{
		case READ_STREAM:
			position = FirstPosition(store, request, snapshot);
			scan = StoreBeginScan(store, INDEX_STREAM, request->below > 0 ? SnapshotAny : snapshot, 2);
			break;
		case READ_CATEGORY:
			scan = StoreBeginScan(store, INDEX_CATEGORY, SnapshotAny, 2);
			break;
		default:
			scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 1);
			StoreInt8Key(&keys[0], 1, BTGreaterEqualStrategyNumber, request->position);
			StoreRescan(scan, keys, 1);
			return scan;
	}
	StoreTextKey(scan, &keys[0], 1, BTEqualStrategyNumber, request->name);
	StoreInt8Key(&keys[1], 2, BTGreaterEqualStrategyNumber, position);
	StoreRescan(scan, keys, 2);
	return scan;
}

static int64
SlotGlobalPosition(TupleTableSlot *slot)
{
	bool isnull;

	return DatumGetInt64(slot_getattr(slot, COLUMN_GLOBAL_POSITION, &isnull));
}

/* Hands the row to the sink if it passes the filters; returns whether to go on. */
static bool
TakeRow(TupleTableSlot *slot, const ReadRequest *request, MessageSink sink, void *arg, ReadOutcome *outcome)
{
	Message message;

	MessageFromSlot(slot, &message);
	if (!PassesFilters(request, &message))
		return true;
	outcome->count++;
	return sink(arg, &message) && outcome->count != request->limit;
}

static void
ReadRows(StoreScan *scan, Snapshot snapshot, const ReadRequest *request, MessageSink sink, void *arg,
		 ReadOutcome *outcome)
{
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "millrace row", ALLOCSET_DEFAULT_SIZES);
	bool prefix = request->kind != READ_STREAM || request->below > 0;
	Member *members = request->size > 0 ? palloc0(sizeof(Member) * MEMBERS) : NULL;
	bool more = true;

	while (more && StoreScanNext(scan, ForwardScanDirection))
	{
		Visibility visibility = prefix ? JudgeRow(scan, snapshot) : VISIBLE;
		MemoryContext caller_context;

		CHECK_FOR_INTERRUPTS();
		if (request->below > 0 && SlotGlobalPosition(scan->slot) >= request->below)
			break;
		if (visibility == UNDECIDED)
		{
			outcome->end = READ_UNDECIDED;
			break;
		}
		if (visibility == PASSED_OVER)
			continue;
		caller_context = MemoryContextSwitchTo(row_context);
		if (PassesNameFilters(request, scan->slot, members))
			more = TakeRow(scan->slot, request, sink, arg, outcome);
		outcome->last_global_position = SlotGlobalPosition(scan->slot);
		MemoryContextSwitchTo(caller_context);
		MemoryContextReset(row_context);
	}
	if (!more)
		outcome->end = READ_STOPPED;
	MemoryContextDelete(row_context);
}

/*
 * Hands the messages that the request describes to the sink, in order.  Stops at the limit, at the end of the
 * prefix, or when the sink says so.
 */
ReadOutcome
ReadMessages(Store *store, const ReadRequest *request, MessageSink sink, void *arg)
{
	ReadOutcome outcome = {.end = READ_EXHAUSTED};
	Snapshot snapshot = GetActiveSnapshot();
	StoreScan *scan;

	if (request->limit == 0)
		return outcome;
	if (request->kind != READ_STREAM && IsolationIsSerializable())
		PredicateLockRelation(store->heap, snapshot);
	scan = BeginRead(store, request, snapshot);
	ReadRows(scan, snapshot, request, sink, arg, &outcome);
	StoreEndScan(scan);
	return outcome;
}

/*
 * Returns one more than the highest global position in the index, whether it is committed or not; 1 when there
 * is none.  What is appended from now on gets at least that, and what is below it is in every index, because entries
 * are put into this one last (storeindex.c).
 */
int64
ReadHead(Store *store)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_GLOBAL_POSITION, SnapshotAny, 0);
	int64 head = 1;

	StoreRescan(scan, NULL, 0);
	if (StoreScanNext(scan, BackwardScanDirection))
		head = SlotGlobalPosition(scan->slot) + 1;
	StoreEndScan(scan);
	return head;
}

/*
 * Returns the global position of the first row, from the request's position to `last`, at which a read by the prefix rule
 * ends; PG_INT64_MAX when there is none.
 */
int64
ReadPrefixEnd(Store *store, const ReadRequest *request, int64 last)
{
	Snapshot snapshot = GetActiveSnapshot();
	StoreScan *scan = BeginRead(store, request, snapshot);
	int64 end = PG_INT64_MAX;

	if (IsolationIsSerializable())
		PredicateLockRelation(store->heap, snapshot);
	while (end == PG_INT64_MAX && StoreScanNext(scan, ForwardScanDirection))
	{
		int64 position = SlotGlobalPosition(scan->slot);

		CHECK_FOR_INTERRUPTS();
		if (position > last)
			break;
		if (JudgeRow(scan, snapshot) == UNDECIDED)
			end = position;
	}
	StoreEndScan(scan);
	return end;
}

/* Begins a scan of one stream with the caller's snapshot. */
static StoreScan *
BeginStream(Store *store, text *stream)
{
	ScanKeyData key;
	StoreScan *scan = StoreBeginScan(store, INDEX_STREAM, GetActiveSnapshot(), 1);

	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, stream);
	StoreRescan(scan, &key, 1);
	return scan;
}

/* Hands the stream's last message, or its last of a type, to the sink; returns whether there is one. */
bool
ReadLastMessage(Store *store, text *stream, text *type, MessageSink sink, void *arg)
{
	StoreScan *scan = BeginStream(store, stream);
	bool found = false;

	while (!found && StoreScanNext(scan, BackwardScanDirection))
	{
		text *row_type;
		bool isnull;
		Message message;

		CHECK_FOR_INTERRUPTS();
		row_type = DatumGetTextPP(slot_getattr(scan->slot, COLUMN_TYPE, &isnull));
		found = !type || SliceEqual(SliceOfText(row_type), SliceOfText(type));
		if (found)
		{
			MessageFromSlot(scan->slot, &message);
			(void)sink(arg, &message);
		}
	}
	StoreEndScan(scan);
	return found;
}

/* Returns the position of the stream's last message, -1 when there is no such stream. */
int64
ReadStreamVersion(Store *store, text *stream)
{
	StoreScan *scan = BeginStream(store, stream);
	int64 version = -1;
	bool isnull;

	if (StoreScanNext(scan, BackwardScanDirection))
		version = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
	StoreEndScan(scan);
	return version;
}

/*
 * Hands the streams whose names begin with the prefix to the sink, in byte order, beginning behind `after` (may be
 * NULL).  Jumps from stream to stream in the index, so the cost is by streams, not by messages.
 */
void
ReadStreamNames(Store *store, text *prefix, text *after, int64 limit, StreamSink sink, void *arg)
{
	Slice wanted = SliceOfText(prefix);
	StoreScan *scan = StoreBeginScan(store, INDEX_STREAM, GetActiveSnapshot(), 1);
	StrategyNumber strategy = BTGreaterEqualStrategyNumber;
	text *from = prefix;
	ScanKeyData key;
	bool isnull;

	if (after && SliceCompare(SliceOfText(after), wanted) >= 0)
	{
		strategy = BTGreaterStrategyNumber;
		from = after;
	}
	for (int64 count = 0; count < limit; count++)
	{
		text *name;
		Slice slice;
		int64 version;
		Timestamp time;

		CHECK_FOR_INTERRUPTS();
		StoreTextKey(scan, &key, 1, strategy, from);
		StoreRescan(scan, &key, 1);
		if (!StoreScanNext(scan, ForwardScanDirection))
			break;
		name = DatumGetTextPCopy(slot_getattr(scan->slot, COLUMN_STREAM_NAME, &isnull));
		slice = SliceOfText(name);
		if (slice.len < wanted.len || memcmp(slice.bytes, wanted.bytes, wanted.len) != 0)
			break;
		StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, name);
		StoreRescan(scan, &key, 1);
		if (!StoreScanNext(scan, BackwardScanDirection))
			break; /* can't be: the same snapshot just saw the stream */
		version = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
		time = DatumGetTimestamp(slot_getattr(scan->slot, COLUMN_TIME, &isnull));
		sink(arg, name, version, time);
		strategy = BTGreaterStrategyNumber;
		from = name;
	}
	StoreEndScan(scan);
}
