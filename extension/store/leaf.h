/*
 * leaf.h: the leaf pages of our own indexes, without nbtree's way down to them; store/leaf.c says how.
 */
#ifndef MILLRACE_LEAF_H
#define MILLRACE_LEAF_H

#include "postgres.h"

#include "access/itup.h"
#include "storage/buf.h"
#include "storage/bufpage.h"

#include "store/store.h"

/* No leaf, where one is only a guess: nbtree's first page is none. */
#define NO_LEAF ((BlockNumber)0)

/* What an entry is found by. */
typedef struct LeafKey
{
	Slice name;			 /* of INDEX_STREAM and INDEX_CATEGORY */
	int64 number;		 /* a position; of INDEX_ID none */
	const pg_uuid_t *id; /* of INDEX_ID */
} LeafKey;

/* An index, and the leaf that is in use. */
typedef struct Leaf
{
	Relation index;
	StoreIndexKind kind;
	bool plain;			 /* its keys can be compared here */
	bool usable;		 /* and it is logged */
	BlockNumber nblocks; /* of the index, at least; 0: not looked for */
	Buffer buffer;		 /* locked to write, but for what LeafFindTail() pins; or InvalidBuffer */
} Leaf;

/* Entries of a page among which a key is looked for, and the one that is compared first. */
typedef struct LeafRange
{
	OffsetNumber low, high, begin;
} LeafRange;

typedef enum LeafTail
{
	TAIL_UNKNOWN,
	TAIL_NONE,
	TAIL_FOUND
} LeafTail;

/* For ordered.c. */
extern bool LeafSearch(const Leaf *leaf, const LeafKey *key, Page page, LeafRange range, OffsetNumber *found,
					   bool *equal);
extern Size LeafEntrySize(const Leaf *leaf, const LeafKey *key);
extern void LeafFormEntry(const Leaf *leaf, const LeafKey *key, ItemPointer tid, IndexTuple entry);
extern BlockNumber LeafChild(const Leaf *leaf, const LeafKey *key, Page page, uint32 level);
extern BlockNumber LeafGuess(const Leaf *leaf, const LeafKey *key, Buffer *parent);

extern Leaf LeafBegin(Relation index, StoreIndexKind kind);
extern bool LeafInsert(Leaf *leaf, const LeafKey *key, ItemPointer tid, BlockNumber guess);
extern void LeafRest(Leaf *leaf);
extern void LeafPut(Relation index, Buffer leaf, OffsetNumber place, IndexTuple entry);
extern LeafTail LeafFindTail(Leaf *leaf, Slice stream, BlockNumber *guess, ItemPointer tid);
extern void LeafUnpin(Leaf *leaf);

/* store/index_scan.c */
extern LeafTail StoreScanTail(StoreScan *scan, Leaf *leaf, text *stream, BlockNumber *guess);
extern void StoreRestTail(StoreScan *scan);

#endif
