/*
 * query.c: queries and conditions as JSON, and whether a message matches.
 *
 * Everything that is not said is refused, and an empty list too: a query that came out empty by a mistake
 * must not become one for everything, nor a condition one that always holds.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/errors.h"
#include "base/numbers.h"
#include "core/query.h"

/* ---- members of JSON ------------------------------------------------------------------------------- */

/* A value and where it is: the root, a member of a place, or an element. */
typedef struct Place
{
	JsonbValue value;
	const struct Place *of; /* NULL: the root */
	const char *name;		/* of the root or the member; NULL: an element */
	int index;
} Place;

/* How errors name it, as in "query.items[2].tags". */
static const char *
NameOf(const Place *place)
{
	if (!place->of)
		return place->name;
	return place->name ? psprintf("%s.%s", NameOf(place->of), place->name)
					   : psprintf("%s[%d]", NameOf(place->of), place->index);
}

static const char *
KindOf(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		default:
			return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) ? "an array"
																							: "an object";
	}
}

static void
RefuseKind(const Place *place, const char *wanted)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%s must be %s, not %s", NameOf(place), wanted, KindOf(&place->value))));
}

static JsonbContainer *
ObjectAt(const Place *place)
{
	if (place->value.type != jbvBinary || !JsonContainerIsObject(place->value.val.binary.data))
		RefuseKind(place, "an object");
	return place->value.val.binary.data;
}

/* An array of 1 to `most` elements.  Errors: 22023, MR009. */
static JsonbContainer *
ArrayAt(const Place *place, int most)
{
	JsonbContainer *array;
	int n;

	if (place->value.type != jbvBinary || !JsonContainerIsArray(place->value.val.binary.data))
		RefuseKind(place, "an array");
	array = place->value.val.binary.data;
	n = (int)JsonContainerSize(array);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be empty", NameOf(place))));
	if (n > most)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("%s has %d elements; at most %d are allowed", NameOf(place), n, most)));
	return array;
}

static Place
ElementAt(JsonbContainer *array, int i, const Place *of)
{
	return (Place){.value = *getIthJsonbValueFromContainer(array, (uint32)i), .of = of, .index = i};
}

/* The root of a jsonb. */
static Place
RootOf(Jsonb *value, const char *name)
{
	Place root = {.name = name};

	if (JB_ROOT_IS_SCALAR(value))
		root.value = *getIthJsonbValueFromContainer(&value->root, 0);
	else
	{
		root.value.type = jbvBinary;
		root.value.val.binary.data = &value->root;
		root.value.val.binary.len = (int)VARSIZE_ANY_EXHDR(value);
	}
	return root;
}

/* Refuses the first key of an object that is none of these. */
static void
RefuseOtherKey(const Place *object, const char *const *keys, int nkeys)
{
	JsonbIterator *iterator = JsonbIteratorInit(ObjectAt(object));
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		bool known = token != WJB_KEY;

		for (int i = 0; i < nkeys && !known; i++)
			known = SliceEqual((Slice){value.val.string.val, value.val.string.len},
							   (Slice){keys[i], (int)strlen(keys[i])});
		if (!known)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s has no member \"%s\"", NameOf(object),
								   pnstrdup(value.val.string.val, value.val.string.len))));
	}
}

/* Finds a member; false: there is none. */
static bool
MemberAt(const Place *object, const char *key, Place *member)
{
	member->of = object;
	member->name = key;
	return getKeyJsonValueFromContainer(ObjectAt(object), key, (int)strlen(key), &member->value) != NULL;
}

/* Finds the members of these two keys, of which the object has no others. */
static void
MembersAt(const Place *object, const char *const keys[2], Place members[2], bool found[2])
{
	uint32 n = 0;

	for (int i = 0; i < 2; i++)
	{
		found[i] = MemberAt(object, keys[i], &members[i]);
		n += found[i];
	}
	if (JsonContainerSize(ObjectAt(object)) > n)
		RefuseOtherKey(object, keys, 2);
}

/* A string of 1 to MAX_NAME bytes.  Errors: 22023, MR006, MR007. */
static Slice
NameAt(const Place *place)
{
	Slice name;

	if (place->value.type != jbvString)
		RefuseKind(place, "a string");
	name = (Slice){place->value.val.string.val, place->value.val.string.len};
	if (name.len == 0)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_EMPTY_NAME), errmsg("%s must not be empty", NameOf(place))));
	if (name.len > MAX_NAME)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_TOO_LONG),
						errmsg("%s is too long: %d bytes, at most %d are allowed", NameOf(place), name.len,
							   MAX_NAME)));
	return name;
}

