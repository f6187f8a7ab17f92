/*
 * leaf.c: entries put into the leaf pages of our own indexes, and found there, without nbtree's way down.
 *
 * nbtree goes from the root to a leaf for each entry, compares by functions that it calls through pointers,
 * and on the leaf looks for the place again: ten thousand instructions an entry.  Entries of appends come to
 * few leaves, mostly to the last one, and their keys are of three types.  So a leaf is kept locked for the
 * next entry, and one that is not kept is guessed: where it was the last time, or by a way down that locks
 * no two pages together and never moves right.
 *
 * A guess need not be right, as the page itself tells whether it is.  By what holds of every btree, all keys
 * between two entries of one leaf are on that leaf; so are those between its last entry and its high key,
 * those above it where it is the last leaf, and those below its first entry where it is the first leaf.  A
 * key that is strictly so, and equals no entry there, is therefore nowhere else in the index either: it is
 * unique without a look at any row, and no list of equal entries has to be split for it.  While the leaf is
 * locked nobody else puts an equal one in; who comes afterwards finds ours and waits for us.
 *
 * Everything else is nbtree's: a leaf that is full, split in part, deleted, or not the right one; a key that
 * is there, or stands at a leaf's border; entries with NULL or compressed names, indexes in another
 * collation, and such as are not logged.  What is done here is what nbtree does once it has found the place:
 * conflicts of serializable transactions are checked, the entry is added and logged in nbtree's own record,
 * for which its replay, its masks for wal_consistency_checking and its readers are made.  A version of
 * PostgreSQL that we don't know is left to nbtree altogether (compat.h).
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/nbtree.h"
#include "access/nbtxlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "store/leaf.h"

/* Where the keys of an entry begin. */
#define ENTRY_HEAD MAXALIGN(sizeof(IndexTupleData))

/* The longest name of which one byte says how long it is, and the longest that is never compressed. */
#define SHORT_NAME (VARATT_SHORT_MAX - VARHDRSZ_SHORT)
#define PLAIN_NAME ((int)(TOAST_INDEX_TARGET - VARHDRSZ))

#define LARGEST_ENTRY (ENTRY_HEAD + MAXALIGN(TOAST_INDEX_TARGET) + sizeof(int64))

static bool
IsNamed(StoreIndexKind kind)
{
	return kind == INDEX_STREAM || kind == INDEX_CATEGORY;
}

/* ---- comparing ----------------------------------------------------------------------------------------- */

static int
CompareNumbers(int64 number, const char *stored)
{
	int64 other;

	memcpy(&other, stored, sizeof(other));
	return number < other ? -1 : number > other;
}

/* Of a stream or category, and behind that of a position, if it was not cut off. */
static bool
CompareNamed(const LeafKey *key, const char *stored, int natts, int *order)
{
	if (VARATT_IS_EXTENDED(stored) && !VARATT_IS_SHORT(stored))
		return false;
	*order = SliceCompare(key->name, SliceOfText(stored));
	if (*order == 0)
		*order = natts < 2 ? 1 : CompareNumbers(key->number, stored + MAXALIGN(VARSIZE_ANY(stored)));
	return true;
}

/*
 * Compares a key with what stands on a page, whose last columns may be cut off: that is below every key
 * that begins with it.  False: it is nothing that can be read here.
 */
static bool
Compare(const Leaf *leaf, const LeafKey *key, Page page, OffsetNumber offset, int *order)
{
	IndexTuple entry = (IndexTuple)PageGetItem(page, PageGetItemId(page, offset));
	const char *stored = (char *)entry + IndexInfoFindDataOffset(entry->t_info);
	int natts = BTreeTupleGetNAtts(entry, leaf->index);

	if (IndexTupleHasNulls(entry))
		return false;
	if (natts == 0)
		*order = 1;
	else if (leaf->kind == INDEX_GLOBAL_POSITION)
		*order = CompareNumbers(key->number, stored);
	else if (leaf->kind == INDEX_ID)
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): the keys of this kind have an id */
		*order = memcmp(key->id->data, stored, UUID_LEN);
	else
		return CompareNamed(key, stored, natts, order);
	return true;
}

/*
 * Finds the first of a page's entries [low, high] that is not below the key; high + 1: all are.  *equal: it
 * is the key's.
 */
bool
LeafSearch(const Leaf *leaf, const LeafKey *key, Page page, LeafRange range, OffsetNumber *found, bool *equal)
{
	OffsetNumber low = range.low;
	int order;

	*found = range.high + 1;
	*equal = false;
	for (OffsetNumber middle = range.begin; low < *found; middle = low + (*found - low) / 2)
	{
		if (!Compare(leaf, key, page, middle, &order))
			return false;
		if (order > 0)
			low = middle + 1;
		else
			*found = middle;
		*equal |= order == 0;
	}
	return true;
}

