/*
 * readable.h: from where a read begins.
 */
#ifndef MILLRACE_READABLE_H
#define MILLRACE_READABLE_H

#include "postgres.h"

#include "core/read.h"

extern int64 ReadableFrom(Store *store, const ReadRequest *request, Snapshot snapshot);

#endif
