/*
 * prefix.h: a scan that judges every row that an index leads to, for reads by the prefix rule (read.c).
 */
#ifndef MILLRACE_PREFIX_H
#define MILLRACE_PREFIX_H

#include "postgres.h"

#include "access/htup.h"

#include "store/store.h"

typedef enum PrefixStep
{
	PREFIX_ROW,		  /* the snapshot sees this row */
	PREFIX_UNDECIDED, /* it doesn't; the row may still commit, or did so later: the prefix ends below it */
	PREFIX_NO_MORE,
	PREFIX_BOUND /* with PrefixBound(): so many were passed over, and the scan stands on the last */
} PrefixStep;

typedef struct PrefixScan PrefixScan;

extern PrefixScan *PrefixBegin(StoreScan *scan, Snapshot snapshot, ScanDirection direction);
extern void PrefixBound(PrefixScan *prefix, int64 ngone);
extern PrefixStep PrefixNext(PrefixScan *prefix, HeapTuple *row);
extern PrefixScan *PrefixBeginLatest(StoreScan *scan, Snapshot snapshot);
extern void PrefixRest(PrefixScan *prefix);
extern PrefixStep PrefixAt(PrefixScan *prefix, ItemPointer tid, HeapTuple *row);
extern bool PrefixIsDead(PrefixScan *prefix, ItemPointer tid);
extern void PrefixEnd(PrefixScan *prefix);
extern int64 PrefixEntryPosition(StoreScan *scan, HeapTuple row);

#endif
