/*
 * floors.h: what is left of messages that were removed.
 */
#ifndef MILLRACE_FLOORS_H
#define MILLRACE_FLOORS_H

#include "postgres.h"

#include "utils/uuid.h"

#include "store/store.h"

/* What a stream's version may not fall below. */
typedef struct Floor
{
	int64 version;
	bool closed;   /* at that version */
	bool restored; /* messages were brought back below it */
} Floor;

/* Whether there is any. */
typedef struct Remains
{
	bool floors;
	bool restored;
	bool removed_ids;
} Remains;

extern bytea *StoreFloorKey(text *stream);
extern bool StoreHasFloors(Store *store);
extern Remains StoreRemains(Store *store);
extern bool StoreFindFloor(Store *store, text *stream, Snapshot snapshot, Floor *floor);
extern void StoreSetFloor(Store *store, text *stream, const Floor *floor);
extern void StoreDropFloor(Store *store, text *stream);
extern bool StoreIdWasRemoved(Store *store, const pg_uuid_t *id);
extern void StoreRememberIds(Store *store, const pg_uuid_t *ids, int nids);

#endif
