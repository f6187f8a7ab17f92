/*
 * append_call.h: what the files that append share: one call of AppendRequests().
 */
#ifndef MILLRACE_APPEND_CALL_H
#define MILLRACE_APPEND_CALL_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

#include "core/append.h"
#include "store/leaf.h"

/* An open namespace with its scans, which serve all its streams and ids in turn. */
typedef struct OpenNamespace
{
	const char *name; /* or NULL, and: */
	Oid schema;
	Store *store; /* NULL: no such namespace */
	StoreScan *versions;
	Leaf tails; /* of the same index */
	StoreScan *ids;
	SnapshotData dirty;
	bool hurried; /* others wait for the call: no look at a condition takes long */
	/* condition.c's own */
	int64 head;		   /* conditions are looked at up to this position */
	Snapshot snapshot; /* by this one, taken after it; NULL: not yet */
	struct PrefixScan *prefix;
	StoreScan *positions; /* the index on global positions; NULL: not opened, and neither are */
	Relation sequence;
	struct QueryScans *scans;
	/* accepted.c's own */
	HTAB *accepted;		/* what this call inserts, by hash, where conditions want to know */
	AppendMessage *any; /* one of those */
} OpenNamespace;

/* A stream that this call appends to. */
typedef struct AppendStream
{
	struct OpenNamespace *space;
	text *name;
	uint64 hash;
	bool loaded;				 /* `version` is known */
	int64 version;				 /* with what was accepted so far in this call */
	BlockNumber leaf;			 /* where its last entry may be in INDEX_STREAM; NO_LEAF: not known */
	bool closed;				 /* takes no more messages */
	struct AppendStream **state; /* of the part or condition that it was made for */
} AppendStream;

/* All of it is in the caller's memory context, which lives as long as the call. */
typedef struct AppendCall
{
	AppendRequest *requests;
	int nrequests;
	List *namespaces; /* of OpenNamespace */
	AppendStream *streams;
	int nstreams;
	AppendMessage **messages; /* all of them, in order */
	int nmessages;
	bool repeated; /* some request was stored before */
	AppendDoubt doubt;
	bool conditional; /* some request has a condition */
	bool begun;		  /* some rows are inserted */
	bool in_doubt;	  /* some request is refused because a condition is in doubt */
} AppendCall;

/* Requests of a namespace, [first, end), that are judged and inserted together; others are among them. */
typedef struct AppendGroup
{
	OpenNamespace *space;
	AppendRequest *first;
	AppendRequest *end;
	Condition **conditions; /* on queries, of the accepted ones */
	int nconditions;
} AppendGroup;

/* Writes a refusal into the request's verdict. */
static inline void
AppendRefuse(AppendRequest *request, int part, int sqlerrcode, char *message)
{
	request->verdict.sqlerrcode = sqlerrcode;
	request->verdict.part = part;
	request->verdict.message = message;
}

/* judge.c */
extern void AppendJudge(AppendCall *call, AppendRequest *request);

/* accepted.c */

/* Notes the messages of a request, which later ones of the call may have conditions on. */
extern void AcceptedNote(AppendRequest *request);

/* Finds a message that this call inserts and the query matches; NULL: there is none. */
extern AppendMessage *AcceptedFind(OpenNamespace *space, const TagQuery *query);

/* What was accepted is to be judged again, or is inserted and so found in the table. */
extern void AcceptedForget(OpenNamespace *space);

/* condition.c */
extern void ConditionsAwait(AppendCall *call);
extern bool ConditionsJudge(AppendCall *call, AppendRequest *request);
extern void ConditionsEnd(OpenNamespace *space);
extern StoreGuard ConditionsGuard(AppendGroup *group);

/* version.c */
extern void AppendLoadVersion(AppendStream *stream);
extern void AppendKeepVersions(const AppendCall *call);

#endif
