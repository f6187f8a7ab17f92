/*
 * import_order.h: the rows of an import in the orders in which they are checked and stored.
 */
#ifndef MILLRACE_IMPORT_ORDER_H
#define MILLRACE_IMPORT_ORDER_H

#include "postgres.h"

#include "store/store.h"

typedef struct ImportOrder
{
	StoreOrders orders;
	/* Stream by stream, in the order of the streams' hashes, and by position. */
	NewRow **by_stream;
	uint64 *hashes; /* those of their streams */
} ImportOrder;

extern ImportOrder ImportOrderRows(Store *store, NewRow *rows, int nrows);

#endif
