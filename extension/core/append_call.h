/*
 * append_call.h: what the files that append share: one call of AppendRequests().
 */
#ifndef MILLRACE_APPEND_CALL_H
#define MILLRACE_APPEND_CALL_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/snapmgr.h"

#include "core/append.h"

/* An open namespace with its scans, which serve all its streams and ids in turn. */
typedef struct OpenNamespace
{
	const char *name; /* or NULL, and: */
	Oid schema;
	Store *store; /* NULL: no such namespace */
	StoreScan *versions;
	StoreScan *ids;
	SnapshotData dirty;
} OpenNamespace;

/* A stream that this call appends to. */
typedef struct AppendStream
{
	struct OpenNamespace *space;
	text *name;
	uint64 hash;
	bool loaded;   /* `version` is known */
	int64 version; /* with what was accepted so far in this call */
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
} AppendCall;

/* judge.c */
extern void AppendJudge(AppendCall *call, AppendRequest *request);
extern void AppendRefuse(AppendRequest *request, int part, int sqlerrcode, char *message);

/* version.c */
extern void AppendLoadVersion(AppendStream *stream);
extern void AppendKeepVersions(const AppendCall *call);

#endif
