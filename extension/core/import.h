/*
 * import.h: storing messages that bring their own positions, ids and times.
 */
#ifndef MILLRACE_IMPORT_H
#define MILLRACE_IMPORT_H

#include "postgres.h"

#include "store/store.h"

typedef struct ImportVerdict
{
	int failed; /* index of the first row refused; -1: all are stored */
	char *message;
} ImportVerdict;

extern ImportVerdict ImportRows(Store *store, NewRow *rows, int nrows);

#endif
