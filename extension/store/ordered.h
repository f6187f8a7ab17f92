/*
 * ordered.h: the leaves of one of our own indexes, gone through in the order of its keys.
 */
#ifndef MILLRACE_ORDERED_H
#define MILLRACE_ORDERED_H

#include "postgres.h"

#include "access/itup.h"

#include "store/leaf.h"

typedef struct OrderedWalk
{
	Leaf leaf;	   /* its buffer is pinned and locked */
	int access;	   /* BUFFER_LOCK_SHARE, or BUFFER_LOCK_EXCLUSIVE to insert */
	Buffer parent; /* the page above the leaves that led there; pinned, not locked */
	OffsetNumber place;
	bool at_end; /* the last key belonged behind all entries of its leaf */
	/* Entries for the leaf that are not in yet, and the places of its items before which they come. */
	int nentries;
	Size bytes; /* with their line pointers */
	IndexTuple entries[MaxIndexTuplesPerPage];
	OffsetNumber places[MaxIndexTuplesPerPage];
	PGAlignedBlock room; /* the entries */
} OrderedWalk;

extern OrderedWalk *OrderedBegin(Relation index, StoreIndexKind kind, int access);
extern bool OrderedSeek(OrderedWalk *walk, const LeafKey *key);
extern bool OrderedAdd(OrderedWalk *walk, const LeafKey *key, ItemPointer tid);
extern void OrderedLeave(OrderedWalk *walk);
extern void OrderedEnd(OrderedWalk *walk);

#endif
