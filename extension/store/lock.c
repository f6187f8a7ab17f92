/*
 * lock.c: the locks of store.h.
 *
 * The append lock is held for some microseconds, by every append of a namespace.  As a heavyweight lock it
 * made a convoy: such a lock is handed to the first waiting session, which must wake up and get a processor
 * before the next one can have it, so once one session waits, all do.  A lightweight lock is free when it is
 * released.  With 32 clients on two processors that was 8,400 appends a second against 13,000.
 *
 * The lightweight locks are in shared memory (store/shared.c).  Where that is used up, the append lock is a
 * heavyweight one, for every session.
 *
 * A session that holds a lightweight lock can't be interrupted, and PostgreSQL detects no deadlock in which
 * one has a part.  So nothing under it may wait for a transaction: insert.c takes all heavyweight
 * locks before.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/buf_internals.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/errors.h"
#include "store/shared.h"
#include "store/store.h"

/* The views millrace.appending and millrace.blocked know them by these numbers, in decimal. */
#define LOCK_CLASS_APPEND 0x4D41
#define LOCK_CLASS_CONSUMER 0x4D43
#define LOCK_CLASS_NAMESPACE 0x4D4E
#define LOCK_CLASS_RETENTION 0x4D52
#define LOCK_CLASS_STREAM 0x4D53

/* Namespaces whose hashes meet share one, which is right and may be slow. */
#define APPEND_LOCKS 64

/* Tries to have the lock before sleeping, and pauses between two of them: some twenty microseconds in all. */
#define SPINS 50
#define SPIN_DELAYS 10

typedef struct AppendLocks
{
	int tranche;
	LWLockPadded locks[APPEND_LOCKS];
} AppendLocks;

static AppendLocks *append_locks = NULL;
static bool no_append_locks = false; /* the reserve is used up */

/* ---- to commit ----------------------------------------------------------------------------------- */

/* Returns the hash of a stream, by which it is locked: of its name and its table. */
uint64
StoreStreamHash(Store *store, Slice stream)
{
	return hash_bytes_extended((const unsigned char *)stream.bytes, stream.len,
							   RelationGetRelid(store->heap));
}

static LOCKTAG
TagOf(uint64 key, uint16 class)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32)(key >> 32), (uint32)key, class);
	return tag;
}

/* Without waiting: returns whether it is ours. */
static bool
LockToCommit(uint64 key, uint16 class, bool wait)
{
	LOCKTAG tag = TagOf(key, class);

	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Locks one stream, to commit. */
void
StoreLockStream(uint64 hash)
{
	(void)LockToCommit(hash, LOCK_CLASS_STREAM, true);
}

/* The same without waiting; false: another transaction has it. */
bool
StoreTryLockStream(uint64 hash)
{
	return LockToCommit(hash, LOCK_CLASS_STREAM, false);
}

/*
 * Locks streams, to commit.  The hashes are in rising order, which is the order of locking, or two batches
 * could deadlock; one may be there several times.  Errors: MR009 for more than MAX_STREAMS.
 */
void
StoreLockStreams(const uint64 *hashes, int nhashes)
{
	int nstreams = 0;

	for (int i = 0; i < nhashes; i++)
		nstreams += i == 0 || hashes[i] != hashes[i - 1];
	if (nstreams > MAX_STREAMS)
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
				 errmsg("%d streams in one call; at most %d are allowed", nstreams, MAX_STREAMS),
				 errhint("Each has a place in the lock table of the server until the transaction ends.")));
	for (int i = 0; i < nhashes; i++)
		if (i == 0 || hashes[i] != hashes[i - 1])
			StoreLockStream(hashes[i]);
}

static int
CompareHashes(const void *left, const void *right)
{
	uint64 a = *(const uint64 *)left;
	uint64 b = *(const uint64 *)right;

	return a < b ? -1 : a > b;
}

/* The same for hashes in any order, which it puts in order. */
void
StoreSortAndLockStreams(uint64 *hashes, int nhashes)
{
	qsort(hashes, nhashes, sizeof(uint64), CompareHashes);
	StoreLockStreams(hashes, nhashes);
}

static uint64
NamespaceKey(Slice name)
{
	return hash_bytes_extended((const unsigned char *)name.bytes, name.len, 0);
}

/* Locks a name for a namespace, to commit. */
void
StoreLockNamespace(Slice name)
{
	(void)LockToCommit(NamespaceKey(name), LOCK_CLASS_NAMESPACE, true);
}

/* Keeps those out who do so, to commit; many may at a time. */
void
StoreShareNamespace(Slice name)
{
	LOCKTAG tag = TagOf(NamespaceKey(name), LOCK_CLASS_NAMESPACE);

	(void)LockAcquire(&tag, ShareLock, false, false);
}

