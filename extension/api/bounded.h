/*
 * bounded.h: what functions share that look at so many messages and no more.
 */
#ifndef MILLRACE_API_BOUNDED_H
#define MILLRACE_API_BOUNDED_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/hsearch.h"

#include "core/read.h"

/* Arguments.  NULL: any category, or all; the default.  Errors of the limit: MR009 unless it is positive. */
extern void ArgCategory(FunctionCallInfo fcinfo, int arg, ReadRequest *request);
extern void ArgScanLimit(FunctionCallInfo fcinfo, int arg, ReadRequest *request);
extern ReadRequest ArgNewest(FunctionCallInfo fcinfo, int category, int position, int scan_limit);

/* Where the next call goes on; false: there is nothing more. */
extern bool NextPosition(const ReadRequest *request, const ReadOutcome *outcome, int64 *next);
extern void JsonAppendBounds(StringInfo out, const ReadRequest *request, const ReadOutcome *outcome);

/* A hash table whose entries begin with their key, a name as a Slice; and the entry of a name, kept there. */
extern HTAB *NameTable(Size entry_size);
extern void *NameEntry(HTAB *names, Slice name, bool *found);

#endif
