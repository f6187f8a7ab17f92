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
extern void RefuseRowType(TupleDesc desc, const char *problem);

/*
 * Arguments, each by its number.  `what` is its name as users know it.  ArgName: a name that CheckName()
 * lets pass; ArgNamespace: one that is not NULL; ArgNamespaceOr: the selected one for NULL, 55000 where
 * that does not count.  Errors: MR005 for a NULL where there must be none.
 */
extern text *ArgName(FunctionCallInfo fcinfo, int arg, const char *what);
extern text *ArgTextOrNull(FunctionCallInfo fcinfo, int arg);
extern int64 ArgInt64(FunctionCallInfo fcinfo, int arg, int64 if_null);
extern char *ArgNamespace(FunctionCallInfo fcinfo, int arg);
extern const char *ArgNamespaceOr(FunctionCallInfo fcinfo, int arg, const char *selected);

/* Checks: MR005 for NULL, MR006 and MR007 for a name, MR008 for what is no object, MR009 for a version. */
extern void CheckNotNull(bool isnull, const char *what);
extern void CheckName(text *name, const char *what);
extern void CheckObject(Jsonb *value, const char *what);
extern void CheckExpectedVersion(int64 version);

#endif
