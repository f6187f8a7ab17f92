/*
 * names.h: what a stream's name says.
 *
 * A name is bytes with a length.  category: before the first '-', or all.  id: after the first
 * '-'; none without a dash.  cardinal id: the id up to its first '+'.  hash_64: the first eight
 * bytes of the MD5, big-endian, signed.  All from Message DB, whose consumer groups depend on them.
 */
#ifndef MILLRACE_NAMES_H
#define MILLRACE_NAMES_H

#include "postgres.h"

#include "base/compat.h"
#include "fmgr.h"

typedef struct Slice
{
	const char *bytes;
	int len;
} Slice;

/* A view of a text's bytes; valid as long as the text (which must not be toasted). */
#define SliceOfText(t) ((Slice){VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)})

/* Compare bytes, as COLLATE "C" does. */
extern int SliceCompare(Slice a, Slice b);
extern bool SliceEqual(Slice a, Slice b);

/* The parts of a name, which the head of this file describes.  False: the name has no id. */
extern Slice NameCategory(Slice name);
extern bool NameStreamId(Slice name, Slice *id);
extern bool NameCardinalId(Slice name, Slice *id);
extern int64 NameHash64(Slice name);

/* Says whether a stream is the given member's share of a group; a name without an id is no member's. */
extern bool NameIsMembers(Slice name, int64 member, int64 size);

extern Datum millrace_category(PG_FUNCTION_ARGS);

#endif
