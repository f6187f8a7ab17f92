/*
 * read_names.c: listing streams by their names.
 *
 * The list is in byte order, as the index is when its names are COLLATE "C": a walk jumps from stream to
 * stream and ends with the prefix.  An adopted table may have a language's collation, under which names of
 * one prefix stand far apart and in another order.  Then the walk goes through all streams, and keeps those
 * that come first.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "core/read.h"

/* Names are sorted out when so many more are kept than wanted. */
#define NAMES_AT_ONCE 1024

/* Which streams are wanted: those whose names begin with the prefix and stand behind `after`. */
typedef struct NameRange
{
	Slice prefix;
	text *after; /* may be NULL */
} NameRange;

static bool
IsWanted(const NameRange *range, Slice name)
{
	return name.len >= range->prefix.len && memcmp(name.bytes, range->prefix.bytes, range->prefix.len) == 0 &&
		   (!range->after || SliceCompare(name, SliceOfText(range->after)) > 0);
}

/* Finds the first stream from or behind a name in the index's order; returns a copy of its name, or NULL. */
static text *
NextName(StoreScan *scan, StrategyNumber strategy, text *from)
{
	ScanKeyData key;
	bool isnull;

	CHECK_FOR_INTERRUPTS();
	StoreTextKey(scan, &key, 1, strategy, from);
	StoreRescan(scan, &key, 1);
	if (!StoreScanNext(scan, ForwardScanDirection))
		return NULL;
	return DatumGetTextPCopy(slot_getattr(scan->slot, COLUMN_STREAM_NAME, &isnull));
}

/* Hands a stream to the sink, with the version and the time of its last message. */
static void
HandStream(StoreScan *scan, text *name, StreamSink sink, void *arg)
{
	ScanKeyData key;
	int64 version;
	bool isnull;

	StoreTextKey(scan, &key, 1, BTEqualStrategyNumber, name);
	StoreRescan(scan, &key, 1);
	if (!StoreScanNext(scan, BackwardScanDirection))
		return; /* can't be: the same snapshot just saw the stream */
	version = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
	sink(arg, name, ReadRaiseToFloor(scan->store, name, version),
		 DatumGetTimestamp(slot_getattr(scan->slot, COLUMN_TIME, &isnull)));
}

static void
ListInOrder(StoreScan *scan, const NameRange *range, text *prefix, int64 limit, StreamSink sink, void *arg)
{
	StrategyNumber strategy = BTGreaterEqualStrategyNumber;
	text *from = prefix;

	if (range->after && SliceCompare(SliceOfText(range->after), range->prefix) >= 0)
	{
		strategy = BTGreaterStrategyNumber;
		from = range->after;
	}
	for (int64 count = 0; count < limit; count++)
	{
		text *name = NextName(scan, strategy, from);

		if (!name || !IsWanted(range, SliceOfText(name)))
			break;
		HandStream(scan, name, sink, arg);
		strategy = BTGreaterStrategyNumber;
		from = name;
	}
}

/* ---- under a language's collation --------------------------------------------------------------------- */

typedef struct NameList
{
	text **names;
	int64 n;
	int64 room;
} NameList;

static int
CompareNames(const void *left, const void *right)
{
	return SliceCompare(SliceOfText(*(text *const *)left), SliceOfText(*(text *const *)right));
}

/* Keeps the first of the names in byte order. */
static void
KeepFirst(NameList *list, int64 limit)
{
	qsort(list->names, list->n, sizeof(text *), CompareNames);
	for (int64 i = limit; i < list->n; i++)
		pfree(list->names[i]);
	list->n = Min(list->n, limit);
}

static void
AddName(NameList *list, text *name, int64 limit)
{
	if (list->n == list->room && limit <= list->n / 2)
		KeepFirst(list, limit);
	if (list->n == list->room)
	{
		list->room *= 2;
		list->names = repalloc_huge(list->names, sizeof(text *) * list->room);
	}
	list->names[list->n++] = name;
}

static void
ListSorted(StoreScan *scan, const NameRange *range, int64 limit, StreamSink sink, void *arg)
{
	NameList list = {palloc(sizeof(text *) * NAMES_AT_ONCE), 0, NAMES_AT_ONCE};
	text *name = NextName(scan, BTGreaterEqualStrategyNumber, cstring_to_text(""));

	while (name)
	{
		text *next = NextName(scan, BTGreaterStrategyNumber, name);

		if (IsWanted(range, SliceOfText(name)))
			AddName(&list, name, limit);
		else
			pfree(name);
		name = next;
	}
	KeepFirst(&list, limit);
	for (int64 i = 0; i < list.n; i++)
		HandStream(scan, list.names[i], sink, arg);
}

/*
 * Hands the streams whose names begin with the prefix to the sink, in byte order, beginning behind `after`
 * (may be NULL).  Jumps from stream to stream in the index, so the cost is by streams, not by messages.
 */
void
ReadStreamNames(Store *store, text *prefix, text *after, int64 limit, StreamSink sink, void *arg)
{
	NameRange range = {SliceOfText(prefix), after};
	StoreScan *scan = StoreBeginScan(store, INDEX_STREAM, GetActiveSnapshot(), 1);

	if (CompatCollationIsC(scan->index->rd_indcollation[0]))
		ListInOrder(scan, &range, prefix, limit, sink, arg);
	else if (limit > 0)
		ListSorted(scan, &range, limit, sink, arg);
	StoreEndScan(scan);
}
