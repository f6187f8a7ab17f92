/*
 * beside.h: tables of ours that lie beside the messages of a namespace.
 *
 * Like the table of messages they are read and written without the executor: a statement would run what the
 * schema's owner has put on a table, with the rights of the caller.  So a table is refused (MR010) that is
 * not one of ours, column for column, or has triggers, rules, row security or indexes on expressions.  The
 * locks that are taken before the look keep it so to commit.
 */
#ifndef MILLRACE_BESIDE_H
#define MILLRACE_BESIDE_H

#include "postgres.h"

#include "access/skey.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct BesideColumn
{
	const char *name;
	Oid type;
} BesideColumn;

/* What a table has to be. */
typedef struct BesideKind
{
	const char *name;
	const char *use; /* what it is for, for errors */
	const BesideColumn *columns;
	int ncolumns;
	AttrNumber key[2]; /* of its unique index; 0: one column */
} BesideKind;

/* A table that is open for one call, by its key. */
typedef struct Beside
{
	const BesideKind *kind;
	Relation table;
	Relation key;
	struct ResultRelInfo *indexes; /* all of them, for writing; NULL: not opened yet */
} Beside;

#define BESIDE_MAX_COLUMNS 4 /* of those that are opened so */

/* A row taken apart; in the current memory context. */
typedef struct BesideRow
{
	Datum value[BESIDE_MAX_COLUMNS];
	bool isnull[BESIDE_MAX_COLUMNS];
	ItemPointerData tid;
	TransactionId writer;
} BesideRow;

extern bool BesideOpen(Beside *beside, Relation messages, const BesideKind *kind, LOCKMODE lockmode);
extern void BesideClose(Beside *beside);
extern bool BesideFirst(Beside *beside, Relation index, ScanKey key, Snapshot snapshot, BesideRow *row);
extern void BesideInsert(Beside *beside, BesideRow *row);
extern void BesideUpdate(Beside *beside, BesideRow *row);
extern void BesideDelete(Beside *beside, ItemPointer tid);

extern void BesideCheck(Relation table, const BesideKind *kind);
extern void BesideCheckIndex(Relation table, Relation index, const BesideKind *kind);
extern void BesideRefuse(Relation table, const BesideKind *kind, const char *problem)
	__attribute__((noreturn));
extern bool BesideIsKey(Relation index, const BesideKind *kind);
extern bool BesideIsKeyedBy(Relation index, const AttrNumber *columns, int ncolumns);

#endif
