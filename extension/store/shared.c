/*
 * shared.c: memory that all sessions share, taken from what every server keeps in reserve (about 100 kB), as
 * contrib/pg_prewarm does it; nothing needs to be preloaded.
 *
 * Two sessions always mean the same: the reserve never grows, so where one could not have the memory, none
 * after it can, until the server is started again.  What a name stands for must keep its size from version to
 * version, as sessions may have loaded an older one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "store/shared.h"

/* AddinShmemInitLock is held. */
static void *
FindOrMake(const char *name, Size size, SharedInit init)
{
	bool found;
	void *memory = ShmemInitStruct(name, size, &found);

	if (!found)
		init(memory);
	return memory;
}

/* Returns the memory of this name, made by the first session that asks; NULL: the reserve is used up. */
void *
StoreShared(const char *name, Size size, SharedInit init)
{
	MemoryContext context = CurrentMemoryContext;
	void *volatile memory = NULL;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	PG_TRY();
	{
		memory = FindOrMake(name, size, init);
		LWLockRelease(AddinShmemInitLock);
	}
	PG_CATCH();
	{
		/* ereport() has let interrupts in; the release expects them held off. */
		HOLD_INTERRUPTS();
		LWLockRelease(AddinShmemInitLock);
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return memory;
}
