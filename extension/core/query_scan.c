/*
 * query_scan.c: the rows of a table that may match a query.
 *
 * A query is taken apart into legs: an item's tags with one of its types, or its tags alone.  A row matches a
 * leg when the index on tags has an entry for each of the leg's hashes at the row's global position.  So a leg
 * leaps: where the entries of its hashes are at different positions, those that are behind are looked for at
 * the furthest.  A rare tag makes a leg short however frequent the others are.  The legs are merged by
 * position.  A query for all messages has one leg, of the index on global positions.
 *
 * What is found may be of a row that is not visible, or have the hash of another tag: the caller looks at it.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relscan.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"

#include "core/query_scan.h"
#include "tags/tags.h"

/* The entries of one hash, or of all messages, and the one that it stands on. */
typedef struct Strand
{
	uint64 hash;
	StoreScan *scan; /* NULL: not begun */
	Candidate at;
} Strand;

/* Stands where all of its strands are at one position. */
typedef struct Leg
{
	Strand *strands;
	int nstrands;
	bool ended;
} Leg;

struct QueryScan
{
	Store *store;
	bool all;
	ScanDirection direction;
	Leg *legs;
	int nlegs;
};

/* ---- strands ------------------------------------------------------------------------------------------- */

/* Whether a position comes after another one, in the direction of the scan. */
static bool
IsFurther(const QueryScan *scan, int64 position, int64 than)
{
	return ScanDirectionIsForward(scan->direction) ? position > than : position < than;
}

/* Goes to the next entry; false: there is none. */
static bool
NextEntry(const QueryScan *scan, Strand *strand)
{
	IndexScanDesc index = strand->scan->scan;
	ItemPointer tid;
	bool isnull;

	CHECK_FOR_INTERRUPTS();
	tid = index_getnext_tid(index, scan->direction);
	if (!tid)
		return false;
	strand->at.tid = *tid;
	strand->at.global_position =
		DatumGetInt64(index_getattr(index->xs_itup, scan->all ? 1 : 2, index->xs_itupdesc, &isnull));
	return true;
}

static void
PositionKey(const QueryScan *scan, ScanKey key, int column, int64 position)
{
	bool forward = ScanDirectionIsForward(scan->direction);

	ScanKeyInit(key, (AttrNumber)column, forward ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber,
				forward ? F_INT8GE : F_INT8LE, Int64GetDatum(position));
}

/* Goes to the first entry at a position or further; false: there is none. */
static bool
SeekEntry(const QueryScan *scan, Strand *strand, int64 position)
{
	ScanKeyData keys[2];
	int nkeys = scan->all ? 1 : 2;

	if (!strand->scan)
	{
		strand->scan =
			StoreBeginScan(scan->store, scan->all ? INDEX_GLOBAL_POSITION : INDEX_TAGS, SnapshotAny, nkeys);
		strand->scan->scan->xs_want_itup = true;
	}
	if (!scan->all)
		StoreInt8Key(&keys[0], 1, BTEqualStrategyNumber, (int64)strand->hash);
	PositionKey(scan, &keys[nkeys - 1], nkeys, position);
	StoreRescan(strand->scan, keys, nkeys);
	return NextEntry(scan, strand);
}

/* ---- legs ---------------------------------------------------------------------------------------------- */

/* Brings all strands to the position of the furthest, or to where they meet behind it. */
static void
Meet(const QueryScan *scan, Leg *leg)
{
	int64 position = leg->strands[0].at.global_position;

	for (int met = 1, i = 1; met < leg->nstrands; i = (i + 1) % leg->nstrands)
	{
		Strand *strand = &leg->strands[i];

		if (IsFurther(scan, position, strand->at.global_position) && !SeekEntry(scan, strand, position))
		{
			leg->ended = true;
			return;
		}
		if (strand->at.global_position == position)
			met++;
		else
		{
			position = strand->at.global_position;
			met = 1;
		}
	}
}

static void
SeekLeg(const QueryScan *scan, Leg *leg, int64 position)
{
	leg->ended = false;
	for (int i = 0; i < leg->nstrands; i++)
	{
		if (!SeekEntry(scan, &leg->strands[i], position))
		{
			leg->ended = true;
			return;
		}
		position = leg->strands[i].at.global_position;
	}
	Meet(scan, leg);
}

