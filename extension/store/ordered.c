/*
 * ordered.c: looking up many keys in an index, and putting many entries into it, in the order of the keys.
 *
 * An index scan, and btinsert(), descend from the root for each key.  In their order most keys belong on the
 * leaf of the one before, and the others on one that the same page above leads to.  So the leaf stays locked
 * and the page above it pinned from one key to the next, and what comes to lie on one leaf is put in
 * together.
 *
 * The way down, and how keys are compared, is leaf.c's.  Unlike there a leaf is the right one, also for a key
 * below its first entry: the way begins at a page that is alone on its level, a page is locked when the one
 * above it no longer is, and where leaves were split meanwhile the key is on the right.  What is not plain is
 * left to nbtree, a key at a time: OrderedSeek() and OrderedAdd() say so where an entry with that key is
 * there, alive or not, where the page is full, half split or deleted.  So uniqueness, splits and the cleaning
 * up before them are nbtree's affair alone.  Pages are locked and unlocked by nbtree's functions, which tell
 * a sanitizer that a page which is pinned and not locked must not be looked at.
 *
 * WAL: a record of nbtree's for each entry, or an image of the page where that takes less.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"

#include "store/ordered.h"

/* Bytes of WAL for an entry besides its own. */
#define RECORD_BYTES ((Size)52)

typedef enum Place
{
	PLACE_HERE,
	PLACE_RIGHT,
	PLACE_UNCLEAR
} Place;

/* ---- finding ------------------------------------------------------------------------------------------- */

/* Whether the key belongs on a page of that level, if it does not belong on one on its left. */
static Place
PlaceOn(const OrderedWalk *walk, const LeafKey *key, Buffer buffer, uint32 level)
{
	Page page = BufferGetPage(buffer);
	BTPageOpaque opaque;
	OffsetNumber found;
	bool equal;

	if (PageIsNew(page))
		return PLACE_UNCLEAR;
	opaque = BTPageGetOpaque(page);
	if (P_IGNORE(opaque) || opaque->btpo_level != level ||
		(P_INCOMPLETE_SPLIT(opaque) && walk->access == BUFFER_LOCK_EXCLUSIVE))
		return PLACE_UNCLEAR;
	if (P_RIGHTMOST(opaque))
		return PLACE_HERE;
	if (!LeafSearch(&walk->leaf, key, page, (LeafRange){P_HIKEY, P_HIKEY, P_HIKEY}, &found, &equal) || equal)
		return PLACE_UNCLEAR; /* it may be on the next one, too */
	return found > P_HIKEY ? PLACE_RIGHT : PLACE_HERE;
}

/* Pins and locks the leaf, or one on its right, where the key belongs; none where that is not clear. */
static Buffer
EnterPage(const OrderedWalk *walk, const LeafKey *key, BlockNumber block)
{
	for (;;)
	{
		Buffer buffer = ReadBuffer(walk->leaf.index, block);
		Place place;

		_bt_lockbuf(walk->leaf.index, buffer, walk->access);
		place = PlaceOn(walk, key, buffer, 0);
		if (place == PLACE_HERE)
			return buffer;
		if (place == PLACE_RIGHT)
			block = BTPageGetOpaque(BufferGetPage(buffer))->btpo_next;
		_bt_relbuf(walk->leaf.index, buffer);
		if (place == PLACE_UNCLEAR)
			return InvalidBuffer;
	}
}

static void
LeaveParent(OrderedWalk *walk)
{
	if (BufferIsValid(walk->parent))
		ReleaseBuffer(walk->parent);
	walk->parent = InvalidBuffer;
}

/* By the page that led to the leaf before; NO_LEAF: the key is not below it. */
static BlockNumber
FindByParent(const OrderedWalk *walk, const LeafKey *key)
{
	BlockNumber block = NO_LEAF;

	if (!BufferIsValid(walk->parent))
		return NO_LEAF;
	_bt_lockbuf(walk->leaf.index, walk->parent, BUFFER_LOCK_SHARE);
	if (PlaceOn(walk, key, walk->parent, 1) == PLACE_HERE)
		block = LeafChild(&walk->leaf, key, BufferGetPage(walk->parent), 1);
	_bt_unlockbuf(walk->leaf.index, walk->parent);
	return block;
}

static bool
EnterLeaf(OrderedWalk *walk, const LeafKey *key)
{
	BlockNumber block = FindByParent(walk, key);

	if (block == NO_LEAF)
	{
		LeaveParent(walk);
		block = LeafGuess(&walk->leaf, key, &walk->parent);
	}
	if (block != NO_LEAF)
		walk->leaf.buffer = EnterPage(walk, key, block);
	return BufferIsValid(walk->leaf.buffer);
}

