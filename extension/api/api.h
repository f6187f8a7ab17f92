/*
 * api.h: what the SQL functions share: checks of arguments, rows of results.
 */
#ifndef MILLRACE_API_H
#define MILLRACE_API_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

/* selection.c */

extern void SelectionDefineSettings(void);

/*
 * The namespace that is selected: SET millrace.namespace.  NULL: by a setting that does not count
 * (millrace.transaction_pooling).
 */
extern const char *SelectedNamespace(void);

/* A set-returning function's result, gathered as rows of the declared type. */
typedef struct ResultSet
{
	TupleDesc desc;
	Tuplestorestate *rows;
} ResultSet;

extern ResultSet *ResultSetBegin(FunctionCallInfo fcinfo);
extern ResultSet *ResultSetBeginOf(FunctionCallInfo fcinfo, const Oid *types, int ntypes);
extern void ResultSetPut(ResultSet *set, Datum *values, bool *isnull);

extern TupleDesc ResultRowType(FunctionCallInfo fcinfo);

/* A row type that users can alter is looked at where its rows are made or taken apart. */
extern void CheckRowType(TupleDesc desc, const Oid *types, int ntypes);

/* Arguments.  `what` is the argument's name as users know it. */
extern text *ArgName(FunctionCallInfo fcinfo, int arg, const char *what);
extern text *ArgTextOrNull(FunctionCallInfo fcinfo, int arg);
extern int64 ArgInt64(FunctionCallInfo fcinfo, int arg, int64 if_null);
extern char *ArgNamespace(FunctionCallInfo fcinfo, int arg);
extern const char *ArgNamespaceOr(FunctionCallInfo fcinfo, int arg, const char *selected);

/* Checks that raise MR005 to MR009. */
extern void CheckNotNull(bool isnull, const char *what);
extern void CheckName(text *name, const char *what);
extern void CheckObject(Jsonb *value, const char *what);
extern void CheckExpectedVersion(int64 version);

#endif
