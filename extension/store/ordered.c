/*
 * ordered.c: looking up many keys in an index, and putting many entries into it, in the order of the keys.
 *
 * An index scan, and btinsert(), descend from the root for each key.  In their order most keys belong on the
 * leaf of the one before, and the others on one that the same page above leads to.  So the leaf stays locked
 * and the page above it pinned from one key to the next, and what comes to lie on one leaf is put in
 * together.
 *
 * The ways through the tree are nbtree's (its README): a page is locked when the one above it no longer is,
 * and where it was split meanwhile the key is on its right.  What is not plain is left to nbtree, a key at a
 * time: OrderedSeek() and OrderedAdd() say so where an entry with that key is there, alive or not, where the
 * page is full, half split or deleted.  So uniqueness, splits and the cleaning up before them are nbtree's
 * affair alone.  Pages are locked and unlocked by nbtree's functions, which tell a sanitizer that a page
 * which is pinned and not locked must not be looked at.
 *
 * WAL: a record of nbtree's for each entry, or an image of the page where that takes less.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"

#include "base/compat.h"
#include "store/leaf.h"
#include "store/ordered.h"

/* Bytes of WAL for an entry besides its own. */
#define RECORD_BYTES 52

/* nbtree has a limit for entries; these are far from it. */
#define LARGEST_ENTRY (BLCKSZ / 8)

typedef enum Place
{
	PLACE_HERE,
	PLACE_RIGHT,
	PLACE_UNCLEAR
} Place;

/* ---- finding ------------------------------------------------------------------------------------------- */

/* Whether the key belongs on a page of that level, if it does not belong on one on its left. */
static Place
PlaceOn(OrderedWalk *walk, Buffer buffer, uint32 level)
{
	Page page = BufferGetPage(buffer);
	BTPageOpaque opaque;
	int order;

	if (PageIsNew(page))
		return PLACE_UNCLEAR;
	opaque = BTPageGetOpaque(page);
	if (P_IGNORE(opaque) || opaque->btpo_level != level ||
		(P_INCOMPLETE_SPLIT(opaque) && walk->access == BUFFER_LOCK_EXCLUSIVE))
		return PLACE_UNCLEAR;
	if (P_RIGHTMOST(opaque))
		return PLACE_HERE;
	order = _bt_compare(walk->index, walk->key, page, P_HIKEY);
	if (order == 0 && level == 0)
		return PLACE_UNCLEAR; /* it may be on the next one, too */
	return order > 0 ? PLACE_RIGHT : PLACE_HERE;
}

/* Pins and locks the page, or one on its right, where the key belongs; none where that is not clear. */
static Buffer
EnterPage(OrderedWalk *walk, BlockNumber block, uint32 level, int access)
{
	for (;;)
	{
		Buffer buffer = ReadBuffer(walk->index, block);
		Place place;

		_bt_lockbuf(walk->index, buffer, access);
		place = PlaceOn(walk, buffer, level);
		if (place == PLACE_HERE)
			return buffer;
		if (place == PLACE_RIGHT)
			block = BTPageGetOpaque(BufferGetPage(buffer))->btpo_next;
		_bt_relbuf(walk->index, buffer);
		if (place == PLACE_UNCLEAR)
			return InvalidBuffer;
	}
}

/* Finds the first item of a page, from `low` on, that is not below the key, and whether it has that key. */
static OffsetNumber
FindItem(OrderedWalk *walk, Page page, OffsetNumber low, OffsetNumber probe, bool *equal)
{
	OffsetNumber high = OffsetNumberNext(PageGetMaxOffsetNumber(page));

	*equal = false;
	while (low < high)
	{
		int order = _bt_compare(walk->index, walk->key, page, probe);

		if (order > 0)
			low = OffsetNumberNext(probe);
		else
		{
			high = probe;
			*equal = order == 0;
		}
		probe = low + (high - low) / 2;
	}
	return low;
}

