/*
 * query_scan.c: the rows of a table that may match a query.
 *
 * A query is taken apart into legs: an item's tags with one of its types, or its tags alone.  A row matches
 * a leg when the index on tags has an entry for each of the leg's hashes at the row's global position.  So
 * a leg leaps: where the entries of its hashes are at different positions, those that are behind are looked
 * for at the furthest.  A rare tag makes a leg short however frequent the others are.  The legs are merged
 * by position.  A query for all messages has one leg, of the index on global positions.
 *
 * What is found may be of a row that is not visible, or have the hash of another tag: QueryScanJudge() looks
 * at the former.  The legs stay where a candidate was found until the next one is asked for, so that entries
 * of rows that are dead can be marked so: else every scan after a sweep would look at each again.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relscan.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "base/errors.h"
#include "core/query_scan.h"
#include "core/row.h"
#include "tags/tags.h"

/* A scan of an index holds 40 kB, and so serves all queries, one after the other. */
struct QueryScans
{
	Store *store;
	Relation index; /* on tags; NULL: not opened */
	TagScan **tags; /* as many as a query had strands */
	int ntags, room;
	StoreScan *all; /* of the index on global positions; NULL: not begun */
	QueryScan *used;
};

/* The entries of one hash, or those of all messages, and the one that it stands on. */
typedef struct Strand
{
	int64 hash;
	TagScan *tags; /* NULL: of all */
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
	QueryScans *scans;
	StoreScan *all; /* NULL: the query is for tags or types */
	ScanDirection direction;
	Leg *legs;
	int nlegs, nstrands;
	Candidate at; /* the last one */
	bool stands;  /* some legs stand there */
	int *steps;	  /* that it may still take; NULL: any number */
};

/* ---- strands ------------------------------------------------------------------------------------------- */

/* Whether a position comes after another one, in the direction of the scan. */
static bool
IsFurther(const QueryScan *scan, int64 position, int64 than)
{
	return ScanDirectionIsForward(scan->direction) ? position > than : position < than;
}

/* Takes steps, if there are so many left. */
static bool
TakeSteps(const QueryScan *scan, int n)
{
	return !scan->steps || (*scan->steps -= n) >= 0;
}

/* The next entry of the index on global positions. */
static bool
NextOfAll(const QueryScan *scan, Strand *strand)
{
	IndexScanDesc index = scan->all->scan;
	ItemPointer tid = index_getnext_tid(index, scan->direction);
	bool isnull;

	if (!tid)
		return false;
	strand->at.tid = *tid;
	strand->at.global_position = DatumGetInt64(index_getattr(index->xs_itup, 1, index->xs_itupdesc, &isnull));
	return true;
}

/* Goes to the next entry; false: there is none, or no step left. */
static bool
NextEntry(const QueryScan *scan, Strand *strand)
{
	CHECK_FOR_INTERRUPTS();
	if (!TakeSteps(scan, 1))
		return false;
	if (scan->all)
		return NextOfAll(scan, strand);
	if (!TagsNext(strand->tags))
		return false;
	strand->at = (Candidate){strand->tags->position, strand->tags->tid};
	return true;
}

/* Goes to the first entry at a position or further; false: there is none, or no step left. */
static bool
SeekEntry(const QueryScan *scan, Strand *strand, int64 position)
{
	bool forward = ScanDirectionIsForward(scan->direction);
	ScanKeyData key;

	if (!TakeSteps(scan, 1)) /* and one for the entry */
		return false;
	if (scan->all)
	{
		StoreInt8Key(&key, 1, forward ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber, position);
		StoreRescan(scan->all, &key, 1);
	}
	else
		TagsSeek(strand->tags, strand->hash, position, scan->direction);
	return NextEntry(scan, strand);
}

/* A descent costs as much as some hundred entries of a page that is read already. */
#define ENTRIES_BEFORE_DESCENT 4

