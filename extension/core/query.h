/*
 * query.h: which messages a decision rests on: queries over types and tags, and conditions made of them.
 *
 * The words are those of dynamic consistency boundaries (https://dcb.events, 2025).  A tag is a string in the
 * array metadata.tags; what else is in that array is none.  A query is items, of which one has to match: an
 * item matches a message of any of its types (all, where it names none) that has all of its tags.
 */
#ifndef MILLRACE_QUERY_H
#define MILLRACE_QUERY_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "base/names.h"

typedef struct QueryItem
{
	Slice *types;
	int ntypes;
	Slice *tags;
	int ntags;
} QueryItem;

typedef struct TagQuery
{
	bool all;		  /* every message; then there are no items */
	QueryItem *items; /* each with a type or a tag */
	int nitems;
	int nlookups; /* in the index: of each type of an item, together with each of its tags */
} TagQuery;

/* How many look-ups an item is. */
static inline int
QueryItemLookups(const QueryItem *item)
{
	return item->ntypes == 0 ? item->ntags : item->ntypes * (item->ntags + 1);
}

/* What has to hold when a request is appended; each of the two kinds has its own members. */
typedef struct Condition
{
	TagQuery *query; /* no message above `after` matches; NULL: of the other kind */
	int64 after;	 /* a global position; 0: none matches at all */
	text *stream;	 /* is at the version `expected` */
	int64 expected;
	/* core/condition.c's own */
	struct QueryScan *scan;
	int64 checked; /* no message up to this position matches */
	struct AppendStream *state;
} Condition;

/*
 * Read {"items": [{"types": [...], "tags": [...]}]} or {"all": true}; and {"failIfEventsMatch": query,
 * "after": position} or {"stream": name, "expectedVersion": version}, or an array of those.  Strings are
 * slices of the value, which must live as long.  `what` names the value in errors: 22023 for another shape,
 * MR006 and MR007 for names that are empty or too long, MR009 for what there is too much of.
 */
extern TagQuery *QueryRead(Jsonb *value, const char *what);
extern Condition *ConditionsRead(Jsonb *value, const char *what, int *nconditions);

/* Whether a message is one of the query's.  metadata: NULL where it has none. */
extern bool QueryMatches(const TagQuery *query, Slice type, Jsonb *metadata);

/* The same of many: puts the numbers of the queries that it is one of into `matching`; returns how many. */
extern int QueriesMatch(const TagQuery *const *queries, int nqueries, Slice type, Jsonb *metadata,
						int *matching);

/* Reads an array of queries, of any length.  Errors as of QueryRead(). */
extern const TagQuery **QueriesRead(Jsonb *value, const char *what, int *nqueries);

/* Calls `take` with each tag of a message, in the order of the array, repeated ones too. */
extern void TagsOfMetadata(Jsonb *metadata, void (*take)(void *arg, Slice tag), void *arg);

#endif