/* Where a search through all of a page begins. */
static OffsetNumber
Middle(Page page)
{
	return Max(P_FIRSTDATAKEY(BTPageGetOpaque(page)), PageGetMaxOffsetNumber(page) / 2);
}

/* Which page below a locked one the key belongs on. */
static BlockNumber
FindBelow(OrderedWalk *walk, Page page)
{
	OffsetNumber first = P_FIRSTDATAKEY(BTPageGetOpaque(page));
	bool equal;
	OffsetNumber item = FindItem(walk, page, first, Middle(page), &equal);

	return BTreeTupleGetDownLink((IndexTuple)PageGetItem(page, PageGetItemId(page, OffsetNumberPrev(item))));
}

static void
LeaveParent(OrderedWalk *walk)
{
	if (BufferIsValid(walk->parent))
		ReleaseBuffer(walk->parent);
	walk->parent = InvalidBuffer;
}

/* By the page that led to the leaf before; false: the key is not below it. */
static bool
FindByParent(OrderedWalk *walk, BlockNumber *leaf)
{
	bool found = false;

	if (!BufferIsValid(walk->parent))
		return false;
	_bt_lockbuf(walk->index, walk->parent, BUFFER_LOCK_SHARE);
	if (PlaceOn(walk, walk->parent, 1) == PLACE_HERE)
	{
		*leaf = FindBelow(walk, BufferGetPage(walk->parent));
		found = true;
	}
	_bt_unlockbuf(walk->index, walk->parent);
	return found;
}

/* Where the tree begins; false: it has no page yet. */
static bool
FindRoot(Relation index, BlockNumber *block, uint32 *level)
{
	Buffer buffer = ReadBuffer(index, BTREE_METAPAGE);
	BTMetaPageData *meta = BTPageGetMeta(BufferGetPage(buffer));

	_bt_lockbuf(index, buffer, BUFFER_LOCK_SHARE);
	*block = meta->btm_fastroot;
	*level = meta->btm_fastlevel;
	_bt_relbuf(index, buffer);
	return *block != P_NONE;
}

/* From the root. */
static bool
FindByRoot(OrderedWalk *walk, BlockNumber *leaf)
{
	uint32 level;

	LeaveParent(walk);
	if (!FindRoot(walk->index, leaf, &level))
		return false;
	for (; level > 0; level--)
	{
		Buffer buffer = EnterPage(walk, *leaf, level, BUFFER_LOCK_SHARE);

		if (!BufferIsValid(buffer))
			return false;
		*leaf = FindBelow(walk, BufferGetPage(buffer));
		_bt_unlockbuf(walk->index, buffer);
		if (level == 1)
			walk->parent = buffer;
		else
			ReleaseBuffer(buffer);
	}
	return true;
}

static bool
EnterLeaf(OrderedWalk *walk)
{
	BlockNumber block;

	if (!FindByParent(walk, &block) && !FindByRoot(walk, &block))
		return false;
	walk->leaf = EnterPage(walk, block, 0, walk->access);
	return BufferIsValid(walk->leaf);
}

/*
 * Goes to where the next key belongs, of which these are the values; it is above the one before.  False: an
 * entry with this key may be there, or nbtree has to find out.
 */
bool
OrderedSeek(OrderedWalk *walk, const Datum *values)
{
	bool equal;

	for (int i = 0; i < walk->key->keysz; i++)
		walk->key->scankeys[i].sk_argument = values[i];
	if (BufferIsValid(walk->leaf) && PlaceOn(walk, walk->leaf, 0) == PLACE_HERE)
		walk->place = FindItem(walk, BufferGetPage(walk->leaf), walk->place, walk->place, &equal);
	else
	{
		Page page;
		OffsetNumber first;

		OrderedLeave(walk);
		if (!EnterLeaf(walk))
			return false;
		page = BufferGetPage(walk->leaf);
		first = P_FIRSTDATAKEY(BTPageGetOpaque(page));
		walk->place = FindItem(walk, page, first, Middle(page), &equal);
	}
	return !equal;
}

