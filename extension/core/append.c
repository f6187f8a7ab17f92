/*
 * append.c: an append call, from its requests to inserted rows.
 *
 *   1. open the tables of the namespaces
 *   2. lock the streams, in the order of their hashes; to commit
 *   3. for each namespace in turn, in the order of their tables:
 *      judge its requests (judge.c, condition.c), and
 *   4. insert what was accepted (store/insert.c)
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

/* In the order of the tables, in which calls append to several namespaces. */
static int
CompareNamespaces(const ListCell *left, const ListCell *right)
{
	const OpenNamespace *a = lfirst(left);
	const OpenNamespace *b = lfirst(right);
	Oid of_a = a->store ? RelationGetRelid(a->store->heap) : InvalidOid;
	Oid of_b = b->store ? RelationGetRelid(b->store->heap) : InvalidOid;

	return of_a < of_b ? -1 : of_a > of_b;
}

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
	space->hurried = call->doubt == APPEND_REFUSE;
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
		call->conditional |= request->nconditions > 0;
		request->space = FindNamespace(call, request);
		if (!request->space->store)
			AppendRefuse(request, 0, ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND,
						 StoreNotFoundText(request->namespace_name ? request->namespace_name : ""));
	}
	list_sort(call->namespaces, CompareNamespaces);
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

/* Adds a stream that is to be locked; where its state is goes to *state when it is known. */
static void
AddStream(AppendCall *call, OpenNamespace *space, text *name, AppendStream **state)
{
	AppendStream *stream = &call->streams[call->nstreams++];

	stream->space = space;
	stream->name = name;
	stream->hash = StoreStreamHash(space->store, SliceOfText(name));
	stream->state = state;
}

/* Makes an AppendStream for every part, and for every condition on a stream. */
static void
ListStreams(AppendCall *call)
{
	int room = 0;

	for (int i = 0; i < call->nrequests; i++)
		room += call->requests[i].nparts + call->requests[i].nconditions;
	call->streams = palloc0(sizeof(AppendStream) * room);
	for (int i = 0; i < call->nrequests; i++)
	{
		AppendRequest *request = &call->requests[i];

		if (!request->space->store)
			continue;
		for (int j = 0; j < request->nparts; j++)
			AddStream(call, request->space, request->parts[j].stream, &request->parts[j].state);
		for (int j = 0; j < request->nconditions; j++)
			if (!request->conditions[j].query)
				AddStream(call, request->space, request->conditions[j].stream, &request->conditions[j].state);
	}
}

