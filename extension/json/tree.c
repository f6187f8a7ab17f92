/*
 * tree.c: jsonb composed of a tree of values, in the form that utils/jsonb.h describes.
 *
 * It is, byte for byte, what JsonbValueToJsonb() makes of the same.  That one wants each value pushed by a
 * call and moved as containers grow, and asks for room piece by piece; together that was six hundredths of
 * what a message costs in a batch.
 */
#include "postgres.h"

#include "json/tree.h"

/* Members of an object that are sorted without memory of their own. */
#define FEW_MEMBERS 32

static char *WriteContainer(const JsonNode *container, char *to);

/* Numbers and containers begin at multiples of four. */
static char *
Pad(char *to)
{
	while (((uintptr_t)to & (sizeof(int32) - 1)) != 0)
		*to++ = '\0';
	return to;
}

static char *
WriteBytes(Slice bytes, char *to)
{
	memcpy(to, bytes.bytes, (size_t)bytes.len);
	return to + bytes.len;
}

/* Writes a value; says in *entry what it is, and its length, in which what it was padded with is. */
static char *
WriteValue(const JsonNode *node, char *to, JEntry *entry)
{
	char *from = to;

	if (node->kind == JENTRY_ISSTRING)
		to = WriteBytes(node->value, to);
	else if (node->kind == JENTRY_ISNUMERIC)
		to = WriteBytes(node->value, Pad(to));
	else if (node->kind == JENTRY_ISCONTAINER)
		to = WriteContainer(node, to);
	*entry = node->kind | (JEntry)(to - from);
	return to;
}

/* In the order of jsonb; the last one of a key comes first. */
static int
CompareMembers(const void *left, const void *right)
{
	const JsonNode *a = *(const JsonNode *const *)left;
	const JsonNode *b = *(const JsonNode *const *)right;
	int order = a->key.len - b->key.len;

	if (order == 0)
		order = memcmp(a->key.bytes, b->key.bytes, (size_t)a->key.len);
	return order != 0 ? order : b->order - a->order;
}

/* Lists the members of an object in order, each key once; returns how many. */
static int
SortMembers(const JsonNode *object, const JsonNode **members)
{
	int n = 0;
	int distinct = 0;

	for (const JsonNode *member = object->first; member; member = member->next)
		members[n++] = member;
	qsort(members, n, sizeof(JsonNode *), CompareMembers);
	for (int i = 0; i < n; i++)
		if (distinct == 0 || !SliceEqual(members[i]->key, members[distinct - 1]->key))
			members[distinct++] = members[i];
	return distinct;
}

/* Finishes the n-th entry: now and then one has its end instead of its length. */
static void
FinishEntry(JEntry *entries, int n, JEntry *end)
{
	*end += JBE_OFFLENFLD(entries[n]);
	if (n % JB_OFFSET_STRIDE == 0)
		entries[n] = (entries[n] & JENTRY_TYPEMASK) | *end | JENTRY_HAS_OFF;
}

static char *
WriteArray(const JsonNode *array, char *to)
{
	JsonbContainer *head = (JsonbContainer *)to;
	JEntry end = 0;
	int n = 0;

	head->header = (uint32)array->nmembers | JB_FARRAY;
	to = (char *)&head->children[array->nmembers];
	for (const JsonNode *element = array->first; element; element = element->next)
	{
		to = WriteValue(element, to, &head->children[n]);
		FinishEntry(head->children, n++, &end);
	}
	return to;
}

static char *
WriteObject(const JsonNode *object, char *to)
{
	const JsonNode *few[FEW_MEMBERS];
	const JsonNode **members =
		object->nmembers <= FEW_MEMBERS ? few : palloc(sizeof(JsonNode *) * object->nmembers);
	int n = SortMembers(object, members);
	JsonbContainer *head = (JsonbContainer *)to;
	JEntry end = 0;

	head->header = (uint32)n | JB_FOBJECT;
	to = (char *)&head->children[(size_t)2 * n];
	for (int i = 0; i < n; i++)
	{
		to = WriteBytes(members[i]->key, to);
		head->children[i] = JENTRY_ISSTRING | (JEntry)members[i]->key.len;
		FinishEntry(head->children, i, &end);
	}
	for (int i = 0; i < n; i++)
	{
		to = WriteValue(members[i], to, &head->children[n + i]);
		FinishEntry(head->children, n + i, &end);
	}
	if (members != few)
		pfree(members);
	return to;
}

static char *
WriteContainer(const JsonNode *container, char *to)
{
	to = Pad(to);
	return container->object ? WriteObject(container, to) : WriteArray(container, to);
}

Jsonb *
JsonbFromTree(const JsonNode *root, Size room)
{
	Jsonb *jsonb = palloc(VARHDRSZ + room);
	char *end = WriteContainer(root, (char *)&jsonb->root);

	Assert(end <= (char *)&jsonb->root + room);
	SET_VARSIZE(jsonb, end - (char *)jsonb);
	return jsonb;
}