/* The same where the place is likely to be near. */
static bool
ReachEntry(const QueryScan *scan, Strand *strand, int64 position)
{
	for (int i = 0; i < ENTRIES_BEFORE_DESCENT; i++)
	{
		if (!NextEntry(scan, strand))
			return false;
		if (!IsFurther(scan, position, strand->at.global_position))
			return true;
	}
	return SeekEntry(scan, strand, position);
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

		if (IsFurther(scan, position, strand->at.global_position) && !ReachEntry(scan, strand, position))
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

const char *
QueryScanProblem(Store *store, const TagQuery *query, const char **hint)
{
	const char *schema;

	if (query->all || OidIsValid(store->index[INDEX_TAGS]))
		return NULL;
	schema = get_namespace_name(RelationGetNamespace(store->heap));
	*hint = "SELECT millrace.index_tags() makes one.";
	if (!OidIsValid(store->index[INDEX_TAGS_ONLY]))
		return psprintf("table \"%s\".\"%s\" has no index on tags", schema,
						RelationGetRelationName(store->heap));
	*hint = "Drop it, and SELECT millrace.index_tags() makes one that has.";
	for (int i = 0; i < query->nitems; i++)
		if (query->items[i].ntags == 0)
			return psprintf(
				"the index on tags of table \"%s\".\"%s\" has no types, so that an item needs a tag", schema,
				RelationGetRelationName(store->heap));
	return NULL;
}

/* The scan of a query's n-th strand. */
static TagScan *
TagScanAt(QueryScans *scans, int n)
{
	if (n == scans->room)
	{
		scans->room = Max(8, 2 * n);
		scans->tags = scans->tags ? repalloc(scans->tags, sizeof(TagScan *) * scans->room)
								  : palloc(sizeof(TagScan *) * scans->room);
	}
	if (n == scans->ntags)
		scans->tags[scans->ntags++] = TagsBegin(scans->store->heap, scans->index, SnapshotAny);
	return scans->tags[n];
}

static void
AddStrand(QueryScan *scan, Leg *leg, int64 hash)
{
	Strand *strand = &leg->strands[leg->nstrands++];

	strand->hash = hash;
	strand->tags = TagScanAt(scan->scans, scan->nstrands++);
}

/* type: NULL for any, or where the index has none. */
static void
AddLeg(QueryScan *scan, const QueryItem *item, const Slice *type)
{
	Leg *leg = &scan->legs[scan->nlegs++];

	leg->strands = palloc0(sizeof(Strand) * (item->ntags + 1));
	for (int i = 0; i < item->ntags; i++)
		AddStrand(scan, leg, TagsHashOfTag(item->tags[i]));
	if (type)
		AddStrand(scan, leg, TagsHashOfType(*type));
}

static void
AddItem(QueryScan *scan, const QueryItem *item, bool has_types)
{
	if (item->ntypes == 0 || !has_types)
		AddLeg(scan, item, NULL);
	for (int i = 0; has_types && i < item->ntypes; i++)
		AddLeg(scan, item, &item->types[i]);
}

static int
CountLegs(const TagQuery *query)
{
	int n = query->all;

	for (int i = 0; i < query->nitems; i++)
		n += Max(query->items[i].ntypes, 1);
	return n;
}

void
QueryScanCheck(Store *store, const TagQuery *query)
{
	const char *hint;
	const char *problem = QueryScanProblem(store, query, &hint);

	if (problem)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_NO_TAG_INDEX), errmsg("%s", problem), errhint("%s", hint)));
}

QueryScans *
QueryScansBegin(Store *store)
{
	QueryScans *scans = palloc0(sizeof(QueryScans));

	scans->store = store;
	return scans;
}

static void
BeginAll(QueryScan *scan)
{
	QueryScans *scans = scan->scans;

	if (!scans->all)
	{
		scans->all = StoreBeginScan(scans->store, INDEX_GLOBAL_POSITION, SnapshotAny, 1);
		scans->all->scan->xs_want_itup = true;
	}
	scan->all = scans->all;
	scan->legs[0] = (Leg){.strands = palloc0(sizeof(Strand)), .nstrands = 1};
	scan->nlegs = 1;
}

QueryScan *
QueryScanBegin(QueryScans *scans, const TagQuery *query)
{
	QueryScan *scan = palloc0(sizeof(QueryScan));
	Store *store = scans->store;
	StoreIndexKind kind;

	scan->scans = scans;
	scan->legs = palloc0(sizeof(Leg) * CountLegs(query));
	if (query->all)
	{
		BeginAll(scan);
		return scan;
	}
	QueryScanCheck(store, query);
	kind = OidIsValid(store->index[INDEX_TAGS]) ? INDEX_TAGS : INDEX_TAGS_ONLY;
	if (!scans->index)
		scans->index = StoreOpenIndex(store, store->index[kind], STORE_READ);
	for (int i = 0; i < query->nitems; i++)
		AddItem(scan, &query->items[i], kind == INDEX_TAGS);
	return scan;
}

