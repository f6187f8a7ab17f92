/*
 * store.h: the table of messages of one namespace.
 *
 * The store is the only part that opens relations, and the only one that takes locks:
 *
 *   namespace lock  to commit, around creating and dropping a namespace of one name
 *   stream lock     to commit; a position depends on the commit of the one before it
 *   append lock     inside StoreInsert only; makes the index entries of a namespace appear in the
 *                   order of their global positions, on which the prefix rule (core/read.c) stands
 *
 * The first two are heavyweight locks in the advisory space, of classes (pg_locks.objsubid) that SQL's
 * advisory functions never use, so no advisory lock of a user is the same as one of them.  The append lock
 * is a lightweight one (store/lock.c).
 */
#ifndef MILLRACE_STORE_H
#define MILLRACE_STORE_H

#include "postgres.h"

#include "access/genam.h"
#include "access/sdir.h"
#include "executor/tuptable.h"
#include "storage/lockdefs.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/names.h"
#include "protocol.h"

/* Columns of the table: Message DB's. */
enum
{
	COLUMN_GLOBAL_POSITION = 1,
	COLUMN_POSITION,
	COLUMN_TIME,
	COLUMN_STREAM_NAME,
	COLUMN_TYPE,
	COLUMN_DATA,
	COLUMN_METADATA,
	COLUMN_ID,
	COLUMNS = COLUMN_ID
};

typedef enum StoreMode
{
	STORE_READ,
	STORE_APPEND,
	STORE_REMOVE,
	STORE_REDACT
} StoreMode;

typedef enum StoreIndexKind
{
	INDEX_GLOBAL_POSITION, /* unique (global_position) */
	INDEX_ID,			   /* unique (id) */
	INDEX_STREAM,		   /* unique (stream_name, position) */
	INDEX_CATEGORY,		   /* (category(stream_name), global_position) */
	INDEX_TAGS,			   /* of tags and types (tags/tags.h); a table need not have it */
	INDEX_TAGS_ONLY,	   /* of tags */
	INDEX_KINDS,
	INDEX_OTHER = INDEX_KINDS /* a user's own */
} StoreIndexKind;

typedef struct StoreIndex
{
	Oid oid;
	StoreIndexKind kind;
	bool plain; /* has just the columns of its kind, so its entries need no executor */
} StoreIndex;

/* A namespace's table, opened for one call.  Lives in the caller's memory; the locks last to commit. */
typedef struct Store
{
	Relation heap;
	Oid sequence;
	bool has_snapshot;		/* StoreOpen has pushed a younger one, which StoreClose pops */
	Oid index[INDEX_KINDS]; /* by kind, for scans: valid ones */
	int nindexes;
	/* All, also those that are not yet or no longer valid, in the order of filling them. */
	StoreIndex indexes[FLEXIBLE_ARRAY_MEMBER];
} Store;

#define StoreSize(nindexes) (offsetof(Store, indexes) + sizeof(StoreIndex) * (nindexes))

/* One index scan.  `slot` holds the row that StoreScanNext found. */
typedef struct StoreScan
{
	Store *store;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} StoreScan;

/* A walk through all rows of a table.  `slot` holds the row that StoreWalkNext found. */
typedef struct StoreWalk
{
	Relation heap;
	Snapshot snapshot;
	struct TableScanDescData *scan;
	TupleTableSlot *slot;
} StoreWalk;

/* The caller's role and settings, while the owner's expressions run. */
typedef struct StoreCaller
{
	Oid role;
	int security;
	int settings;
} StoreCaller;

/* A row to insert.  What it points to is the caller's, and so is the position in the stream. */
typedef struct NewRow
{
	text *stream;
	text *type;
	Jsonb *data;	 /* may be NULL */
	Jsonb *metadata; /* may be NULL */
	pg_uuid_t id;
	bool id_is_new;	   /* a duplicate is Postgres's unique violation, not MR002 */
	ArrayType *hashes; /* of its tags and type, where they are known; NULL: not yet */
	int ntags;		   /* distinct ones among the hashes */
	BlockNumber leaf;  /* where its stream's entries may end in INDEX_STREAM, or NO_LEAF (leaf.h) */
	int64 position;
	int64 global_position; /* set by StoreInsert, or an import's own */
	Timestamp time;		   /* an import's own */
	HeapTuple tuple;	   /* StoreInsert's */
	int ntag_entries;	   /* StoreInsert's: in indexes of tags */
	int number;			   /* its: in what order it inserts the rows */
} NewRow;

/* store/store.c */
extern Store *StoreOpen(const char *namespace_name, StoreMode mode);
extern char *StoreNotFoundText(const char *namespace_name);
extern Store *StoreTryOpen(const char *namespace_name, StoreMode mode);
extern Store *StoreOpenSchema(Oid schema, StoreMode mode);
extern Relation StoreOpenHeap(Oid schema, LOCKMODE lockmode, AclMode wanted);
extern bool StoreMayRedact(Oid relid);
extern void StoreClose(Store *store);
extern Relation StoreOpenIndex(Store *store, Oid index, StoreMode mode);
extern void StoreCheckAppendAllowed(void);
extern void StoreFollowEarlierCommits(void);
extern void StoreAwaitDisk(void);

