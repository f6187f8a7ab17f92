/*
 * condition.c: a condition as text, where it is as programs write it.
 *
 * To make jsonb of a condition and to take that apart again cost half as much as looking at it.  Here
 * {"failIfEventsMatch": {"items": [...]}, "after": N} is read as it stands, when it is short.
 *
 * Only what is plainly right is read: in UTF-8, no name with an escape, and not many of them.  Everything
 * else, mistakes above all, is left to ConditionsRead(), from the beginning; so what is accepted and each
 * error are its own.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "json/bytes.h"
#include "json/condition.h"
#include "protocol.h"

#define FEW_ITEMS 4
#define FEW_NAMES 16	   /* of all items together; so no limit of a query is met */
#define MAX_INT8_DIGITS 18 /* digits that any int8 has room for */

/* A query of few items and names. */
typedef struct SmallQuery
{
	TagQuery query;
	QueryItem items[FEW_ITEMS];
	Slice names[FEW_NAMES];
} SmallQuery;

typedef struct Reader
{
	const char *next;
	const char *end; /* a NUL is there, which is no part of JSON */
	SmallQuery *query;
	int nnames;
} Reader;

StaticAssertDecl(FEW_ITEMS <= MAX_QUERY_ITEMS && FEW_NAMES <= MAX_QUERY_TYPES &&
					 FEW_NAMES <= MAX_QUERY_TAGS && FEW_NAMES * (FEW_NAMES + 1) <= MAX_QUERY_LOOKUPS,
				 "a small query may break a limit");

/* Takes a character, and the blanks before it. */
static bool
Take(Reader *reader, char c)
{
	while (*reader->next == ' ' || *reader->next == '\n' || *reader->next == '\t' || *reader->next == '\r')
		reader->next++;
	if (*reader->next != c)
		return false;
	reader->next++;
	return true;
}

/* Takes the quote, the rest of a key and the colon behind it. */
static bool
TakeKey(Reader *reader, const char *key)
{
	const char *from = reader->next;
	size_t len = strlen(key);

	if (Take(reader, '"') && strncmp(reader->next, key, len) == 0 && reader->next[len] == '"')
	{
		reader->next += len + 1;
		return Take(reader, ':');
	}
	reader->next = from;
	return false;
}

/* Reads a name into the next of the query's places. */
static bool
ReadName(Reader *reader)
{
	Slice *name = &reader->query->names[reader->nnames];

	if (!Take(reader, '"') || reader->nnames++ == FEW_NAMES)
		return false;
	name->bytes = reader->next;
	reader->next = SkipPlain(reader->next, reader->end);
	if (*reader->next != '"' || reader->next == name->bytes || reader->next - name->bytes > MAX_NAME)
		return false;
	name->len = (int)(reader->next++ - name->bytes);
	return true;
}

/* Reads a list of names; of several lists of an item with one key the last one counts, as in jsonb. */
static bool
ReadNames(Reader *reader, Slice **names, int *n)
{
	int first = reader->nnames;

	if (!Take(reader, '['))
		return false;
	do
	{
		if (!ReadName(reader))
			return false;
	} while (Take(reader, ','));
	*names = &reader->query->names[first];
	*n = reader->nnames - first;
	return Take(reader, ']');
}

static bool
ReadItem(Reader *reader)
{
	TagQuery *query = &reader->query->query;
	QueryItem *item = &reader->query->items[query->nitems];

	if (!Take(reader, '{') || query->nitems++ == FEW_ITEMS)
		return false;
	*item = (QueryItem){.ntypes = 0};
	do
	{
		bool read = TakeKey(reader, "tags")	   ? ReadNames(reader, &item->tags, &item->ntags)
					: TakeKey(reader, "types") ? ReadNames(reader, &item->types, &item->ntypes)
											   : false;

		if (!read)
			return false;
	} while (Take(reader, ','));
	query->nlookups += QueryItemLookups(item);
	return Take(reader, '}');
}

static bool
ReadQuery(Reader *reader)
{
	SmallQuery *query = reader->query;

	query->query = (TagQuery){.items = query->items};
	if (!Take(reader, '{') || !TakeKey(reader, "items") || !Take(reader, '['))
		return false;
	do
	{
		if (!ReadItem(reader))
			return false;
	} while (Take(reader, ','));
	return Take(reader, ']') && Take(reader, '}');
}

static bool
ReadAfter(Reader *reader, int64 *after)
{
	const char *from;
	int64 number = 0;

	while (*reader->next == ' ')
		reader->next++;
	from = reader->next;
	for (; *reader->next >= '0' && *reader->next <= '9'; reader->next++)
	{
		if (reader->next - from == MAX_INT8_DIGITS)
			return false;
		number = number * 10 + (*reader->next - '0');
	}
	*after = number;
	return reader->next > from && (*from != '0' || reader->next == from + 1);
}

Condition *
ConditionFromText(const char *json, size_t len)
{
	Reader reader = {.next = json, .end = json + len};
	int64 after = 0;
	Condition *condition;

	if (GetDatabaseEncoding() != PG_UTF8 || !Take(&reader, '{') || !TakeKey(&reader, "failIfEventsMatch"))
		return NULL;
	reader.query = palloc(sizeof(SmallQuery));
	if (!ReadQuery(&reader) ||
		(Take(&reader, ',') && (!TakeKey(&reader, "after") || !ReadAfter(&reader, &after))) ||
		!Take(&reader, '}') || reader.next != reader.end)
	{
		pfree(reader.query);
		return NULL;
	}
	condition = palloc(sizeof(Condition));
	*condition = (Condition){.query = &reader.query->query, .after = after, .expected = EXPECT_ANY};
	return condition;
}
