/*
 * tuple.c: a row's tuple, formed and compressed before the append lock is taken, which keeps that work out of
 * it.
 *
 * It needs no global position: the first three columns are of fixed width and never NULL, so position and
 * time are written into the finished tuple (position.c).
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/toast_internals.h"
#include "utils/guc.h"

#include "store/insert.h"

/*
 * What lz4 compresses although the row would fit without: values of so many bytes, where it saves an eighth.
 * Shorter ones seldom have in them what comes twice, and each read pays for it.
 */
#define SQUEEZE_BYTES 512
#define SQUEEZE_SHARE 8

/*
 * Says whether the server was built with lz4.  It is asked, as it need not be built like the one whose
 * headers this was compiled with, and compressing would be an error then.
 */
static bool
ServerHasLz4(void)
{
	static int known = 0; /* 1: it has; -1: it has not */

	if (known == 0)
		known = set_config_option("default_toast_compression", "lz4", PGC_USERSET, PGC_S_TEST, GUC_ACTION_SET,
								  false, DEBUG5, false) == 0
					? -1
					: 1;
	return known > 0;
}

/*
 * Compresses a value that the toaster would leave alone, as the row is small, where that is cheap: with lz4,
 * unless the server has none, or the column is set to another method.
 */
static Datum
SqueezeValue(Store *store, int column, Datum value)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(store->heap), column - 1);
	Size size = VARSIZE_ANY(DatumGetPointer(value));
	Datum compressed;

	if (size < SQUEEZE_BYTES || size > TOAST_TUPLE_THRESHOLD ||
		attribute->attstorage != TYPSTORAGE_EXTENDED || attribute->attcompression == TOAST_PGLZ_COMPRESSION ||
		!ServerHasLz4())
		return value;
	compressed = toast_compress_datum(value, TOAST_LZ4_COMPRESSION);
	if (!DatumGetPointer(compressed))
		return value;
	return VARSIZE(DatumGetPointer(compressed)) <= size - size / SQUEEZE_SHARE ? compressed : value;
}

/* Compresses a value as the toaster would, where the column's storage allows it and it helps. */
static Datum
CompressValue(Store *store, int column, Datum value)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(store->heap), column - 1);
	Datum compressed = (Datum)0;

	if (VARATT_IS_COMPRESSED(DatumGetPointer(value)))
		return value;
	if (attribute->attstorage == TYPSTORAGE_EXTENDED || attribute->attstorage == TYPSTORAGE_MAIN)
		compressed = toast_compress_datum(value, attribute->attcompression);
	return DatumGetPointer(compressed) ? compressed : value;
}

/* Refuses NULL in a column that a user has made NOT NULL, in the executor's words. */
static void
CheckNotNullColumn(Store *store, int column, const bool *isnull)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(store->heap), column - 1);

	if (isnull[column - 1] && attribute->attnotnull)
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
						errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
							   NameStr(attribute->attname), RelationGetRelationName(store->heap)),
						errtablecol(store->heap, column)));
}

/* The arrays have room for all columns of the table: behind ours are dropped ones, NULL in every row. */
static void
FormTuple(Store *store, NewRow *row, Datum *values, bool *isnull)
{
	values[COLUMN_GLOBAL_POSITION - 1] = Int64GetDatum(0);
	values[COLUMN_POSITION - 1] = Int64GetDatum(row->position);
	values[COLUMN_TIME - 1] = TimestampGetDatum(0);
	values[COLUMN_STREAM_NAME - 1] = PointerGetDatum(row->stream);
	values[COLUMN_TYPE - 1] = PointerGetDatum(row->type);
	values[COLUMN_DATA - 1] = PointerGetDatum(row->data);
	values[COLUMN_METADATA - 1] = PointerGetDatum(row->metadata);
	values[COLUMN_ID - 1] = UUIDPGetDatum(&row->id);
	memset(isnull, false, sizeof(bool) * COLUMNS);
	isnull[COLUMN_DATA - 1] = row->data == NULL;
	isnull[COLUMN_METADATA - 1] = row->metadata == NULL;
	CheckNotNullColumn(store, COLUMN_DATA, isnull);
	CheckNotNullColumn(store, COLUMN_METADATA, isnull);
	for (int column = COLUMN_DATA; column <= COLUMN_METADATA; column++)
		if (!isnull[column - 1])
			values[column - 1] = SqueezeValue(store, column, values[column - 1]);
	row->tuple = heap_form_tuple(RelationGetDescr(store->heap), values, isnull);
	if (row->tuple->t_len <= TOAST_TUPLE_THRESHOLD)
		return;

	/*
	 * What stays too large is moved out of line by heap_insert.  That can't be done here: it would be fetched
	 * and moved once more.
	 */
	for (int column = COLUMN_DATA; column <= COLUMN_METADATA; column++)
		if (!isnull[column - 1])
			values[column - 1] = CompressValue(store, column, values[column - 1]);
	heap_freetuple(row->tuple);
	row->tuple = heap_form_tuple(RelationGetDescr(store->heap), values, isnull);
}

/*
 * Phase 1: forms the tuples of all rows, without their global positions and times, and numbers the rows.
 * Returns whether one is so large that it will be moved out of line.  Errors: 23502 for a NULL that a user's
 * constraint forbids.
 */
bool
InsertionFormTuples(Insertion *insertion)
{
	int natts = RelationGetDescr(insertion->store->heap)->natts;
	Datum *values = palloc0(sizeof(Datum) * natts);
	bool *isnull = palloc(sizeof(bool) * natts);
	bool large = false;

	memset(isnull, true, sizeof(bool) * natts);
	for (int i = 0; i < insertion->nrows; i++)
	{
		NewRow *row = insertion->rows[i];

		row->number = i;
		row->ntag_entries = 0;
		FormTuple(insertion->store, row, values, isnull);
		large = large || row->tuple->t_len > TOAST_TUPLE_THRESHOLD;
	}
	return large;
}
