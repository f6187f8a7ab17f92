/*
 * append.c: an append call, from its requests to inserted rows.
 *
 *   1. open the tables of the namespaces
 *   2. lock the streams, in the order of their hashes; to commit
 *   3. judge each request in turn (judge.c)
 *   4. insert what was accepted, a namespace at a time (store/insert.c)
 *
 * A request that was stored before is answered only after the commit that stored it has reached disk and the
 * synchronous standbys: a session that ends while it waits for a standby leaves a commit that is visible here
 * and nowhere else.
 *
 * Memory: everything is in the caller's context, which is to live as long as the call.
 */
#include "postgres.h"

#include "base/errors.h"
#include "core/append_call.h"
#include "store/store.h"

/* ---- 1: namespaces ------------------------------------------------------------------------------------- */

/* Returns the namespace of a request, opened by the first one that names it. */
static OpenNamespace *
FindNamespace(AppendCall *call, AppendRequest *request)
{
	ListCell *cell;
	OpenNamespace *space;

	foreach (cell, call->namespaces)
	{
		space = lfirst(cell);
		if (request->namespace_name ? space->name && strcmp(space->name, request->namespace_name) == 0
									: space->schema == request->schema)
			return space;
	}
	space = palloc0(sizeof(OpenNamespace));
	space->name = request->namespace_name;
	space->schema = request->schema;
	space->store =
		space->name ? StoreTryOpen(space->name, STORE_APPEND) : StoreOpenSchema(space->schema, STORE_APPEND);
	call->namespaces = lappend(call->namespaces, space);
	return space;
}

static void
OpenNamespaces(AppendCall *call)
{
	for (int i = 0; i < call->nrequests; i++)
	{
		AppendRequest *request = &call->requests[i];

		memset(&request->verdict, 0, sizeof(AppendVerdict));
		request->twice = NULL;
		request->space = FindNamespace(call, request);
		if (!request->space->store)
			AppendRefuse(request, 0, ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND,
						 StoreNotFoundText(request->namespace_name ? request->namespace_name : ""));
	}
}

static void
CloseNamespaces(AppendCall *call)
{
	ListCell *cell;

	foreach (cell, call->namespaces)
	{
		OpenNamespace *space = lfirst(cell);

		if (space->versions)
			StoreEndScan(space->versions);
		if (space->ids)
			StoreEndScan(space->ids);
		if (space->store)
			StoreClose(space->store);
	}
}

/* ---- 2: streams ---------------------------------------------------------------------------------------- */

/*
 * By hash, which is the order of locking; then by table and name, so that one stream's parts stand together.
 */
static int
CompareParts(const void *left, const void *right)
{
	const AppendStream *a = *(AppendStream *const *)left;
	const AppendStream *b = *(AppendStream *const *)right;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	if (a->space != b->space)
		return RelationGetRelid(a->space->store->heap) < RelationGetRelid(b->space->store->heap) ? -1 : 1;
	return SliceCompare(SliceOfText(a->name), SliceOfText(b->name));
}

/* Takes the locks of Message DB's that the streams' writers would hold. */
static void
LockCategories(AppendCall *call)
{
	text **names = palloc(sizeof(text *) * call->nstreams);

	for (int i = 0; i < call->nstreams; i++)
		names[i] = call->streams[i].name;
	StoreLockCategories(names, call->nstreams);
	pfree(names);
}

/* Makes one AppendStream for every part, sorted, then lets the parts of one stream share the first. */
static void
LockStreams(AppendCall *call)
{
	AppendStream **sorted;
	AppendPart **part_of;
	uint64 *hashes;
	int nparts = 0;

	for (int i = 0; i < call->nrequests; i++)
		nparts += call->requests[i].nparts;
	call->streams = palloc0(sizeof(AppendStream) * nparts);
	sorted = palloc(sizeof(AppendStream *) * nparts);
	part_of = palloc(sizeof(AppendPart *) * nparts);
	hashes = palloc(sizeof(uint64) * nparts);
	for (int i = 0; i < call->nrequests; i++)
	{
		AppendRequest *request = &call->requests[i];

		for (int j = 0; request->space->store && j < request->nparts; j++)
		{
			AppendStream *stream = &call->streams[call->nstreams];

			stream->space = request->space;
			stream->name = request->parts[j].stream;
			stream->hash = StoreStreamHash(stream->space->store, SliceOfText(stream->name));
			sorted[call->nstreams] = stream;
			part_of[call->nstreams++] = &request->parts[j];
		}
	}
	if (call->nstreams > 1)
		qsort(sorted, call->nstreams, sizeof(AppendStream *), CompareParts);
	for (int i = 0; i < call->nstreams; i++)
		hashes[i] = sorted[i]->hash;
	if (category_lock)
		LockCategories(call);
	StoreLockStreams(hashes, call->nstreams);
	for (int i = 0; i < call->nstreams; i++)
	{
		if (i > 0 && CompareParts(&sorted[i], &sorted[i - 1]) == 0)
		{
			part_of[sorted[i] - call->streams]->state = part_of[sorted[i - 1] - call->streams]->state;
			continue;
		}
		part_of[sorted[i] - call->streams]->state = sorted[i];
	}
}

