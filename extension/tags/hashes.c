/*
 * hashes.c: the hashes of a row's tags and of its type.
 *
 * Version 1 is XXH64 of the bytes, as UTF-8 or whatever the database's encoding is, with seed 0 for a tag
 * and 1 for a type.  Indexes on disk are made of it: another hash would be another function, and another
 * index.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "tags/internal.h"
#include "tags/xxh64.h"

#define SEED_TAG 0
#define SEED_TYPE 1

PG_FUNCTION_INFO_V1(millrace_tag_hashes_1);

int64
TagsHashOfTag(Slice tag)
{
	return (int64)Xxh64(tag.bytes, tag.len, SEED_TAG);
}

int64
TagsHashOfType(Slice type)
{
	return (int64)Xxh64(type.bytes, type.len, SEED_TYPE);
}

/* Returns the array `tags` of an object; NULL when there is none. */
static JsonbContainer *
FindTags(Jsonb *metadata)
{
	JsonbValue buffer;
	JsonbValue *tags;

	if (!metadata || !JB_ROOT_IS_OBJECT(metadata))
		return NULL;
	tags = getKeyJsonValueFromContainer(&metadata->root, "tags", 4, &buffer);
	return tags && tags->type == jbvBinary && JsonContainerIsArray(tags->val.binary.data)
			   ? tags->val.binary.data
			   : NULL;
}

/* Puts the hash of each string of an array behind one another; returns how many. */
static int
HashStrings(JsonbContainer *array, Datum *hashes)
{
	JsonbIterator *iterator = JsonbIteratorInit(array);
	JsonbValue value;
	JsonbIteratorToken token;
	int n = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM && value.type == jbvString)
			hashes[n++] = Int64GetDatum(TagsHashOfTag((Slice){value.val.string.val, value.val.string.len}));
	return n;
}

static int
CompareHashes(const void *left, const void *right)
{
	int64 a = DatumGetInt64(*(const Datum *)left);
	int64 b = DatumGetInt64(*(const Datum *)right);

	return a < b ? -1 : a > b;
}

/* Sorts hashes and drops those that are there already; returns how many are left. */
static int
MakeDistinct(Datum *hashes, int n)
{
	int distinct = 0;

	qsort(hashes, n, sizeof(Datum), CompareHashes);
	for (int i = 0; i < n; i++)
		if (distinct == 0 || DatumGetInt64(hashes[i]) != DatumGetInt64(hashes[distinct - 1]))
			hashes[distinct++] = hashes[i];
	return distinct;
}

ArrayType *
TagsHashesOf(Jsonb *metadata, text *type, int *ntags)
{
	JsonbContainer *tags = FindTags(metadata);
	Datum *hashes = palloc(sizeof(Datum) * ((tags ? JsonContainerSize(tags) : 0) + 1));
	int n = tags ? MakeDistinct(hashes, HashStrings(tags, hashes)) : 0;
	ArrayType *array;

	if (ntags)
		*ntags = n;
	if (type)
	{
		hashes[n++] = Int64GetDatum(TagsHashOfType(SliceOfText(type)));
		n = MakeDistinct(hashes, n);
	}
	array = construct_array(hashes, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	pfree(hashes);
	return array;
}

RowEntries
TagsEntriesOf(const Datum *values, const bool *isnull)
{
	ArrayType *hashes = (ArrayType *)DatumGetPointer(values[ENTRY_HASH - 1]);

	if (isnull[ENTRY_HASH - 1] || VARATT_IS_EXTENDED(hashes) || ARR_ELEMTYPE(hashes) != INT8OID ||
		ARR_HASNULL(hashes))
		elog(ERROR, "an index of tags is given something other than their hashes");
	return (RowEntries){
		.hashes = (const int64 *)ARR_DATA_PTR(hashes),
		.nhashes = ArrayGetNItems(ARR_NDIM(hashes), ARR_DIMS(hashes)),
		.values = {0, values[ENTRY_POSITION - 1]},
		.isnull = {false, isnull[ENTRY_POSITION - 1]},
	};
}

bool
TagsNextEntry(RowEntries *entries)
{
	if (entries->nhashes == 0)
		return false;
	entries->values[ENTRY_HASH - 1] = Int64GetDatum(*entries->hashes++);
	entries->nhashes--;
	return true;
}

/* tag_hashes_1(metadata jsonb [, type text]) RETURNS bigint[]: what TagsHashesOf() does. */
Datum
millrace_tag_hashes_1(PG_FUNCTION_ARGS)
{
	Jsonb *metadata = PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0);
	text *type = PG_NARGS() < 2 || PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);

	PG_RETURN_ARRAYTYPE_P(TagsHashesOf(metadata, type, NULL));
}