/*
 * Finds the place on a page that a key has, between entries that leave no other page for it.  False: it is
 * not known to belong there, or is there.
 */
static bool
FindPlace(const Leaf *leaf, const LeafKey *key, Page page, OffsetNumber *place)
{
	BTPageOpaque opaque;
	OffsetNumber first, last;
	bool equal;
	int order;

	if (PageIsNew(page))
		return false;
	opaque = BTPageGetOpaque(page);
	if (!P_ISLEAF(opaque) || P_IGNORE(opaque) || P_INCOMPLETE_SPLIT(opaque))
		return false;
	first = P_FIRSTDATAKEY(opaque);
	last = PageGetMaxOffsetNumber(page);
	/* What was put in last is mostly the last one. */
	if (!LeafSearch(leaf, key, page, (LeafRange){first, last, last}, place, &equal) || equal)
		return false;
	if (*place == first && !P_LEFTMOST(opaque))
		return false;
	return *place <= last || P_RIGHTMOST(opaque) || (Compare(leaf, key, page, P_HIKEY, &order) && order < 0);
}

/* ---- guessing ------------------------------------------------------------------------------------------ */

/*
 * Says which page below one that is locked a key leads to, if it is not on the right of that; NO_LEAF: it is
 * not of that level.
 */
BlockNumber
LeafChild(const Leaf *leaf, const LeafKey *key, Page page, uint32 level)
{
	BTPageOpaque opaque;
	OffsetNumber first, last, found;
	bool equal;

	if (PageIsNew(page))
		return NO_LEAF;
	opaque = BTPageGetOpaque(page);
	first = P_FIRSTDATAKEY(opaque);
	last = PageGetMaxOffsetNumber(page);
	/* The first one is below all keys, whatever it holds. */
	if (P_IGNORE(opaque) || opaque->btpo_level != level || first > last ||
		!LeafSearch(leaf, key, page, (LeafRange){first + 1, last, last}, &found, &equal))
		return NO_LEAF;
	return BTreeTupleGetDownLink((IndexTuple)PageGetItem(page, PageGetItemId(page, found - 1)));
}

/* Whether a page is the only one of its level, as it is when nbtree remembers it. */
static bool
IsRoot(Page page)
{
	BTPageOpaque opaque = PageIsNew(page) ? NULL : BTPageGetOpaque(page);

	return opaque && P_LEFTMOST(opaque) && P_RIGHTMOST(opaque);
}

/*
 * Goes down to a leaf, from the root that nbtree remembers.  The key is on it or on one on its right, where
 * pages were split meanwhile.  NO_LEAF: nbtree remembers none, or one that is none any more.  *parent, if it
 * is asked for, is the page above the leaf, pinned; where the root is a leaf there is none, and NO_LEAF.
 */
BlockNumber
LeafGuess(const Leaf *leaf, const LeafKey *key, Buffer *parent)
{
	const BTMetaPageData *meta = leaf->index->rd_amcache;
	uint32 top = meta ? meta->btm_fastlevel : 0;
	BlockNumber block = meta && (top > 0 || !parent) ? meta->btm_fastroot : NO_LEAF;

	for (uint32 level = top; level > 0 && block != NO_LEAF; level--)
	{
		Buffer buffer = ReadBuffer(leaf->index, block);
		Page page = BufferGetPage(buffer);

		_bt_lockbuf(leaf->index, buffer, BUFFER_LOCK_SHARE);
		block = level < top || IsRoot(page) ? LeafChild(leaf, key, page, level) : NO_LEAF;
		_bt_unlockbuf(leaf->index, buffer);
		if (parent && level == 1 && block != NO_LEAF)
			*parent = buffer;
		else
			ReleaseBuffer(buffer);
	}
	return block;
}

/* ---- inserting ----------------------------------------------------------------------------------------- */

/* Says whether names are ordered by their bytes, and stored as such. */
static bool
HasPlainNames(Relation index)
{
	return CompatCollationIsC(index->rd_indcollation[0]) &&
		   TupleDescAttr(RelationGetDescr(index), 0)->attstorage != TYPSTORAGE_PLAIN;
}

/*
 * Begins to use an index, which is open and locked.  One of ours only, whose entries are plain; of others all
 * is left to nbtree.
 */
Leaf
LeafBegin(Relation index, StoreIndexKind kind)
{
	bool plain = CompatKnowsLeaves() && (kind == INDEX_GLOBAL_POSITION || kind == INDEX_ID ||
										 (IsNamed(kind) && HasPlainNames(index)));

	return (Leaf){
		.index = index,
		.kind = kind,
		.plain = plain,
		.usable = plain && RelationNeedsWAL(index),
		.buffer = InvalidBuffer,
	};
}

