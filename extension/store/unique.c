/*
 * unique.c: whether a row with the same keys is there, or on its way.
 *
 * Waits for transactions in progress, so never under the append lock.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relscan.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "store/store.h"

/*
 * Finds a live row with these keys, other than the row at `except` (which may be NULL).  Where the only one
 * is of a transaction in progress, waits for its end.  The row is in scan->slot.  The scan's snapshot must be
 * a dirty one.
 */
bool
StoreFindLive(StoreScan *scan, ScanKey keys, int nkeys, ItemPointer except)
{
	Snapshot dirty = scan->scan->xs_snapshot;
	TransactionId other;

	do
	{
		CHECK_FOR_INTERRUPTS();
		other = InvalidTransactionId;
		StoreRescan(scan, keys, nkeys);
		while (StoreScanNext(scan, ForwardScanDirection))
		{
			if (except && ItemPointerEquals(&scan->slot->tts_tid, except))
				continue;
			other = TransactionIdIsValid(dirty->xmin) ? dirty->xmin : dirty->xmax;
			if (!TransactionIdIsValid(other))
				return true;
			break;
		}
		if (TransactionIdIsValid(other))
		{
			ItemPointerData tid = scan->slot->tts_tid;

			StoreRestScan(scan);
			XactLockTableWait(other, scan->store->heap, &tid, XLTW_InsertIndex);
		}
	} while (TransactionIdIsValid(other));
	return false;
}

/* The same by id; the scan is on INDEX_ID. */
bool
StoreFindId(StoreScan *scan, const pg_uuid_t *id, ItemPointer except)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	return StoreFindLive(scan, &key, 1, except);
}

/* Raises MR002 when another row with the row's id is there to stay. */
void
StoreRecheckId(Store *store, NewRow *row)
{
	SnapshotData dirty;
	StoreScan *scan;

	InitDirtySnapshot(dirty);
	scan = StoreBeginScan(store, INDEX_ID, &dirty, 1);
	if (StoreFindId(scan, &row->id, &row->tuple->t_self))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT),
						errmsg("message id %s was stored by another transaction at the same time",
							   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&row->id)))),
						errhint("Repeat the append: it will say whether the message is the same.")));
	StoreEndScan(scan);
}
