/*
 * dead.c: the rows of a table that are gone and that VACUUM has left, as somebody may still see them.
 *
 * PostgreSQL's own count (pg_stat_get_dead_tuples) is of what sessions have told, and each tells what it has
 * deleted up to ten seconds later: after a VACUUM has taken it away.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/visibilitymap.h"
#include "catalog/pg_am_d.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "retention/remove.h"
#include "store/page.h"

static int64
CountPage(Relation heap, Buffer buffer)
{
	OffsetNumber last;
	int64 ndead = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		HeapTupleData row;
		TransactionId dead_after;

		if (!PageRowAt(heap, buffer, offset, &row))
			continue;
		switch (HeapTupleSatisfiesVacuumHorizon(&row, buffer, &dead_after))
		{
			case HEAPTUPLE_DEAD:
			case HEAPTUPLE_RECENTLY_DEAD:
				ndead++;
				break;
			case HEAPTUPLE_LIVE:
			case HEAPTUPLE_INSERT_IN_PROGRESS:
			case HEAPTUPLE_DELETE_IN_PROGRESS:
				break;
		}
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return ndead;
}

/*
 * Counts the dead rows of a table; a page that is marked all-visible has none, and right after a VACUUM few
 * have no mark.  Errors: 42501 without SELECT, 0A000 where it is no ordinary table.
 */
int64
CountDeadRows(Oid relid)
{
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	Relation heap = table_open(relid, AccessShareLock);
	AclResult allowed = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
	Buffer map = InvalidBuffer;
	BlockNumber nblocks;
	int64 ndead = 0;

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_TABLE, get_rel_name(relid));
	if (heap->rd_rel->relkind != RELKIND_RELATION || heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is not a table of access method heap", RelationGetRelationName(heap))));
	nblocks = RelationGetNumberOfBlocks(heap);
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		Buffer buffer;

		CHECK_FOR_INTERRUPTS();
		if (VM_ALL_VISIBLE(heap, block, &map))
			continue;
		buffer = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		ndead += CountPage(heap, buffer);
		ReleaseBuffer(buffer);
	}
	if (BufferIsValid(map))
		ReleaseBuffer(map);
	FreeAccessStrategy(strategy);
	table_close(heap, AccessShareLock);
	return ndead;
}