/* ---- 3: messages --------------------------------------------------------------------------------------- */

static int
CompareIds(const void *left, const void *right)
{
	const AppendMessage *a = *(AppendMessage *const *)left;
	const AppendMessage *b = *(AppendMessage *const *)right;
	int order = memcmp(a->id.data, b->id.data, UUID_LEN);

	return order ? order : (a->position < b->position ? -1 : 1); /* position: still the order in the call */
}

/* Lists all messages, chains those with the same id, and notes where they are of one request. */
static void
ListMessages(AppendCall *call)
{
	AppendMessage **sorted;

	for (int i = 0; i < call->nrequests; i++)
		for (int j = 0; j < call->requests[i].nparts; j++)
			call->nmessages += call->requests[i].parts[j].nmessages;
	call->messages = palloc(sizeof(AppendMessage *) * call->nmessages);
	call->nmessages = 0;
	for (int i = 0; i < call->nrequests; i++)
		for (int j = 0; j < call->requests[i].nparts; j++)
		{
			AppendPart *part = &call->requests[i].parts[j];

			for (int k = 0; k < part->nmessages; k++)
			{
				AppendMessage *message = &part->messages[k];

				message->earlier = NULL;
				message->original = NULL;
				message->accepted = false;
				message->request = &call->requests[i];
				message->stream = part->stream;
				message->position = call->nmessages;
				call->messages[call->nmessages++] = message;
			}
		}
	if (call->nmessages == 1)
		return;
	sorted = palloc(sizeof(AppendMessage *) * call->nmessages);
	memcpy(sorted, call->messages, sizeof(AppendMessage *) * call->nmessages);
	qsort(sorted, call->nmessages, sizeof(AppendMessage *), CompareIds);
	for (int i = 1; i < call->nmessages; i++)
		if (memcmp(sorted[i]->id.data, sorted[i - 1]->id.data, UUID_LEN) == 0)
		{
			sorted[i]->earlier = sorted[i - 1];
			if (sorted[i]->request == sorted[i - 1]->request)
				sorted[i]->request->twice = sorted[i];
		}
	pfree(sorted);
}

/* ---- 4: inserting -------------------------------------------------------------------------------------- */

static void
InsertAccepted(AppendCall *call)
{
	NewRow **rows = palloc(sizeof(NewRow *) * call->nmessages);
	ListCell *cell;

	foreach (cell, call->namespaces)
	{
		OpenNamespace *space = lfirst(cell);
		int nrows = 0;

		for (int i = 0; i < call->nmessages; i++)
			if (call->messages[i]->accepted && call->messages[i]->space == space)
				rows[nrows++] = &call->messages[i]->row;
		if (nrows > 0)
			StoreInsert(space->store, rows, nrows, false);
	}
	for (int i = 0; i < call->nmessages; i++)
	{
		AppendMessage *message = call->messages[i];

		if (message->accepted)
			message->global_position = message->row.global_position;
		else if (message->original)
		{
			message->position = message->original->position;
			message->global_position = message->original->global_position;
		}
	}
}

/*
 * Appends, with a verdict for each request: MR001 a wrong expected version, MR002 an id that is taken,
 * MR003 no such namespace, MR009 a stream that is full.  Errors raised, none of them a verdict: 42501
 * privileges, MR010 an unusable table, 25006 a read-only transaction, MR009 more than MAX_STREAMS streams,
 * 55P03 and 40P01 from waiting for a stream, and those of StoreInsert().
 */
void
AppendRequests(AppendRequest *requests, int nrequests)
{
	AppendCall call = {.requests = requests, .nrequests = nrequests};

	StoreCheckAppendAllowed();
	OpenNamespaces(&call);
	LockStreams(&call);
	ListMessages(&call);
	for (int i = 0; i < nrequests; i++)
		AppendJudge(&call, &requests[i]);
	InsertAccepted(&call);
	if (call.repeated)
		StoreFollowEarlierCommits();
	AppendKeepVersions(&call);
	CloseNamespaces(&call);
}
