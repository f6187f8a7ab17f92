/*
 * category.c: Message DB's category lock, for programs that read the table with a SELECT of their own.
 *
 * Message DB's write_message holds a lock on the stream's category from before it draws a global position
 * to its commit.  So within a category messages commit in the order of their global positions, and a plain
 * SELECT by them skips none; and all writers of a category wait for one another's commits.  The reading
 * functions need no such lock (core/read.c), so it is taken only where millrace.category_lock says so.  It
 * is the same lock: pg_advisory_xact_lock(hash_64(category)), in the database, whatever the namespace.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "store/store.h"

bool category_lock = false;

static int
CompareKeys(const void *left, const void *right)
{
	int64 a = *(const int64 *)left;
	int64 b = *(const int64 *)right;

	return a < b ? -1 : a > b;
}

/*
 * Locks the streams' categories, to commit; before the streams' own locks.  In the order of the keys, or two
 * batches could deadlock.
 */
void
StoreLockCategories(text *const *streams, int nstreams)
{
	int64 *keys = palloc(sizeof(int64) * nstreams);

	for (int i = 0; i < nstreams; i++)
		keys[i] = NameHash64(NameCategory(SliceOfText(streams[i])));
	qsort(keys, nstreams, sizeof(int64), CompareKeys);
	for (int i = 0; i < nstreams; i++)
		if (i == 0 || keys[i] != keys[i - 1])
			(void)DirectFunctionCall1(pg_advisory_xact_lock_int8, Int64GetDatum(keys[i]));
	pfree(keys);
}