void
QueryScanCheckSnapshot(QueryScan *scan, Snapshot snapshot)
{
	Relation index = scan->all ? NULL : scan->scans->index;

	if (index && !TagsMayRead(index, snapshot))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("index \"%s\" is younger than the transaction's snapshot",
							   RelationGetRelationName(index)),
						errhint("Repeat it in a new transaction.")));
}

/* ---- scanning ------------------------------------------------------------------------------------------ */

void
QueryScanBound(QueryScan *scan, int *steps)
{
	scan->steps = steps;
}

void
QueryScanSeek(QueryScan *scan, int64 position, ScanDirection direction)
{
	Assert(!scan->scans->used || scan->scans->used == scan);
	scan->scans->used = scan;
	scan->direction = direction;
	scan->stands = false;
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

/* Whether a leg may have ended for want of steps: what is next is unknown then, whatever others stand on. */
static bool
IsOutOfSteps(const QueryScan *scan)
{
	return scan->steps && *scan->steps < 0;
}

/* Steps over the last candidate. */
static void
StepOver(QueryScan *scan)
{
	for (int i = 0; i < scan->nlegs; i++)
	{
		Leg *leg = &scan->legs[i];

		if (!leg->ended && IsSame(&leg->strands[0].at, &scan->at))
			StepLeg(scan, leg);
	}
}

bool
QueryScanNext(QueryScan *scan, Candidate *candidate)
{
	const Candidate *next = NULL;

	if (scan->stands)
		StepOver(scan);
	for (int i = 0; i < scan->nlegs && !IsOutOfSteps(scan); i++)
	{
		Leg *leg = &scan->legs[i];

		if (!leg->ended && (!next || IsBefore(scan, &leg->strands[0].at, next)))
			next = &leg->strands[0].at;
	}
	scan->stands = next != NULL;
	if (next)
		*candidate = scan->at = *next;
	return next != NULL;
}

/* Marks the entries that led to the last candidate; those of other strands would not be met again. */
static void
KillEntries(QueryScan *scan)
{
	for (int i = 0; i < scan->nlegs; i++)
	{
		Strand *strand = &scan->legs[i].strands[0];

		if (scan->legs[i].ended || !IsSame(&strand->at, &scan->at))
			continue;
		if (scan->all)
			scan->all->scan->kill_prior_tuple = true;
		else
			TagsKill(strand->tags);
	}
}

PrefixStep
QueryScanJudge(QueryScan *scan, PrefixScan *prefix, HeapTuple *row)
{
	PrefixStep step = PrefixAt(prefix, &scan->at.tid, row);

	if (step == PREFIX_NO_MORE)
	{
		if (PrefixIsDead(prefix, &scan->at.tid))
			KillEntries(scan);
	}
	else if (RowInt64(*row, COLUMN_GLOBAL_POSITION) != scan->at.global_position)
		return PREFIX_NO_MORE;
	return step;
}

PrefixStep
QueryScanNextRow(QueryScan *scan, PrefixScan *prefix, HeapTuple *row)
{
	Candidate candidate;
	PrefixStep step = PREFIX_NO_MORE;

	while (step == PREFIX_NO_MORE && QueryScanNext(scan, &candidate))
		step = QueryScanJudge(scan, prefix, row);
	return step;
}

void
QueryScanRest(QueryScan *scan)
{
	scan->stands = false;
	if (scan->all)
		StoreRestScan(scan->all);
	for (int i = 0; i < scan->nstrands; i++)
		TagsRest(scan->scans->tags[i]);
	scan->scans->used = NULL;
}

void
QueryScansEnd(QueryScans *scans)
{
	if (scans->all)
		StoreEndScan(scans->all);
	for (int i = 0; i < scans->ntags; i++)
		TagsEnd(scans->tags[i]);
	if (scans->index)
		index_close(scans->index, NoLock);
}