/* Lets go of the leaf that is kept, before nbtree has its turn, or the end. */
void
LeafRest(Leaf *leaf)
{
	if (BufferIsValid(leaf->buffer))
		_bt_relbuf(leaf->index, leaf->buffer);
	leaf->buffer = InvalidBuffer;
}

/*
 * Adds an entry to a leaf that has room, which is locked for it, and logs it, as nbtree does.  The caller is
 * where an error is a PANIC.
 */
void
LeafPut(Relation index, Buffer leaf, OffsetNumber place, IndexTuple entry)
{
	Page page = BufferGetPage(leaf);
	xl_btree_insert record = {.offnum = place};
	XLogRecPtr lsn;

	Assert(CritSectionCount > 0);
	if (PageAddItem(page, (char *)entry, IndexTupleSize(entry), place, false, false) == InvalidOffsetNumber)
		elog(PANIC, "failed to add an entry to a leaf of index \"%s\"", RelationGetRelationName(index));
	MarkBufferDirty(leaf);
	if (!RelationNeedsWAL(index))
		return;
	XLogBeginInsert();
	XLogRegisterData((char *)&record, SizeOfBtreeInsert);
	XLogRegisterBuffer(0, leaf, REGBUF_STANDARD);
	XLogRegisterBufData(0, (char *)entry, IndexTupleSize(entry));
	lsn = XLogInsert(RM_BTREE_ID, XLOG_BTREE_INSERT_LEAF);
	PageSetLSN(page, lsn);
}

/* Bytes that the name of a key takes in an entry, as index_form_tuple() stores it. */
static Size
NameSize(const LeafKey *key)
{
	return key->name.len + (key->name.len <= SHORT_NAME ? VARHDRSZ_SHORT : VARHDRSZ);
}

/* Bytes of a key's entry; 0: it is made by nbtree, as the name may be compressed in it. */
Size
LeafEntrySize(const Leaf *leaf, const LeafKey *key)
{
	if (leaf->kind == INDEX_ID)
		return ENTRY_HEAD + UUID_LEN;
	if (!IsNamed(leaf->kind))
		return ENTRY_HEAD + sizeof(int64);
	return key->name.len > PLAIN_NAME ? 0 : ENTRY_HEAD + MAXALIGN(NameSize(key)) + sizeof(int64);
}

/* Makes the entry of a key, byte for byte as index_form_tuple() does, where there is room for its size. */
void
LeafFormEntry(const Leaf *leaf, const LeafKey *key, ItemPointer tid, IndexTuple entry)
{
	Size size = LeafEntrySize(leaf, key);
	char *bytes = (char *)entry + ENTRY_HEAD;

	memset(entry, 0, size);
	entry->t_tid = *tid;
	entry->t_info = (uint16)size;
	if (leaf->kind == INDEX_ID)
	{
		memcpy(bytes, key->id->data, UUID_LEN);
		return;
	}
	if (IsNamed(leaf->kind))
	{
		Size name = NameSize(key);

		if (key->name.len <= SHORT_NAME)
			SET_VARSIZE_SHORT(bytes, name);
		else
			SET_VARSIZE(bytes, name);
		memcpy(bytes + name - key->name.len, key->name.bytes, key->name.len);
		bytes += MAXALIGN(name);
		entry->t_info |= INDEX_VAR_MASK;
	}
	memcpy(bytes, &key->number, sizeof(int64));
}

/* Puts an entry into the leaf that is kept, if it belongs there and there is room. */
static bool
InsertHere(Leaf *leaf, const LeafKey *key, IndexTuple entry)
{
	Page page;
	OffsetNumber place;

	if (!BufferIsValid(leaf->buffer))
		return false;
	page = BufferGetPage(leaf->buffer);
	if (!FindPlace(leaf, key, page, &place) || PageGetFreeSpace(page) < IndexTupleSize(entry))
		return false;
	CheckForSerializableConflictIn(leaf->index, NULL, BufferGetBlockNumber(leaf->buffer));
	START_CRIT_SECTION();
	LeafPut(leaf->index, leaf->buffer, place, entry);
	END_CRIT_SECTION();
	return true;
}

/* The same for another leaf, which is kept then. */
static bool
InsertInto(Leaf *leaf, const LeafKey *key, IndexTuple entry, BlockNumber block)
{
	LeafRest(leaf);
	if (block == NO_LEAF || block == InvalidBlockNumber)
		return false;
	leaf->buffer = ReadBuffer(leaf->index, block);
	_bt_lockbuf(leaf->index, leaf->buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!InsertHere(leaf, key, entry))
	{
		LeafRest(leaf); /* the next guess locks other pages */
		return false;
	}
	if (P_RIGHTMOST(BTPageGetOpaque(BufferGetPage(leaf->buffer))))
		RelationSetTargetBlock(leaf->index, block);
	return true;
}

