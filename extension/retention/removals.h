/*
 * removals.h: whether a reader would miss what was removed, and up to where that was.
 */
#ifndef MILLRACE_REMOVALS_H
#define MILLRACE_REMOVALS_H

#include "postgres.h"

#include "store/store.h"

extern void RemovalsCheckStream(Store *store, text *stream, int64 position, int64 global_position,
								int64 seen);
extern bool RemovalsReach(const char *namespace_name, int64 position);
extern void RemovalsCheckCategory(Store *store, const char *namespace_name, text *category, int64 position,
								  int64 seen);
extern int64 RemovalsEnd(const char *namespace_name, int64 position);
extern void RemovalsForget(Oid schema);

#endif
