/*
 * tags.h: the index on tags and types, an access method of our own.
 *
 * An index of access method millrace_tags has several entries for a row: (hash, global position), one for
 * each distinct hash of the row's tags and of its type.  So the rows with a tag are found in the order of
 * their global positions, from any one on.  A tag is a string in the array `tags` of the metadata's
 * object; whatever else is there is none.
 *
 * Hashes of tags and of types are frozen: what computes them has its version in its name (hashes.c).  Two
 * tags may have the same hash, so an entry is a hint, to be checked in the row.
 *
 * It is nbtree's index, on disk as in memory: nbtree scans, splits, vacuums and logs it (method.c).
 */
#ifndef MILLRACE_TAGS_H
#define MILLRACE_TAGS_H

#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "base/names.h"

/* hashes.c */

extern int64 TagsHashOfTag(Slice tag);
extern int64 TagsHashOfType(Slice type);

/*
 * Returns the distinct hashes of a row's entries, as an array that rises.  Either may be NULL; without
 * `type` it is the tags' alone.  Sets *ntags, which may be NULL, to how many distinct tags there are.
 */
extern ArrayType *TagsHashesOf(Jsonb *metadata, text *type, int *ntags);

/* method.c */

/* What a table's index has its entries of. */
typedef struct TagsShape
{
	bool has_types;
	AttrNumber metadata, type, position; /* columns of the table; `type` is 0 without types */
} TagsShape;

/* Says whether it is an index of tags, and of what. */
extern bool TagsShapeOf(Relation index, TagsShape *shape);

/*
 * Says whether a snapshot may read the index.  One that is older than an index may not, where rows were
 * updated before it was made: it has no entries of their old versions.
 */
extern bool TagsMayRead(Relation index, Snapshot snapshot);

/* scan.c */

/*
 * A scan of the entries of one hash.
 *
 * The row at `tid` counts only if its global position is the entry's: else the entry is of a row that is
 * gone, and its place was given to another.  So nothing need be pinned between an entry and its row.  The
 * entry says nothing of whether the row is visible, nor whether its transaction has ended.
 */
typedef struct TagScan
{
	IndexScanDesc scan;
	ScanDirection direction;
	/* The entry that TagsNext() found. */
	int64 hash;
	int64 position;
	ItemPointerData tid;
} TagScan;

/* Begins a scan; both relations stay the caller's, and open until it ends.  There is nothing in it yet. */
extern TagScan *TagsBegin(Relation heap, Relation index, Snapshot snapshot);

/* Puts it before the entries of a hash: forward those from a global position on, backward from it down. */
extern void TagsSeek(TagScan *scan, int64 hash, int64 position, ScanDirection direction);

/* Goes to the next entry; false: there is no more. */
extern bool TagsNext(TagScan *scan);

/*
 * Says of the entry that was found last that it leads to no row that anyone may still see, so that later
 * scans pass it over.  The next TagsNext() heeds it; not in recovery.
 */
extern void TagsKill(TagScan *scan);

/* Lets go of the index's page; before waiting for a transaction.  TagsSeek() begins anew. */
extern void TagsRest(TagScan *scan);

extern void TagsEnd(TagScan *scan);

/* compare.c */

typedef enum TagsFault
{
	TAGS_MISSING,	 /* an entry that the table demands */
	TAGS_SUPERFLUOUS /* an entry of a row that has not got the hash, or of none */
} TagsFault;

typedef void (*TagsReport)(void *sink, TagsFault fault, int64 hash, int64 position);

/*
 * Compares an index with its table, as a snapshot sees it; tells of each difference.  Takes the time of an
 * index build and memory of maintenance_work_mem; the caller holds AccessShareLock on both, and the
 * snapshot is registered.
 */
extern void TagsCompare(Relation heap, Relation index, Snapshot snapshot, TagsReport report, void *sink);

#endif
