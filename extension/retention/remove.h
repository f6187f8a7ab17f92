/*
 * remove.h: the one way to remove messages.
 */
#ifndef MILLRACE_REMOVE_H
#define MILLRACE_REMOVE_H

#include "postgres.h"

#include "utils/uuid.h"

#include "store/store.h"

typedef struct RemoveStream
{
	text *stream;
	int64 before;	/* messages at positions below go; lowered to where `max_rows` ends */
	int64 max_rows; /* of them, at most */
	int64 wanted;	/* or nothing: as many go; 0: any */
	/* results */
	int64 removed;
	int64 first;		/* the position of the first one that stays; -1: none does */
	bool more;			/* that was to go */
	int64 first_global; /* of those that went; 0: none did */
	int64 last_global;
} RemoveStream;

typedef struct RemoveOptions
{
	bool forget;	   /* keep no version of a stream that goes wholly */
	bool remember_ids; /* so that a late retry of one is refused, for a day */
	bool record;	   /* in millrace.removals */
} RemoveOptions;

extern void RemoveCheckAllowed(void);
extern Store *RemoveOpen(const char *namespace_name);
extern void RemoveRows(Store *store, RemoveStream *streams, int nstreams, RemoveOptions options);
extern int64 RemoveIds(Store *store, const pg_uuid_t *ids, int nids, RemoveOptions options);

/* create.c */
extern void RemoveCreateFloors(Oid schema);

/* dead.c */
extern int64 CountDeadRows(Oid relid);

#endif
