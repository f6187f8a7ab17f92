/*
 * query_scan.h: the rows of a table that may match a query, by the index on tags.
 */
#ifndef MILLRACE_QUERY_SCAN_H
#define MILLRACE_QUERY_SCAN_H

#include "postgres.h"

#include "core/prefix.h"
#include "core/query.h"
#include "store/store.h"

/* What the scans of a table share, of which one is in use at a time: the others rest. */
typedef struct QueryScans QueryScans;
typedef struct QueryScan QueryScan;

/* A place that an entry of the index leads to.  A row is there, or was. */
typedef struct Candidate
{
	int64 global_position; /* which the row must have; else another one took its place */
	ItemPointerData tid;
} Candidate;

/*
 * Why the query can't be answered: the table has no index on tags, or none with types for an item that has
 * nothing else; and what to do.  NULL: it can.
 */
extern const char *QueryScanProblem(Store *store, const TagQuery *query, const char **hint);

/* Errors: MR020 where there is such a problem. */
extern void QueryScanCheck(Store *store, const TagQuery *query);

extern QueryScans *QueryScansBegin(Store *store);
extern void QueryScansEnd(QueryScans *scans);

/*
 * Makes a scan, which needs no end of its own; it finds nothing before QueryScanSeek().  The query must live
 * as long.  Errors: MR020 where there is such a problem.
 */
extern QueryScan *QueryScanBegin(QueryScans *scans, const TagQuery *query);

/* Errors: 55000 where the index is younger than the snapshot, and may lack what that sees. */
extern void QueryScanCheckSnapshot(QueryScan *scan, Snapshot snapshot);

/*
 * From now on each entry that the scan looks at takes a step from *steps, and each descent in the index two.
 * Where there are none left it finds nothing more, and *steps is below 0.  NULL: it goes as far as it takes.
 */
extern void QueryScanBound(QueryScan *scan, int *steps);

/* Goes to where the candidates from `position` on are, up or down. */
extern void QueryScanSeek(QueryScan *scan, int64 position, ScanDirection direction);

/* The next candidate, in the order of positions, each once; false: there is no more. */
extern bool QueryScanNext(QueryScan *scan, Candidate *candidate);

/*
 * Judges the row that the last candidate leads to, as PrefixAt(), and whether it has the candidate's
 * position.  A place where is none that anyone may still see is passed over by later scans.
 */
extern PrefixStep QueryScanJudge(QueryScan *scan, PrefixScan *prefix, HeapTuple *row);

/*
 * Goes to the next candidate's row, which is the prefix scan's (PrefixAt()) and has the candidate's position.
 * PREFIX_UNDECIDED: it may match.  PREFIX_NO_MORE: there is none.
 */
extern PrefixStep QueryScanNextRow(QueryScan *scan, PrefixScan *prefix, HeapTuple *row);

/*
 * Lets go of all pages, which must be done before waiting for a transaction, and before another scan is in
 * use; QueryScanSeek() begins anew.
 */
extern void QueryScanRest(QueryScan *scan);

#endif
