/*
 * scan.h: the plan node of functions that return messages, shared by scan.c and scan/wire.c.
 */
#ifndef MILLRACE_SCAN_H
#define MILLRACE_SCAN_H

#include "postgres.h"

#include "nodes/execnodes.h"

#include "api/read.h"

/* The node while it runs. */
typedef struct MessageScan
{
	CustomScanState node;
	const MessageFunction *function;
	FmgrInfo function_info;
	Oid role;			  /* whose rights the statement has, also when another role fetches from its cursor */
	const char *selected; /* the namespace that was selected when it began; NULL: SelectedNamespace() */
	List *arguments;	  /* ExprStates */
	MemoryContext context; /* of one run: arguments, request, reader */
	ReadRequest request;
	Store *store;	   /* NULL: not begun, or ended */
	Snapshot snapshot; /* registered while the store is open */
	Reader *reader;
	bool begun;
	const Message *message; /* the current row's */
	bool direct;			/* the receiver takes the message itself (scan/wire.c), so the row stays empty */
} MessageScan;

/* scan.c */
extern void ScanInit(void);
extern MessageScan *ScanOfNode(PlanState *node);
extern void ScanPage(MessageScan *scan, StringInfo text_form, Datum *values, bool *isnull);

/* scan/wire.c */
extern void WireInit(void);

/* scan/output.c */
extern StringInfo OutputBegin(void);
extern int OutputBeginMessage(char letter);
extern void OutputEndMessage(int start);
extern void OutputEnd(void);

#endif