/* A whole number, at least `least`, which is 0 or below.  Errors: 22023, MR009. */
static int64
IntegerAt(const Place *place, int64 least)
{
	int64 number;

	if (place->value.type != jbvNumeric)
		RefuseKind(place, "a whole number");
	if (!NumberToInt64(place->value.val.numeric, least, &number))
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("%s is out of range: %s", NameOf(place), NumberText(place->value.val.numeric)),
						errhint("It is a whole number, at least " INT64_FORMAT ".", least)));
	return number;
}

/* ---- queries --------------------------------------------------------------------------------------- */

/* The names of a list. */
static Slice *
NamesAt(const Place *list, int most, int *n)
{
	JsonbContainer *array = ArrayAt(list, most);
	Slice *names;

	*n = (int)JsonContainerSize(array);
	names = palloc(sizeof(Slice) * *n);
	for (int i = 0; i < *n; i++)
	{
		Place element = ElementAt(array, i, list);

		names[i] = NameAt(&element);
	}
	return names;
}

static QueryItem
ItemAt(const Place *place)
{
	static const char *const keys[2] = {"types", "tags"};
	QueryItem item = {.ntypes = 0};
	Place members[2];
	bool found[2];

	MembersAt(place, keys, members, found);
	if (found[0])
		item.types = NamesAt(&members[0], MAX_QUERY_TYPES, &item.ntypes);
	if (found[1])
		item.tags = NamesAt(&members[1], MAX_QUERY_TAGS, &item.ntags);
	if (item.ntypes + item.ntags == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s has neither types nor tags", NameOf(place)),
						errhint("A query for every message is {\"all\": true}.")));
	return item;
}

static TagQuery *
QueryAt(const Place *place)
{
	static const char *const keys[2] = {"all", "items"};
	TagQuery *query = palloc0(sizeof(TagQuery));
	Place members[2];
	const Place *all = &members[0], *items = &members[1];
	JsonbContainer *array;
	bool found[2];

	MembersAt(place, keys, members, found);
	if (found[0] == found[1])
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must have either \"items\" or \"all\"", NameOf(place))));
	if (found[0])
	{
		if (all->value.type != jbvBool || !all->value.val.boolean)
			RefuseKind(all, "true");
		query->all = true;
		query->nlookups = 1;
		return query;
	}
	array = ArrayAt(items, MAX_QUERY_ITEMS);
	query->nitems = (int)JsonContainerSize(array);
	query->items = palloc(sizeof(QueryItem) * query->nitems);
	for (int i = 0; i < query->nitems; i++)
	{
		Place element = ElementAt(array, i, items);

		query->items[i] = ItemAt(&element);
		query->nlookups += QueryItemLookups(&query->items[i]);
	}
	if (query->nlookups > MAX_QUERY_LOOKUPS)
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
				 errmsg("%s needs %d look-ups; at most %d are allowed", NameOf(place), query->nlookups,
						MAX_QUERY_LOOKUPS),
				 errhint("Each type of an item is looked up by itself, together with each of its tags.")));
	return query;
}

TagQuery *
QueryRead(Jsonb *value, const char *what)
{
	Place root = RootOf(value, what);

	return QueryAt(&root);
}

const TagQuery **
QueriesRead(Jsonb *value, const char *what, int *nqueries)
{
	Place root = RootOf(value, what);
	JsonbContainer *array = ArrayAt(&root, INT_MAX);
	const TagQuery **queries;

	*nqueries = (int)JsonContainerSize(array);
	queries = palloc(sizeof(TagQuery *) * *nqueries);
	for (int i = 0; i < *nqueries; i++)
	{
		Place element = ElementAt(array, i, &root);

		queries[i] = QueryAt(&element);
	}
	return queries;
}

/* ---- conditions ------------------------------------------------------------------------------------ */

static Condition
ConditionOnStream(const Place *place)
{
	static const char *const keys[2] = {"stream", "expectedVersion"};
	Condition condition = {.query = NULL};
	Place members[2];
	bool found[2];
	Slice name;

	MembersAt(place, keys, members, found);
	name = NameAt(&members[0]);
	condition.stream = cstring_to_text_with_len(name.bytes, name.len);
	if (!found[1])
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s has no \"expectedVersion\"", NameOf(place))));
	condition.expected = IntegerAt(&members[1], NO_STREAM);
	return condition;
}