/*
 * Goes to where the next key belongs, which is above the one before.  False: an entry with this key may be
 * there, or nbtree has to find out.
 *
 * On the same leaf the key is likely to belong at the same place, on another one at the end if the one before
 * did.  Comparing it with the last entry of each leaf would cost random keys a miss of the cache.
 */
bool
OrderedSeek(OrderedWalk *walk, const LeafKey *key)
{
	bool stays = true;
	OffsetNumber place;
	LeafRange range;
	Page page;
	bool equal;

	if (!BufferIsValid(walk->leaf.buffer) || PlaceOn(walk, key, walk->leaf.buffer, 0) != PLACE_HERE)
	{
		OrderedLeave(walk);
		if (!EnterLeaf(walk, key))
			return false;
		walk->place = P_FIRSTDATAKEY(BTPageGetOpaque(BufferGetPage(walk->leaf.buffer)));
		stays = false;
	}
	page = BufferGetPage(walk->leaf.buffer);
	range = (LeafRange){.low = walk->place, .high = PageGetMaxOffsetNumber(page)};
	if (stays)
		range.begin = range.low;
	else
		range.begin = walk->at_end ? range.high : range.low + (range.high - range.low) / 2;
	if (!LeafSearch(&walk->leaf, key, page, range, &place, &equal))
		return false;
	walk->place = place;
	walk->at_end = place > range.high;
	return !equal;
}

/* ---- inserting ----------------------------------------------------------------------------------------- */

/*
 * Adds the entry for the key that OrderedSeek() has just found the place of.  It is in when the walk leaves
 * the leaf, or goes on to another.  False: there is no room, or nbtree has to make the entry.
 */
bool
OrderedAdd(OrderedWalk *walk, const LeafKey *key, ItemPointer tid)
{
	Size size = LeafEntrySize(&walk->leaf, key);
	Size before = walk->bytes - walk->nentries * sizeof(ItemIdData);
	IndexTuple entry = (IndexTuple)(walk->room.data + before);

	if (size == 0)
		return false;
	size += sizeof(ItemIdData);
	if (walk->bytes + size > PageGetExactFreeSpace(BufferGetPage(walk->leaf.buffer)))
		return false;
	LeafFormEntry(&walk->leaf, key, tid, entry);
	if (walk->nentries == 0)
		CheckForSerializableConflictIn(walk->leaf.index, NULL, BufferGetBlockNumber(walk->leaf.buffer));
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
		/* Those before it are in. */
		LeafPut(walk->leaf.index, walk->leaf.buffer, walk->places[i] + i, walk->entries[i]);
		END_CRIT_SECTION();
	}
}

static void
PutTogether(OrderedWalk *walk)
{
	Page page = BufferGetPage(walk->leaf.buffer);

	START_CRIT_SECTION();
	for (int i = 0; i < walk->nentries; i++)
	{
		IndexTuple entry = walk->entries[i];

		if (PageAddItem(page, (char *)entry, IndexTupleSize(entry), walk->places[i] + i, false, false) ==
			InvalidOffsetNumber)
			elog(PANIC, "failed to add an entry to a leaf of index \"%s\"",
				 RelationGetRelationName(walk->leaf.index));
	}
	MarkBufferDirty(walk->leaf.buffer);
	if (RelationNeedsWAL(walk->leaf.index))
		log_newpage_buffer(walk->leaf.buffer, true);
	END_CRIT_SECTION();
}

static void
PutEntries(OrderedWalk *walk)
{
	Size used = BLCKSZ - PageGetExactFreeSpace(BufferGetPage(walk->leaf.buffer));

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
 * Begins a walk through an index, which is open and locked, to look up keys or to insert entries.  NULL: it
 * is one that only nbtree can be asked.
 */
OrderedWalk *
OrderedBegin(Relation index, StoreIndexKind kind, int access)
{
	Leaf leaf = LeafBegin(index, kind);
	OrderedWalk *walk;

	if (!leaf.plain)
		return NULL;
	(void)_bt_getrootheight(index); /* from now on nbtree remembers the root */
	walk = palloc(sizeof(OrderedWalk));
	walk->leaf = leaf;
	walk->access = access;
	walk->parent = InvalidBuffer;
	walk->at_end = true;
	walk->nentries = 0;
	walk->bytes = 0;
	return walk;
}

/* Puts in what was added, and unlocks the leaf: another may insert then, and this session in another way. */
void
OrderedLeave(OrderedWalk *walk)
{
	if (BufferIsValid(walk->leaf.buffer))
		PutEntries(walk);
	LeafRest(&walk->leaf);
}

/* Ends a walk; NULL is none. */
void
OrderedEnd(OrderedWalk *walk)
{
	if (!walk)
		return;
	OrderedLeave(walk);
	LeaveParent(walk);
	pfree(walk);
}
