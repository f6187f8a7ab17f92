/*
 * import.h: storing messages that bring their own positions, ids and times.
 */
#ifndef MILLRACE_IMPORT_H
#define MILLRACE_IMPORT_H

#include "postgres.h"

#include "core/import_order.h"
#include "store/store.h"

typedef struct ImportVerdict
{
	int failed; /* index of the first row refused; -1: none */
	char *message;
} ImportVerdict;

extern ImportVerdict ImportJudge(Store *store, NewRow *rows, int nrows, ImportOrder *order);
extern void ImportStore(Store *store, const ImportOrder *order, int nrows);

#endif
