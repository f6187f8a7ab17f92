/*
 * undecided.h: rows that a snapshot doesn't see and that may still commit, or did so later.
 */
#ifndef MILLRACE_UNDECIDED_H
#define MILLRACE_UNDECIDED_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "store/store.h"

/* A row that ends a prefix. */
typedef struct Undecided
{
	int64 global_position; /* PG_INT64_MAX: there is none */
	TransactionId xid;
	bool updated; /* a version that an update made */
} Undecided;

extern Undecided FirstUndecidedFrom(Store *store, int64 position, Snapshot snapshot);
extern Undecided FirstUndecided(Store *store, Snapshot snapshot);
extern int64 DecidedTo(Store *store, Snapshot snapshot);
extern int64 DecidedUpTo(Store *store, Snapshot snapshot, int64 last);

#endif
