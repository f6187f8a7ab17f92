/*
 * query_scan.h: the rows of a table that may match a query, by the index on tags.
 */
#ifndef MILLRACE_QUERY_SCAN_H
#define MILLRACE_QUERY_SCAN_H

#include "postgres.h"

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

extern QueryScans *QueryScansBegin(Store *store);
extern void QueryScansEnd(QueryScans *scans);

/*
 * Makes a scan, which needs no end of its own; it finds nothing before QueryScanSeek().  The query must live
 * as long.  Errors: MR020 where there is such a problem.
 */
extern QueryScan *QueryScanBegin(QueryScans *scans, const TagQuery *query);

/* Errors: 55000 where the index is younger than the snapshot, and may lack what that sees. */
extern void QueryScanCheckSnapshot(QueryScan *scan, Snapshot snapshot);

/* Goes to where the candidates from `position` on are, up or down. */
extern void QueryScanSeek(QueryScan *scan, int64 position, ScanDirection direction);

/* The next candidate, in the order of positions, each once; false: there is no more. */
extern bool QueryScanNext(QueryScan *scan, Candidate *candidate);

/*
 * Lets go of all pages, which must be done before waiting for a transaction, and before another scan is in
 * use; QueryScanSeek() begins anew.
 */
extern void QueryScanRest(QueryScan *scan);

#endif
