/*
 * version.h: at what version a stream is.
 */
#ifndef MILLRACE_VERSION_H
#define MILLRACE_VERSION_H

#include "postgres.h"

#include "store/store.h"

typedef struct StreamEnd
{
	int64 version; /* NO_STREAM: there never was a message, or the stream is forgotten */
	bool closed;
} StreamEnd;

extern StreamEnd VersionFind(StoreScan *scan, text *stream, int64 from);
extern StreamEnd VersionOf(Store *store, text *stream);
extern char *VersionConflictText(text *stream, int64 expected, int64 actual);
extern void VersionRaiseConflict(text *stream, int64 expected, int64 actual) __attribute__((noreturn));

#endif