/* store/registry.c */
extern char *StoreReadRegistry(const char *name, Oid *relid);

/* store/describe.c */
extern bool StoreHoldsMessages(Oid relid);

/* store/index_scan.c */
extern StoreScan *StoreBeginScan(Store *store, StoreIndexKind kind, Snapshot snapshot, int nkeys);
extern void StoreRescan(StoreScan *scan, ScanKey keys, int nkeys);
extern bool StoreScanNext(StoreScan *scan, ScanDirection direction);
extern HeapTuple StoreScanRow(StoreScan *scan);
extern void StoreRestScan(StoreScan *scan);
extern void StoreEndScan(StoreScan *scan);
extern void StoreTextKey(StoreScan *scan, ScanKey key, int column, StrategyNumber strategy, text *value);
extern void StoreInt8Key(ScanKey key, int column, StrategyNumber strategy, int64 value);
extern Jsonb *StoreSlotJsonb(TupleTableSlot *slot, int column);

/* store/snapshot.c */
extern void StoreReplaceSnapshot(Store *store);
extern Snapshot StoreTakeSnapshot(Store *store);
extern Snapshot StoreWholeSnapshot(Relation heap);

/* store/owner.c */
extern StoreCaller StoreBecomeOwner(Relation heap);
extern StoreCaller StoreBecomeOwnerIfOther(Relation heap);
extern void StoreBecomeCaller(StoreCaller caller);

/* store/whole.c */
extern StoreWalk *StoreBeginWalk(Oid schema);
extern bool StoreWalkNext(StoreWalk *walk);
extern void StoreEndWalk(StoreWalk *walk);
extern int64 StoreCountRows(Oid schema);
extern int64 StoreTruncate(Oid schema);

/* store/lock.c */
extern uint64 StoreStreamHash(Store *store, Slice stream);
extern void StoreLockStream(uint64 hash);
extern bool StoreTryLockStream(uint64 hash);
extern void StoreLockStreams(const uint64 *hashes, int nhashes);
extern void StoreSortAndLockStreams(uint64 *hashes, int nhashes);
extern void StoreLockNamespace(Slice name);
extern void StoreShareNamespace(Slice name);
extern bool StoreLockConsumer(Oid relid, int64 consumer, bool wait);
extern void StoreKeepCategory(Store *store, Slice category);
extern bool StoreSweepCategory(Store *store, Slice category, bool wait);
extern bool StoreLockSweep(Store *store, bool wait);
extern bool StoreLockRemovals(Store *store, bool wait);
extern void StoreLockAppends(Store *store);
extern void StoreUnlockAppends(Store *store);
extern void StoreAbandonAppends(Store *store);
extern void StoreAbandonPages(void);

/* store/category.c */
extern bool category_lock; /* the setting millrace.category_lock */
extern void StoreLockCategories(text *const *streams, int nstreams);

/* store/trigger.c */
extern void StoreFireTriggers(Store *store, NewRow **rows, int nrows);

/* store/index.c */
extern Store *StoreDescribeIndexes(Relation heap, const char **problem);

/*
 * What has to hold when rows are inserted.  `holds` is asked under the append lock, before each chunk of
 * rows, and opens, locks and waits for nothing; where it says no, `again` is asked when the lock is free:
 * whether it is worth another try.  `inserted` is told the last global position of each chunk.
 */
typedef struct StoreGuard
{
	bool (*holds)(void *arg);
	bool (*again)(void *arg);
	void (*inserted)(void *arg, int64 last);
	void *arg;
} StoreGuard;

/*
 * The rows of an import in the order of the keys of each kind of index but those of tags.  In that of global
 * positions they are inserted.
 */
typedef struct StoreOrders
{
	NewRow **rows[INDEX_KINDS];
} StoreOrders;

/* store/insert.c */
extern bool StoreInsert(Store *store, NewRow **rows, int nrows, const StoreGuard *guard);
extern void StoreImport(Store *store, const StoreOrders *orders, int nrows);

/* store/sorted.c */
extern int StoreFindDoubtful(Store *store, StoreIndexKind kind, NewRow **rows, int nrows, NewRow **doubtful);

/* store/position.c */
extern int64 StoreLastDrawn(Relation sequence);
extern void StoreLift(Store *store, int64 position);

/* store/unique.c */
extern bool StoreFindLive(StoreScan *scan, ScanKey keys, int nkeys, ItemPointer except);
extern bool StoreFindId(StoreScan *scan, const pg_uuid_t *id, ItemPointer except);
extern void StoreRecheckId(Store *store, NewRow *row);

#endif
