/*
 * insert.h: what the files that put rows into a table share: one call of StoreInsert().
 *
 * insert.c says in which phases they run, and what is locked in each.
 */
#ifndef MILLRACE_INSERT_H
#define MILLRACE_INSERT_H

#include "postgres.h"

#include "nodes/execnodes.h"

#include "store/leaf.h"
#include "store/store.h"

/*
 * The executor's view of an index whose entries must be computed: of another shape, or with further
 * columns.
 */
typedef struct ComputedIndex
{
	IndexInfo *info;
	EState *estate;
	ExprState *predicate;
	TupleTableSlot *slot;
	/* Of our own kinds: the entries of all rows, computed in phase 1 but for position and time; else NULL. */
	Datum *values;
	bool *isnull;
} ComputedIndex;

typedef struct OpenIndex
{
	StoreIndexKind kind;
	Relation index;
	ComputedIndex *computed; /* NULL: its entries are plain */
	ArrayType **hashes;		 /* of tags: those of each row, by its number */
} OpenIndex;

/* One call of StoreInsert. */
typedef struct Insertion
{
	Store *store;
	NewRow **rows;
	int nrows;
	OpenIndex *indexes; /* those that are ready, in the order of the store's */
	int nindexes;
	Relation sequence;
	Relation toast; /* NULL: no row may need it */
	Relation *toast_indexes;
	int ntoast_indexes;
	const StoreOrders *import; /* NULL: the rows are appended */
	int64 highest;			   /* global position that was there before; 0: not looked for */
	TupleTableSlot **slots;	   /* for a chunk; NULL for a single row */
	bool below;				   /* an import's rows that are being put in lie below others */
	List *doubts;			   /* entries that may be duplicates: of Doubt (entry.c) */
} Insertion;

/* tuple.c */
extern bool InsertionFormTuples(Insertion *insertion);

/* position.c */
extern void InsertionFindHighest(Insertion *insertion);
extern void InsertionKeepHighest(const Insertion *insertion);
extern bool InsertionDrawPositions(Insertion *insertion, NewRow **rows, int nrows);
extern void InsertionTakePositions(Insertion *insertion, NewRow **rows, int nrows);
extern void InsertionRefusePositions(const Insertion *insertion, int64 drawn);

/* entry.c */
extern void InsertionOpenIndexes(Insertion *insertion);
extern void InsertionAddEntries(Insertion *insertion, NewRow **rows, int nrows);
extern void InsertionFinishEntries(Insertion *insertion);
extern void InsertionCloseIndexes(Insertion *insertion);
extern LeafKey InsertionKey(StoreIndexKind kind, const NewRow *row);
extern void InsertionAddTo(Insertion *insertion, OpenIndex *which, NewRow **rows, int nrows);

/* sorted.c */
extern void InsertionAddSorted(Insertion *insertion, NewRow **rows, int nrows);
extern void InsertionAddIds(Insertion *insertion);

#endif