/* ---- inserting ----------------------------------------------------------------------------------------- */

/*
 * Adds the entry for the key that OrderedSeek() has just found the place of.  It is in when the walk leaves
 * the leaf, or goes on to another.  False: there is no room.
 */
bool
OrderedAdd(OrderedWalk *walk, IndexTuple entry)
{
	Size size = MAXALIGN(IndexTupleSize(entry)) + sizeof(ItemIdData);

	if (size > LARGEST_ENTRY || walk->bytes + size > PageGetExactFreeSpace(BufferGetPage(walk->leaf)))
		return false;
	if (walk->nentries == 0)
		CheckForSerializableConflictIn(walk->index, NULL, BufferGetBlockNumber(walk->leaf));
	walk->entries[walk->nentries] = entry;
	walk->places[walk->nentries] = walk->place;
	walk->nentries++;
	walk->bytes += size;
	return true;
}

static void
PutEach(OrderedWalk *walk)
{
	for (int i = 0; i < walk->nentries; i++)
	{
		START_CRIT_SECTION();
		LeafPut(walk->index, walk->leaf, walk->places[i] + i, walk->entries[i]); /* those before it are in */
		END_CRIT_SECTION();
	}
}

static void
PutTogether(OrderedWalk *walk)
{
	Page page = BufferGetPage(walk->leaf);

	START_CRIT_SECTION();
	for (int i = 0; i < walk->nentries; i++)
	{
		IndexTuple entry = walk->entries[i];

		if (PageAddItem(page, (char *)entry, IndexTupleSize(entry), walk->places[i] + i, false, false) ==
			InvalidOffsetNumber)
			elog(PANIC, "failed to add an entry to a leaf of index \"%s\"",
				 RelationGetRelationName(walk->index));
	}
	MarkBufferDirty(walk->leaf);
	if (RelationNeedsWAL(walk->index))
		log_newpage_buffer(walk->leaf, true);
	END_CRIT_SECTION();
}

static void
PutEntries(OrderedWalk *walk)
{
	Size used = BLCKSZ - PageGetExactFreeSpace(BufferGetPage(walk->leaf));

	if (walk->nentries == 0)
		return;
	if (walk->nentries * RECORD_BYTES > used)
		PutTogether(walk);
	else
		PutEach(walk);
	walk->nentries = 0;
	walk->bytes = 0;
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

/*
 * Begins a walk through an open index, to look up keys or to insert entries; `entry` is any with all of its
 * columns.  NULL: the index is one that only nbtree can be asked.
 */
OrderedWalk *
OrderedBegin(Relation index, int access, IndexTuple entry)
{
	BTScanInsert key;
	OrderedWalk *walk;

	if (!CompatKnowsLeaves())
		return NULL;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		if (OidIsValid(index->rd_indcollation[i]) && !CompatCollationIsC(index->rd_indcollation[i]))
			return NULL;
	key = _bt_mkscankey(index, entry);
	if (!key->heapkeyspace)
		return NULL;
	walk = palloc(sizeof(OrderedWalk));
	walk->index = index;
	walk->access = access;
	walk->key = key;
	key->scantid = NULL;
	walk->parent = walk->leaf = InvalidBuffer;
	walk->nentries = 0;
	walk->bytes = 0;
	return walk;
}

/* Puts in what was added, and unlocks the leaf: another may insert then, and this session in another way. */
void
OrderedLeave(OrderedWalk *walk)
{
	if (!BufferIsValid(walk->leaf))
		return;
	PutEntries(walk);
	_bt_relbuf(walk->index, walk->leaf);
	walk->leaf = InvalidBuffer;
}

/* Ends a walk; NULL is none. */
void
OrderedEnd(OrderedWalk *walk)
{
	if (!walk)
		return;
	OrderedLeave(walk);
	LeaveParent(walk);
	pfree(walk->key);
	pfree(walk);
}