/* Goes on from the first strand's next entry, which may be at the same position: another version of a row. */
static void
StepLeg(const QueryScan *scan, Leg *leg)
{
	if (!NextEntry(scan, &leg->strands[0]))
		leg->ended = true;
	else
		Meet(scan, leg);
}

/* ---- taking a query apart ------------------------------------------------------------------------------ */

static Leg
MakeLeg(const QueryItem *item, const Slice *type)
{
	Leg leg = {.nstrands = item->ntags + (type ? 1 : 0)};
	int n = 0;

	leg.strands = palloc0(sizeof(Strand) * leg.nstrands);
	for (int i = 0; i < item->ntags; i++)
		leg.strands[n++].hash = TagHash(item->tags[i]);
	if (type)
		leg.strands[n].hash = TypeHash(*type);
	return leg;
}

static int
CountLegs(const TagQuery *query)
{
	int n = query->all ? 1 : 0;

	for (int i = 0; i < query->nitems; i++)
		n += Max(query->items[i].ntypes, 1);
	return n;
}

QueryScan *
QueryScanBegin(Store *store, const TagQuery *query)
{
	QueryScan *scan = palloc0(sizeof(QueryScan));
	int n = 0;

	scan->store = store;
	scan->all = query->all;
	scan->nlegs = CountLegs(query);
	scan->legs = palloc0(sizeof(Leg) * scan->nlegs);
	if (query->all)
		scan->legs[0] = (Leg){.strands = palloc0(sizeof(Strand)), .nstrands = 1};
	for (int i = 0; i < query->nitems; i++)
	{
		const QueryItem *item = &query->items[i];

		if (item->ntypes == 0)
			scan->legs[n++] = MakeLeg(item, NULL);
		for (int j = 0; j < item->ntypes; j++)
			scan->legs[n++] = MakeLeg(item, &item->types[j]);
	}
	return scan;
}

/* ---- scanning ------------------------------------------------------------------------------------------ */

void
QueryScanSeek(QueryScan *scan, int64 position, ScanDirection direction)
{
	scan->direction = direction;
	for (int i = 0; i < scan->nlegs; i++)
		SeekLeg(scan, &scan->legs[i], position);
}

/* By position, then by place, so that what several legs lead to comes together. */
static bool
IsBefore(const QueryScan *scan, const Candidate *a, const Candidate *b)
{
	if (a->global_position != b->global_position)
		return IsFurther(scan, b->global_position, a->global_position);
	return ScanDirectionIsForward(scan->direction)
			   ? ItemPointerCompare((ItemPointer)&a->tid, (ItemPointer)&b->tid) < 0
			   : ItemPointerCompare((ItemPointer)&a->tid, (ItemPointer)&b->tid) > 0;
}

static bool
IsSame(const Candidate *a, const Candidate *b)
{
	return a->global_position == b->global_position &&
		   ItemPointerEquals((ItemPointer)&a->tid, (ItemPointer)&b->tid);
}

bool
QueryScanNext(QueryScan *scan, Candidate *candidate)
{
	const Candidate *next = NULL;

	for (int i = 0; i < scan->nlegs; i++)
	{
		Leg *leg = &scan->legs[i];

		if (!leg->ended && (!next || IsBefore(scan, &leg->strands[0].at, next)))
			next = &leg->strands[0].at;
	}
	if (!next)
		return false;
	*candidate = *next;
	for (int i = 0; i < scan->nlegs; i++)
	{
		Leg *leg = &scan->legs[i];

		if (!leg->ended && IsSame(&leg->strands[0].at, candidate))
			StepLeg(scan, leg);
	}
	return true;
}

void
QueryScanRest(QueryScan *scan)
{
	for (int i = 0; i < scan->nlegs; i++)
		for (int j = 0; j < scan->legs[i].nstrands; j++)
			if (scan->legs[i].strands[j].scan)
				StoreRestScan(scan->legs[i].strands[j].scan);
}

void
QueryScanEnd(QueryScan *scan)
{
	for (int i = 0; i < scan->nlegs; i++)
		for (int j = 0; j < scan->legs[i].nstrands; j++)
			if (scan->legs[i].strands[j].scan)
				StoreEndScan(scan->legs[i].strands[j].scan);
	pfree(scan);
}
