/*
 * read.h: arguments that the reading functions for SQL and for JSON share.
 */
#ifndef MILLRACE_API_READ_H
#define MILLRACE_API_READ_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

#include "api/api.h"
#include "core/read.h"

/* The columns of a message's row, in all of our row types for messages. */
#define MESSAGE_COLUMNS 8

/*
 * A function whose rows are messages in the order in which they are read.  Called as a function, it fills a
 * tuplestore; in FROM it runs as a plan node that fetches them one by one (scan/scan.c).
 *
 * Or one whose only row is a page of them as text, and integers that say more of it; in FROM it runs as the
 * same node.
 */
typedef struct MessageFunction
{
	PGFunction address;
	/*
	 * Checks the arguments, describes the read and opens the table; of the namespace that is selected, unless
	 * they say which.  The request points into the arguments and into the current memory context.
	 */
	Store *(*begin)(FunctionCallInfo fcinfo, ReadRequest *request, const char *selected);
	/* Makes a row; what it points to is the message's or in the current memory context. */
	void (*row)(const Message *message, Datum *values, bool *isnull);
	/*
	 * In place of both: appends the page to the text, which is the first column, and sets the others; isnull
	 * is false before.
	 */
	void (*page)(FunctionCallInfo fcinfo, StringInfo text_form, Datum *values, bool *isnull);
	Oid types[MESSAGE_COLUMNS]; /* of the row's columns; a page has fewer */
	bool fresh_snapshot;		/* reads with a snapshot of its own, of now, as a volatile function does */
	int limit_argument;			/* -1: none */
	int other_argument;			/* the node does without this one, so it must be NULL; -1: none */
} MessageFunction;

/* api/read.c */
extern const Oid message_row_types[]; /* of the row type millrace.message */
extern const MessageFunction *const read_functions[];

/* api/json.c */
extern const MessageFunction *const page_functions[];

/* api/export.c */
extern void ExportAppendLine(StringInfo out, const Message *message);

extern Snapshot MessageFunctionSnapshot(const MessageFunction *function);
extern Datum MessageFunctionCall(const MessageFunction *function, FunctionCallInfo fcinfo);
extern int MessageFunctionColumns(const MessageFunction *function);
extern void PageFunctionRow(const MessageFunction *function, FunctionCallInfo fcinfo, Datum *values,
							bool *isnull);

extern int64 ArgBatchSize(FunctionCallInfo fcinfo, int arg);
extern int64 ArgMaxRows(FunctionCallInfo fcinfo, int arg);
extern text *ArgPrefix(FunctionCallInfo fcinfo, int arg);
extern void ArgTexts(FunctionCallInfo fcinfo, int arg, const char *what, text ***texts, int *ntexts);
extern void ArgTypes(FunctionCallInfo fcinfo, int arg, ReadRequest *request);
extern const TagQuery *ArgQueryOrNull(FunctionCallInfo fcinfo, int arg);
extern void NoticeDash(text *name);
extern bool PutMessageRow(void *arg, const Message *message);
extern void ArgDirection(FunctionCallInfo fcinfo, int arg, ReadRequest *request);
extern int64 ArgPosition(FunctionCallInfo fcinfo, int arg, const ReadRequest *request);
extern void ArgConsumerGroup(FunctionCallInfo fcinfo, int member, int size, ReadRequest *request);

#endif