/*
 * Puts in the entry of a row whose key is in none yet, if that can be done here; its leaf stays locked, until
 * the next call or LeafRest().  False: nothing is done, no page is locked, and it is up to nbtree.
 * `guess` is a page of the index where it may belong; NO_LEAF: where nbtree would look first, the last leaf.
 * Errors: 40001.
 */
bool
LeafInsert(Leaf *leaf, const LeafKey *key, ItemPointer tid, BlockNumber guess)
{
	int64 room[LARGEST_ENTRY / sizeof(int64)]; /* aligned as an entry is */
	IndexTuple entry = (IndexTuple)room;

	if (leaf->usable && LeafEntrySize(leaf, key) > 0)
	{
		LeafFormEntry(leaf, key, tid, entry);
		if (guess == NO_LEAF)
			guess = RelationGetTargetBlock(leaf->index);
		if (InsertHere(leaf, key, entry) || InsertInto(leaf, key, entry, guess))
			return true;
		LeafRest(leaf);
		if (InsertInto(leaf, key, entry, LeafGuess(leaf, key, NULL)))
			return true;
	}
	LeafRest(leaf);
	return false;
}

/* ---- finding ------------------------------------------------------------------------------------------- */

/* Says whether there is such a page at all: a guess from an earlier call may be of another file. */
static bool
HasBlock(Leaf *leaf, BlockNumber block)
{
	if (block >= leaf->nblocks)
		leaf->nblocks = RelationGetNumberOfBlocks(leaf->index);
	return block != NO_LEAF && block < leaf->nblocks;
}

/* Reads the entry before a key's place, if it is of the same stream. */
static LeafTail
ReadTail(const Leaf *leaf, const LeafKey *key, Page page, OffsetNumber place, ItemPointer tid)
{
	ItemId item;
	IndexTuple entry;
	const char *name;

	if (place == P_FIRSTDATAKEY(BTPageGetOpaque(page)))
		return TAIL_NONE;
	item = PageGetItemId(page, place - 1);
	entry = (IndexTuple)PageGetItem(page, item);
	name = (char *)entry + IndexInfoFindDataOffset(entry->t_info);
	if (IndexTupleHasNulls(entry) || (VARATT_IS_EXTENDED(name) && !VARATT_IS_SHORT(name)))
		return TAIL_UNKNOWN;
	if (!SliceEqual(key->name, SliceOfText(name)))
		return TAIL_NONE;
	if (ItemIdIsDead(item) || BTreeTupleIsPosting(entry))
		return TAIL_UNKNOWN;
	*tid = entry->t_tid;
	return TAIL_FOUND;
}

static LeafTail
FindTailIn(Leaf *leaf, const LeafKey *key, BlockNumber block, ItemPointer tid)
{
	LeafTail tail = TAIL_UNKNOWN;
	OffsetNumber place;

	leaf->buffer = ReadBuffer(leaf->index, block);
	_bt_lockbuf(leaf->index, leaf->buffer, BUFFER_LOCK_SHARE);
	if (FindPlace(leaf, key, BufferGetPage(leaf->buffer), &place))
		tail = ReadTail(leaf, key, BufferGetPage(leaf->buffer), place, tid);
	_bt_unlockbuf(leaf->index, leaf->buffer);
	if (tail != TAIL_FOUND)
		LeafUnpin(leaf);
	return tail;
}

/*
 * Finds the last entry of a stream in INDEX_STREAM.  TAIL_FOUND: where its row is, which may be visible to
 * nobody; until LeafUnpin() VACUUM frees no place that the page's entries lead to.  TAIL_NONE: the stream has
 * no entry.  TAIL_UNKNOWN: look by a scan.  *guess is a leaf where it may be, or NO_LEAF; afterwards one of
 * the index.
 */
LeafTail
LeafFindTail(Leaf *leaf, Slice stream, BlockNumber *guess, ItemPointer tid)
{
	LeafKey key = {.name = stream, .number = PG_INT64_MAX};
	LeafTail tail = TAIL_UNKNOWN;

	if (!leaf->usable)
		return TAIL_UNKNOWN;
	if (HasBlock(leaf, *guess))
		tail = FindTailIn(leaf, &key, *guess, tid);
	if (tail != TAIL_UNKNOWN)
		return tail;
	*guess = LeafGuess(leaf, &key, NULL);
	return *guess == NO_LEAF ? TAIL_UNKNOWN : FindTailIn(leaf, &key, *guess, tid);
}

/* Lets go of the page that LeafFindTail() has found a row by. */
void
LeafUnpin(Leaf *leaf)
{
	if (BufferIsValid(leaf->buffer))
		ReleaseBuffer(leaf->buffer);
	leaf->buffer = InvalidBuffer;
}