/* To commit.  Without waiting: returns whether it is ours. */
bool
StoreLockConsumer(Oid relid, int64 consumer, bool wait)
{
	uint64 key = hash_bytes_extended((const unsigned char *)&consumer, sizeof(consumer), relid);

	return LockToCommit(key, LOCK_CLASS_CONSUMER, wait);
}

static LOCKTAG
RetentionLock(Store *store, Slice category)
{
	uint64 key = hash_bytes_extended((const unsigned char *)category.bytes, category.len,
									 RelationGetRelid(store->heap));
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32)(key >> 32), (uint32)key, LOCK_CLASS_RETENTION);
	return tag;
}

/*
 * To commit: nothing of the category is swept meanwhile; an empty one stands for all.  Waits for a sweep to
 * commit.
 */
void
StoreKeepCategory(Store *store, Slice category)
{
	LOCKTAG tag = RetentionLock(store, category);

	(void)LockAcquire(&tag, ShareLock, false, false);
}

/* To commit.  Without waiting: returns whether nobody keeps the category, or all of them. */
bool
StoreSweepCategory(Store *store, Slice category, bool wait)
{
	LOCKTAG tag = RetentionLock(store, category), all = RetentionLock(store, (Slice){"", 0});

	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL &&
		   LockAcquire(&all, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* To commit: one sweep of a namespace at a time.  Without waiting: returns whether it is ours. */
bool
StoreLockSweep(Store *store, bool wait)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, RelationGetRelid(store->heap), LOCK_CLASS_RETENTION);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * To commit: nobody else notes what was removed from the namespace, so that notes are committed in the order
 * of their numbers.  Without waiting: returns whether it is ours.
 */
bool
StoreLockRemovals(Store *store, bool wait)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 1, RelationGetRelid(store->heap), LOCK_CLASS_RETENTION);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---- the append lock ------------------------------------------------------------------------------ */

static void
InitAppendLocks(void *memory)
{
	AppendLocks *array = memory;

	array->tranche = CompatNewTranche("millrace_append");
	for (int i = 0; i < APPEND_LOCKS; i++)
		LWLockInitialize(&array->locks[i].lock, array->tranche);
}

/* Sets append_locks, or no_append_locks. */
static void
AttachAppendLocks(void)
{
	append_locks = StoreShared("millrace append locks", sizeof(AppendLocks), InitAppendLocks);
	no_append_locks = !append_locks;
	if (append_locks)
		CompatNameTranche(append_locks->tranche, "millrace_append");
}

static LWLock *
AppendLock(Store *store)
{
	uint32 hash = hash_combine(murmurhash32(MyDatabaseId), murmurhash32(RelationGetRelid(store->heap)));

	return &append_locks->locks[hash % APPEND_LOCKS].lock;
}

static LOCKTAG
HeavyAppendLock(Store *store)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, RelationGetRelid(store->heap), LOCK_CLASS_APPEND);
	return tag;
}

/*
 * Tries for a while before it sleeps.  The lock is held for microseconds, and a session that sleeps is woken
 * behind all others that want a processor.  But the holder may have lost its processor, so not for long.
 */
static void
AcquireSoon(LWLock *lock)
{
	for (int i = 0; i < SPINS; i++)
	{
		if (LWLockConditionalAcquire(lock, LW_EXCLUSIVE))
			return;
		for (int j = 0; j < SPIN_DELAYS; j++)
			SPIN_DELAY();
	}
	LWLockAcquire(lock, LW_EXCLUSIVE);
}

/* Takes the append lock, until StoreUnlockAppends(); in an error, until StoreAbandonAppends(). */
void
StoreLockAppends(Store *store)
{
	LOCKTAG tag;

	if (!append_locks && !no_append_locks)
		AttachAppendLocks();
	if (append_locks)
	{
		AcquireSoon(AppendLock(store));
		return;
	}
	tag = HeavyAppendLock(store);
	(void)LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Releases the append lock. */
void
StoreUnlockAppends(Store *store)
{
	LOCKTAG tag;

	if (append_locks)
	{
		LWLockRelease(AppendLock(store));
		return;
	}
	tag = HeavyAppendLock(store);
	(void)LockRelease(&tag, ExclusiveLock, false);
}

/*
 * Lets go of the pages that an error came from with their locks, in PG_CATCH().  The server would do so with
 * the end of the (sub)transaction, which is after it has sent the error to the client; and it
 * can't send while the client reads nothing.
 */
void
StoreAbandonPages(void)
{
	LWLockReleaseAll();
	CompatAbandonPages();
}

/* StoreUnlockAppends() in an error, in PG_CATCH(); and the pages as well. */
void
StoreAbandonAppends(Store *store)
{
	LOCKTAG tag;

	StoreAbandonPages();
	if (append_locks)
		return;
	tag = HeavyAppendLock(store);
	(void)LockRelease(&tag, ExclusiveLock, false);
}