static Condition
ConditionOnQuery(const Place *place)
{
	static const char *const keys[2] = {"failIfEventsMatch", "after"};
	Condition condition = {.expected = EXPECT_ANY};
	Place members[2];
	bool found[2];

	MembersAt(place, keys, members, found);
	if (!found[0])
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s has neither \"failIfEventsMatch\" nor \"stream\"", NameOf(place))));
	condition.query = QueryAt(&members[0]);
	if (found[1])
		condition.after = IntegerAt(&members[1], 0);
	return condition;
}

static Condition
ConditionAt(const Place *place)
{
	Place stream;

	return MemberAt(place, "stream", &stream) ? ConditionOnStream(place) : ConditionOnQuery(place);
}

Condition *
ConditionsRead(Jsonb *value, const char *what, int *nconditions)
{
	Place root = RootOf(value, what);
	JsonbContainer *array;
	Condition *conditions;
	int lookups = 0;

	if (root.value.type != jbvBinary || !JsonContainerIsArray(root.value.val.binary.data))
	{
		conditions = palloc(sizeof(Condition));
		conditions[0] = ConditionAt(&root);
		*nconditions = 1;
		return conditions;
	}
	array = ArrayAt(&root, MAX_CONDITIONS);
	*nconditions = (int)JsonContainerSize(array);
	conditions = palloc(sizeof(Condition) * *nconditions);
	for (int i = 0; i < *nconditions; i++)
	{
		Place element = ElementAt(array, i, &root);

		conditions[i] = ConditionAt(&element);
		lookups += conditions[i].query ? conditions[i].query->nlookups : 0;
	}
	if (lookups > MAX_QUERY_LOOKUPS)
		ereport(ERROR,
				(errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
				 errmsg("%s needs %d look-ups; at most %d are allowed", what, lookups, MAX_QUERY_LOOKUPS)));
	return conditions;
}

/* ---- messages -------------------------------------------------------------------------------------- */

void
TagsOfMetadata(Jsonb *metadata, void (*take)(void *arg, Slice tag), void *arg)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue tags, element;

	if (!metadata || !JB_ROOT_IS_OBJECT(metadata) ||
		!getKeyJsonValueFromContainer(&metadata->root, "tags", 4, &tags) || tags.type != jbvBinary ||
		!JsonContainerIsArray(tags.val.binary.data))
		return;
	iterator = JsonbIteratorInit(tags.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && element.type == jbvString)
			take(arg, (Slice){element.val.string.val, element.val.string.len});
	}
}

/* The tags of a message. */
typedef struct TagList
{
	Slice *tags;
	int ntags;
	int room;
} TagList;

static void
AddTag(void *arg, Slice tag)
{
	TagList *list = arg;

	if (list->ntags == list->room)
	{
		list->room = Max(2 * list->room, 16);
		list->tags = list->tags ? repalloc(list->tags, sizeof(Slice) * list->room)
								: palloc(sizeof(Slice) * list->room);
	}
	list->tags[list->ntags++] = tag;
}

static bool
IsAmong(const Slice *names, int nnames, Slice name)
{
	for (int i = 0; i < nnames; i++)
		if (SliceEqual(names[i], name))
			return true;
	return false;
}

static bool
ItemMatches(const QueryItem *item, Slice type, const TagList *list)
{
	if (item->ntypes > 0 && !IsAmong(item->types, item->ntypes, type))
		return false;
	for (int i = 0; i < item->ntags; i++)
		if (!IsAmong(list->tags, list->ntags, item->tags[i]))
			return false;
	return true;
}

int
QueriesMatch(const TagQuery *const *queries, int nqueries, Slice type, Jsonb *metadata, int *matching)
{
	TagList list = {NULL, 0, 0};
	int nmatching = 0;

	TagsOfMetadata(metadata, AddTag, &list);
	for (int i = 0; i < nqueries; i++)
	{
		const TagQuery *query = queries[i];
		bool matches = query->all;

		for (int j = 0; j < query->nitems && !matches; j++)
			matches = ItemMatches(&query->items[j], type, &list);
		if (matches)
			matching[nmatching++] = i;
	}
	if (list.tags)
		pfree(list.tags);
	return nmatching;
}

bool
QueryMatches(const TagQuery *query, Slice type, Jsonb *metadata)
{
	int matching;

	return QueriesMatch(&query, 1, type, metadata, &matching) > 0;
}
