/*
 * api_read.h: arguments that the reading functions for SQL and for JSON share.
 */
#ifndef MILLRACE_API_READ_H
#define MILLRACE_API_READ_H

#include "postgres.h"

#include "fmgr.h"

#include "read.h"

#define DEFAULT_BATCH_SIZE 1000
#define DEFAULT_MAX_ROWS 100

extern int64 ArgBatchSize(FunctionCallInfo fcinfo, int arg);
extern int64 ArgMaxRows(FunctionCallInfo fcinfo, int arg);
extern text *ArgPrefix(FunctionCallInfo fcinfo, int arg);
extern void ArgTexts(FunctionCallInfo fcinfo, int arg, const char *what, text ***texts, int *ntexts);
extern void ArgTypes(FunctionCallInfo fcinfo, int arg, ReadRequest *request);
extern void ArgConsumerGroup(FunctionCallInfo fcinfo, int member, int size, ReadRequest *request);

#endif
