/*
 * internal.h: what the files of this room share.
 */
#ifndef MILLRACE_TAGS_INTERNAL_H
#define MILLRACE_TAGS_INTERNAL_H

#include "postgres.h"

#include "fmgr.h"

#include "tags/tags.h"

/* The columns of an entry. */
enum
{
	ENTRY_HASH = 1,
	ENTRY_POSITION,
	ENTRY_COLUMNS = ENTRY_POSITION
};

/* hashes.c: the functions that index definitions call, both by this name. */
extern Datum millrace_tag_hashes_1(PG_FUNCTION_ARGS);

/* The entries of a row, one after the other. */
typedef struct RowEntries
{
	const int64 *hashes; /* of those to come */
	int nhashes;
	Datum values[ENTRY_COLUMNS]; /* of the one that TagsNextEntry() went to */
	bool isnull[ENTRY_COLUMNS];
} RowEntries;

/* Begins with the values that FormIndexDatum() made for the row, which stay where they are. */
extern RowEntries TagsEntriesOf(const Datum *values, const bool *isnull);
extern bool TagsNextEntry(RowEntries *entries);

/* insert.c */
extern bool TagsInsert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap,
					   IndexUniqueCheck check, bool unchanged, struct IndexInfo *info);

/* create.c */
extern IndexBuildResult *TagsBuild(Relation heap, Relation index, struct IndexInfo *info);

#endif
