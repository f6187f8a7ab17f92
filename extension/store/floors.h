/*
 * floors.h: what is left of messages that were removed.
 */
#ifndef MILLRACE_FLOORS_H
#define MILLRACE_FLOORS_H

#include "postgres.h"

#include "utils/uuid.h"

#include "protocol.h"
#include "store/beside.h"
#include "store/store.h"

#define FLOOR_KEY_LEN IMPORT_FLOOR_KEY_LEN

enum /* columns of stream_floors */
{
	FLOOR_STREAM,
	FLOOR_VERSION,
	FLOOR_CLOSED,
	FLOOR_RESTORED,
	FLOOR_COLUMNS
};

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
extern void StoreForgetRemains(Relation messages);
extern bool StoreFindFloor(Store *store, text *stream, Snapshot snapshot, Floor *floor);
extern void StoreSetFloor(Store *store, text *stream, const Floor *floor);
extern void StoreMarkFloors(Store *store, bytea *key);
extern void StoreDropFloor(Store *store, text *stream);
extern bool StoreIdWasRemoved(Store *store, const pg_uuid_t *id);
extern void StoreRememberIds(Store *store, const pg_uuid_t *ids, int nids);

/* A stream is known by its key alone. */
typedef struct FloorOfKey
{
	char key[FLOOR_KEY_LEN];
	Floor floor;
} FloorOfKey;

/* Takes a floor, which transaction `xmin` wrote; returns false to end the read after it. */
typedef bool (*FloorSink)(void *arg, bytea *key, const Floor *floor, TransactionId xmin);

/* floors.c, for floors_bulk.c */
extern bool StoreOpenFloors(Beside *floors, Store *store, LOCKMODE lockmode);
extern bool StoreFindFloorRow(Beside *floors, bytea *stream, Snapshot snapshot, BesideRow *row);
extern Floor StoreFloorOfRow(const BesideRow *row);
extern void StoreFloorToRow(BesideRow *row, bytea *key, const Floor *floor);

/* floors_bulk.c */
extern void StoreReadFloors(Store *store, bytea *after, FloorSink sink, void *arg);
extern void StoreNoteLoss(Store *store);
extern void StoreBringFloors(Store *store, const FloorOfKey *floors, int nfloors);

#endif
