/*
 * row.h: a message of a row of the table.
 *
 * Inline, since a read does it for each row that it meets.
 */
#ifndef MILLRACE_ROW_H
#define MILLRACE_ROW_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "utils/uuid.h"

#include "core/read.h"
#include "store/store.h"

/*
 * The columns before the first that may be NULL are where they are in every row: three of eight bytes, then
 * the name.
 */
static inline int64
RowInt64(HeapTuple row, int column)
{
	return ((const int64 *)((char *)row->t_data + row->t_data->t_hoff))[column - 1];
}

static inline text *
RowStream(HeapTuple row)
{
	return DatumGetTextPP(PointerGetDatum((char *)row->t_data + row->t_data->t_hoff + 3 * sizeof(int64)));
}

/*
 * Returns where the next text or jsonb begins: one with a short header right here, another where it is
 * aligned.
 */
static inline char *
AlignText(char *place)
{
	return VARATT_NOT_PAD_BYTE(place) ? place : place + (INTALIGN((uintptr_t)place) - (uintptr_t)place);
}

/* heap_deform_tuple() for the one layout that there is, which store/describe.c makes sure of. */
static inline void
DeformRow(HeapTuple row, Datum *values, bool *isnull)
{
	HeapTupleHeader header = row->t_data;
	char *place = (char *)header + header->t_hoff;

	memset(isnull, false, COLUMNS * sizeof(bool));
	for (int column = COLUMN_GLOBAL_POSITION; column <= COLUMN_TIME; column++)
		values[column - 1] = Int64GetDatum(RowInt64(row, column));
	place += COLUMN_TIME * sizeof(int64);
	for (int column = COLUMN_STREAM_NAME; column <= COLUMN_METADATA; column++)
	{
		isnull[column - 1] = HeapTupleHasNulls(row) && att_isnull(column - 1, header->t_bits);
		if (isnull[column - 1])
			continue;
		place = AlignText(place);
		values[column - 1] = PointerGetDatum(place);
		place += VARSIZE_ANY(place);
	}
	values[COLUMN_ID - 1] = PointerGetDatum(place);
}

/* The values of a row's columns, as they are stored. */
static inline void
RowValues(Store *store, HeapTuple row, Datum *values, bool *isnull)
{
	if (HeapTupleHeaderGetNatts(row->t_data) >= COLUMNS)
		DeformRow(row, values, isnull);
	else /* it is older than the last column */
		for (int column = 1; column <= COLUMNS; column++)
			values[column - 1] =
				heap_getattr(row, column, RelationGetDescr(store->heap), &isnull[column - 1]);
}

/* A message but for its data and metadata, which cost most. */
static inline void
MessageHead(const Datum *values, Message *message)
{
	message->stream_text = DatumGetTextPP(values[COLUMN_STREAM_NAME - 1]);
	message->type_text = DatumGetTextPP(values[COLUMN_TYPE - 1]);
	message->stream = SliceOfText(message->stream_text);
	message->type = SliceOfText(message->type_text);
	message->position = DatumGetInt64(values[COLUMN_POSITION - 1]);
	message->global_position = DatumGetInt64(values[COLUMN_GLOBAL_POSITION - 1]);
	message->time = DatumGetTimestamp(values[COLUMN_TIME - 1]);
	message->id = DatumGetUUIDP(values[COLUMN_ID - 1]);
	message->data = message->metadata = NULL;
}

static inline void
MessageContent(const Datum *values, const bool *isnull, Message *message)
{
	message->data = isnull[COLUMN_DATA - 1] ? NULL : DatumGetJsonbP(values[COLUMN_DATA - 1]);
	message->metadata = isnull[COLUMN_METADATA - 1] ? NULL : DatumGetJsonbP(values[COLUMN_METADATA - 1]);
}

/*
 * Makes a message of a row.  It points into the row where it can; what is stored in another form
 * (compressed, out of line, with a short header where there must be a long one) is made anew in the current
 * memory context.
 */
static inline void
MessageFromRow(Store *store, HeapTuple row, Message *message)
{
	Datum values[COLUMNS];
	bool isnull[COLUMNS];

	RowValues(store, row, values, isnull);
	MessageHead(values, message);
	MessageContent(values, isnull, message);
}

#endif
