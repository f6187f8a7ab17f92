/*
 * import_order.c: sorts the rows of an import for each index.
 *
 * Names are compared as little as can be: rows are brought together by the hashes of their streams, which are
 * needed for their locks, and only the streams are put in the order of names.  Rows with equal keys stand
 * together, in their own order.
 */
#include "postgres.h"

#include "port/pg_bswap.h"

#include "core/import_order.h"

/* A row and what it is sorted by first. */
typedef struct SortedRow
{
	uint64 key;
	NewRow *row;
} SortedRow;

/* Rows of one stream, in ImportOrder.by_stream. */
typedef struct StreamRows
{
	NewRow **rows;
	int nrows;
	Slice name;
	Slice category;
} StreamRows;

static int
CompareNumbers(uint64 a, uint64 b)
{
	return a < b ? -1 : a > b;
}

static int
CompareAddresses(const SortedRow *a, const SortedRow *b)
{
	return a->row < b->row ? -1 : a->row > b->row;
}

/* ---- by global position, by id ------------------------------------------------------------------------- */

static int
CompareByKey(const SortedRow *a, const SortedRow *b)
{
	int order = CompareNumbers(a->key, b->key);

	return order ? order : CompareAddresses(a, b);
}

static int
CompareById(const SortedRow *a, const SortedRow *b)
{
	int order = CompareNumbers(a->key, b->key);

	if (!order)
		order = memcmp(a->row->id.data, b->row->id.data, UUID_LEN);
	return order ? order : CompareAddresses(a, b);
}

static int
CompareByStream(const SortedRow *a, const SortedRow *b)
{
	int order = CompareNumbers(a->key, b->key);

	if (!order)
		order = SliceCompare(SliceOfText(a->row->stream), SliceOfText(b->row->stream));
	if (!order)
		order = CompareNumbers((uint64)a->row->position, (uint64)b->row->position);
	return order ? order : CompareAddresses(a, b);
}

#define ST_SORT SortByKey
#define ST_ELEMENT_TYPE SortedRow
#define ST_COMPARE(a, b) CompareByKey(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT SortById
#define ST_ELEMENT_TYPE SortedRow
#define ST_COMPARE(a, b) CompareById(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT SortByStream
#define ST_ELEMENT_TYPE SortedRow
#define ST_COMPARE(a, b) CompareByStream(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static NewRow **
RowsOf(const SortedRow *sorted, int nrows)
{
	NewRow **rows = palloc(sizeof(NewRow *) * nrows);

	for (int i = 0; i < nrows; i++)
		rows[i] = sorted[i].row;
	return rows;
}

static NewRow **
OrderByPosition(NewRow *rows, int nrows, SortedRow *sorted)
{
	for (int i = 0; i < nrows; i++)
		sorted[i] = (SortedRow){(uint64)rows[i].global_position, &rows[i]};
	SortByKey(sorted, nrows);
	return RowsOf(sorted, nrows);
}

static NewRow **
OrderById(NewRow *rows, int nrows, SortedRow *sorted)
{
	for (int i = 0; i < nrows; i++)
	{
		uint64 first;

		memcpy(&first, rows[i].id.data, sizeof(first));
		sorted[i] = (SortedRow){pg_ntoh64(first), &rows[i]};
	}
	SortById(sorted, nrows);
	return RowsOf(sorted, nrows);
}

/* ---- by stream, by category ---------------------------------------------------------------------------- */

/*
 * The rows of a stream mostly come by position, so they are in order once they are together: then each is
 * compared with the next one only.
 */
static void
OrderByStream(ImportOrder *order, Store *store, NewRow *rows, int nrows, SortedRow *sorted)
{
	int first = 0;

	for (int i = 0; i < nrows; i++)
		sorted[i] = (SortedRow){StoreStreamHash(store, SliceOfText(rows[i].stream)), &rows[i]};
	SortByKey(sorted, nrows);
	for (int i = 1; i <= nrows; i++)
		if (i == nrows || sorted[i].key != sorted[first].key)
		{
			SortByStream(&sorted[first], i - first);
			first = i;
		}
	order->by_stream = RowsOf(sorted, nrows);
	order->hashes = palloc(sizeof(uint64) * nrows);
	for (int i = 0; i < nrows; i++)
		order->hashes[i] = sorted[i].key;
}

/* Returns how many streams there are. */
static int
FindStreams(NewRow **by_stream, int nrows, StreamRows *streams)
{
	int n = 0;

	for (int i = 0; i < nrows; i++)
	{
		Slice name = SliceOfText(by_stream[i]->stream);

		if (n == 0 || !SliceEqual(name, streams[n - 1].name))
			streams[n++] = (StreamRows){&by_stream[i], 0, name, NameCategory(name)};
		streams[n - 1].nrows++;
	}
	return n;
}

static int
CompareNames(const void *left, const void *right)
{
	return SliceCompare(((const StreamRows *)left)->name, ((const StreamRows *)right)->name);
}

static int
CompareCategories(const void *left, const void *right)
{
	return SliceCompare(((const StreamRows *)left)->category, ((const StreamRows *)right)->category);
}

static NewRow **
OrderByName(StreamRows *streams, int nstreams, int nrows)
{
	NewRow **rows = palloc(sizeof(NewRow *) * nrows);
	int n = 0;

	qsort(streams, nstreams, sizeof(StreamRows), CompareNames);
	for (int i = 0; i < nstreams; i++)
		for (int j = 0; j < streams[i].nrows; j++)
			rows[n++] = streams[i].rows[j];
	return rows;
}

/* By category, and in each by global position. */
static NewRow **
OrderByCategory(StreamRows *streams, int nstreams, SortedRow *sorted)
{
	int first = 0, n = 0;

	qsort(streams, nstreams, sizeof(StreamRows), CompareCategories);
	for (int i = 0; i < nstreams; i++)
	{
		for (int j = 0; j < streams[i].nrows; j++, n++)
			sorted[n] = (SortedRow){(uint64)streams[i].rows[j]->global_position, streams[i].rows[j]};
		if (i + 1 < nstreams && SliceEqual(streams[i].category, streams[i + 1].category))
			continue;
		SortByKey(&sorted[first], n - first);
		first = n;
	}
	return RowsOf(sorted, n);
}

/* Sorts the rows, of which there is at least one. */
ImportOrder
ImportOrderRows(Store *store, NewRow *rows, int nrows)
{
	SortedRow *sorted = palloc(sizeof(SortedRow) * nrows);
	StreamRows *streams = palloc(sizeof(StreamRows) * nrows);
	ImportOrder order;
	int nstreams;

	order.orders.rows[INDEX_GLOBAL_POSITION] = OrderByPosition(rows, nrows, sorted);
	order.orders.rows[INDEX_ID] = OrderById(rows, nrows, sorted);
	OrderByStream(&order, store, rows, nrows, sorted);
	nstreams = FindStreams(order.by_stream, nrows, streams);
	order.orders.rows[INDEX_STREAM] = OrderByName(streams, nstreams, nrows);
	order.orders.rows[INDEX_CATEGORY] = OrderByCategory(streams, nstreams, sorted);
	pfree(streams);
	pfree(sorted);
	return order;
}