/* Locks all streams, in their order, and lets those that are one share the first. */
static void
LockStreams(AppendCall *call)
{
	AppendStream **sorted;
	uint64 *hashes;

	ListStreams(call);
	sorted = palloc(sizeof(AppendStream *) * call->nstreams);
	hashes = palloc(sizeof(uint64) * call->nstreams);
	for (int i = 0; i < call->nstreams; i++)
		sorted[i] = &call->streams[i];
	if (call->nstreams > 1)
		qsort(sorted, call->nstreams, sizeof(AppendStream *), CompareParts);
	for (int i = 0; i < call->nstreams; i++)
		hashes[i] = sorted[i]->hash;
	if (category_lock)
		LockCategories(call);
	StoreLockStreams(hashes, call->nstreams);
	for (int i = 0; i < call->nstreams; i++)
		*sorted[i]->state =
			i > 0 && CompareParts(&sorted[i], &sorted[i - 1]) == 0 ? *sorted[i - 1]->state : sorted[i];
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

/* The accepted messages of a group, as rows, and its conditions; returns how many rows. */
static int
ListAccepted(AppendGroup *group, NewRow **rows)
{
	int nrows = 0;

	group->nconditions = 0;
	for (AppendRequest *request = group->first; request < group->end; request++)
	{
		if (request->space != group->space || !request->parts[0].messages[0].accepted)
			continue;
		for (int i = 0; i < request->nparts; i++)
			for (int j = 0; j < request->parts[i].nmessages; j++)
				rows[nrows++] = &request->parts[i].messages[j].row;
		for (int i = 0; i < request->nconditions; i++)
			if (request->conditions[i].query)
				group->conditions[group->nconditions++] = &request->conditions[i];
	}
	return nrows;
}

/* Inserts what was accepted of a group; false: a condition holds no longer, and nothing was inserted. */
static bool
InsertAccepted(AppendCall *call, AppendGroup *group, NewRow **rows)
{
	int nrows = ListAccepted(group, rows);
	StoreGuard guard = ConditionsGuard(group);

	if (nrows == 0)
		return true;
	if (!StoreInsert(group->space->store, rows, nrows, group->nconditions > 0 ? &guard : NULL))
		return false;
	call->begun = true;
	return true;
}

/* Takes back what was judged of a group. */
static void
ForgetVerdicts(AppendGroup *group)
{
	for (AppendRequest *request = group->first; request < group->end; request++)
	{
		if (request->space != group->space)
			continue;
		memset(&request->verdict, 0, sizeof(AppendVerdict));
		for (int i = 0; i < request->nparts; i++)
		{
			request->parts[i].state->loaded = false;
			for (int j = 0; j < request->parts[i].nmessages; j++)
			{
				request->parts[i].messages[j].accepted = false;
				request->parts[i].messages[j].original = NULL;
			}
		}
		for (int i = 0; i < request->nconditions; i++)
			if (!request->conditions[i].query)
				request->conditions[i].state->loaded = false;
	}
	AcceptedForget(group->space);
}

/*
 * Where a group ends that begins at a request: what the conditions of all look up has to be looked up again
 * under the append lock.
 */
static AppendRequest *
GroupEnd(AppendCall *call, AppendRequest *first)
{
	AppendRequest *end = first;
	int lookups = 0;

	if (!call->conditional)
		return call->requests + call->nrequests;
	for (; end < call->requests + call->nrequests; end++)
	{
		for (int i = 0; i < end->nconditions; i++)
			lookups += end->conditions[i].query ? end->conditions[i].query->nlookups : 0;
		if (lookups > MAX_QUERY_LOOKUPS && end > first)
			break;
	}
	return end;
}

static void
JudgeGroup(AppendCall *call, AppendGroup *group)
{
	for (AppendRequest *request = group->first; request < group->end; request++)
		if (request->space == group->space)
			AppendJudge(call, request);
}

/* Judges the requests of a namespace, and inserts what is accepted. */
static void
AppendToNamespace(AppendCall *call, OpenNamespace *space, NewRow **rows, Condition **conditions)
{
	AppendGroup group = {.space = space, .first = call->requests, .conditions = conditions};

	for (; group.first < call->requests + call->nrequests; group.first = group.end)
	{
		group.end = GroupEnd(call, group.first);
		JudgeGroup(call, &group);
		while (!InsertAccepted(call, &group, rows))
		{
			ForgetVerdicts(&group);
			JudgeGroup(call, &group);
		}
	}
}

static void
AppendToAll(AppendCall *call)
{
	NewRow **rows = palloc(sizeof(NewRow *) * call->nmessages);
	Condition **conditions;
	int nconditions = 0;
	ListCell *cell;

	for (int i = 0; i < call->nrequests; i++)
		nconditions += call->requests[i].nconditions;
	conditions = palloc(sizeof(Condition *) * nconditions);
	foreach (cell, call->namespaces)
	{
		OpenNamespace *space = lfirst(cell);

		if (!space->store)
			continue;
		AppendToNamespace(call, space, rows, conditions);
		ConditionsEnd(space);
	}
}

/* Positions are known now: those of the messages, and of one that broke a condition of the same call. */
static void
TakePositions(AppendCall *call)
{
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
	for (int i = 0; i < call->nrequests; i++)
		if (call->requests[i].verdict.match)
			call->requests[i].verdict.actual = call->requests[i].verdict.match->global_position;
}

/*
 * Appends, with a verdict for each request: MR001 a wrong expected version, MR002 an id that is taken,
 * MR003 no such namespace, MR009 a stream that is full or a condition after a position that there never
 * was, MR019 a condition that does not hold, 55P03 one in doubt, or that takes long to look at, where the
 * call does not wait.  Errors raised, none of them a verdict: 42501 privileges, MR010 an unusable table,
 * MR020 one without an index on tags, 25006 a read-only transaction, MR009 more than MAX_STREAMS streams,
 * 55P03 and 40P01 from waiting for a stream or for what is in doubt, and those of StoreInsert().
 */
void
AppendRequests(AppendRequest *requests, int nrequests, AppendDoubt doubt)
{
	AppendCall call = {.requests = requests, .nrequests = nrequests, .doubt = doubt};

	StoreCheckAppendAllowed();
	OpenNamespaces(&call);
	if (call.conditional && doubt == APPEND_WAIT)
		ConditionsAwait(&call);
	LockStreams(&call);
	ListMessages(&call);
	AppendToAll(&call);
	TakePositions(&call);
	if (call.repeated)
		StoreFollowEarlierCommits();
	AppendKeepVersions(&call);
	CloseNamespaces(&call);
}
