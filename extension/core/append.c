/*
 * append.c: judging append requests and giving positions.
 *
 *   1. open the tables of the namespaces
 *   2. lock the streams, in the order of their hashes; to commit
 *   3. judge each request in turn: ids first (a retry gets the first answer), then expected versions
 *   4. insert what was accepted, a namespace at a time (insert.c)
 *
 * A request that was stored before is answered only after the commit that stored it has reached disk and the
 * synchronous standbys: a backend that ends while it waits for a standby leaves a commit that is visible here
 * and nowhere else.
 *
 * The version that an append builds on is the latest committed one plus what this transaction and this call
 * have added, whatever the transaction's snapshot: the stream lock makes it stable, and SnapshotSelf reads
 * it.
 *
 * Memory: everything is in the caller's context, which is to live as long as the call.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/append.h"
#include "base/errors.h"
#include "store/store.h"

/* A stream that this call appends to. */
typedef struct AppendStream
{
	Store *store;
	text *name;
	uint64 hash;
	bool loaded;   /* `version` is known */
	int64 version; /* with what was accepted so far in this call */
} AppendStream;

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

/* ---- 1: namespaces ----------------------------------------------------------------------------- */

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

static OpenNamespace *
NamespaceOfStore(AppendCall *call, Store *store)
{
	ListCell *cell;

	foreach (cell, call->namespaces)
	{
		OpenNamespace *space = lfirst(cell);

		if (space->store == store)
			return space;
	}
	elog(ERROR, "no open namespace for a stream");
}

static void
Refuse(AppendRequest *request, int part, int sqlerrcode, char *message)
{
	request->verdict.sqlerrcode = sqlerrcode;
	request->verdict.part = part;
	request->verdict.message = message;
}

static void
OpenNamespaces(AppendCall *call)
{
	for (int i = 0; i < call->nrequests; i++)
	{
		AppendRequest *request = &call->requests[i];

		memset(&request->verdict, 0, sizeof(AppendVerdict));
		request->twice = NULL;
		request->store = FindNamespace(call, request)->store;
		if (!request->store)
			Refuse(request, 0, ERRCODE_MILLRACE_NAMESPACE_NOT_FOUND,
				   psprintf("namespace \"%s\" does not exist",
							request->namespace_name ? request->namespace_name : ""));
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

/* ---- 2: streams ------------------------------------------------------------------------------------ */

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
	if (a->store != b->store)
		return RelationGetRelid(a->store->heap) < RelationGetRelid(b->store->heap) ? -1 : 1;
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

		for (int j = 0; request->store && j < request->nparts; j++)
		{
			AppendStream *stream = &call->streams[call->nstreams];

			stream->store = request->store;
			stream->name = request->parts[j].stream;
			stream->hash = StoreStreamHash(stream->store, SliceOfText(stream->name));
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

/*
 * Where this backend last saw the end of a stream.  Only a hint: reading from there on finds the end among a
 * few entries of the index instead of a page full.  Where nothing is found there (an append that was rolled
 * back, a namespace that was emptied), the whole stream is looked at.
 */
typedef struct VersionHint
{
	uint64 hash;
	int64 version;
} VersionHint;

#define VERSION_HINTS 4096

static VersionHint version_hints[VERSION_HINTS];

static VersionHint *
HintOfStream(AppendStream *stream)
{
	return &version_hints[stream->hash % VERSION_HINTS];
}

/* Finds the last position of the stream that is at least `from`; NO_STREAM when there is none. */
static int64
FindVersion(StoreScan *scan, text *stream, int64 from)
{
	ScanKeyData keys[2];
	bool isnull;

	StoreTextKey(scan, &keys[0], 1, BTEqualStrategyNumber, stream);
	StoreInt8Key(&keys[1], 2, BTGreaterEqualStrategyNumber, from);
	StoreRescan(scan, keys, 2);
	if (!StoreScanNext(scan, BackwardScanDirection))
		return NO_STREAM;
	return DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
}

static void
LoadVersion(AppendCall *call, AppendStream *stream)
{
	OpenNamespace *space = NamespaceOfStore(call, stream->store);
	VersionHint *hint = HintOfStream(stream);

	if (!space->versions)
		space->versions = StoreBeginScan(space->store, INDEX_STREAM, SnapshotSelf, 2);
	stream->version = NO_STREAM;
	if (hint->hash == stream->hash)
		stream->version = FindVersion(space->versions, stream->name, hint->version);
	if (stream->version == NO_STREAM)
		stream->version = FindVersion(space->versions, stream->name, 0);
	StoreRestScan(space->versions);
	stream->loaded = true;
}

static void
KeepHints(AppendCall *call)
{
	for (int i = 0; i < call->nstreams; i++)
	{
		AppendStream *stream = &call->streams[i];

		if (stream->loaded && stream->version > NO_STREAM)
			*HintOfStream(stream) = (VersionHint){stream->hash, stream->version};
	}
}

/* ---- 3: verdicts ------------------------------------------------------------------------------------- */

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

typedef enum IdVerdict
{
	ID_NEW,
	ID_REPEATED, /* stored, or accepted before in this call, with the same content */
	ID_TAKEN
} IdVerdict;

static bool
SameText(text *a, text *b)
{
	return SliceEqual(SliceOfText(a), SliceOfText(b));
}

static bool
SameJsonb(Jsonb *a, Jsonb *b)
{
	if (!a || !b)
		return a == b;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

/* Compares the message with the stored one in the slot, and takes over its positions. */
static IdVerdict
JudgeAgainstStored(AppendMessage *message, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	if (!SameText(message->stream, DatumGetTextPP(slot->tts_values[COLUMN_STREAM_NAME - 1])) ||
		!SameText(message->type, DatumGetTextPP(slot->tts_values[COLUMN_TYPE - 1])) ||
		!SameJsonb(message->data, StoreSlotJsonb(slot, COLUMN_DATA)))
		return ID_TAKEN;
	message->position = DatumGetInt64(slot->tts_values[COLUMN_POSITION - 1]);
	message->global_position = DatumGetInt64(slot->tts_values[COLUMN_GLOBAL_POSITION - 1]);
	return ID_REPEATED;
}

static IdVerdict
JudgeId(AppendCall *call, OpenNamespace *space, AppendMessage *message)
{
	IdVerdict verdict = ID_NEW;

	for (AppendMessage *earlier = message->earlier; earlier; earlier = earlier->earlier)
	{
		if (!earlier->accepted || earlier->space != space)
			continue;
		if (!SameText(message->stream, earlier->stream) || !SameText(message->type, earlier->type) ||
			!SameJsonb(message->data, earlier->data))
			return ID_TAKEN;
		message->original = earlier;
		return ID_REPEATED;
	}
	if (message->id_is_new)
		return ID_NEW;
	if (!space->ids)
	{
		InitDirtySnapshot(space->dirty);
		space->ids = StoreBeginScan(space->store, INDEX_ID, &space->dirty, 1);
	}
	if (StoreFindId(space->ids, &message->id, NULL))
		verdict = JudgeAgainstStored(message, space->ids->slot);
	StoreRestScan(space->ids);
	return verdict;
}

static char *
IdConflictText(AppendMessage *message, const char *what)
{
	return psprintf("message id %s %s",
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&message->id))), what);
}

/*
 * Judges the request's ids.  ID_REPEATED: the whole request is stored already.  ID_TAKEN: refused.
 */
static IdVerdict
JudgeIds(AppendCall *call, OpenNamespace *space, AppendRequest *request)
{
	int new = 0;
	int repeated = 0;

	for (int i = 0; i < request->nparts; i++)
		for (int j = 0; j < request->parts[i].nmessages; j++)
		{
			AppendMessage *message = &request->parts[i].messages[j];
			IdVerdict verdict = JudgeId(call, space, message);

			if (verdict == ID_REPEATED)
				repeated++;
			else if (verdict == ID_NEW)
				new ++;
			if (verdict == ID_TAKEN || (new > 0 && repeated > 0))
			{
				Refuse(request, i, ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT,
					   IdConflictText(
						   message,
						   verdict == ID_TAKEN
							   ? "is already stored with another stream, type or data"
							   : "belongs to a request of which some messages are stored and some are not"));
				return ID_TAKEN;
			}
		}
	return repeated ? ID_REPEATED : ID_NEW;
}

static void
RestoreVersions(AppendRequest *request, int nparts)
{
	while (--nparts >= 0)
		request->parts[nparts].state->version = request->parts[nparts].version_before;
}

/* Checks expected versions and moves the versions on; puts them back where a part is refused. */
static bool
JudgeVersions(AppendCall *call, AppendRequest *request)
{
	for (int i = 0; i < request->nparts; i++)
	{
		AppendPart *part = &request->parts[i];
		AppendStream *stream = part->state;

		if (!stream->loaded)
			LoadVersion(call, stream);
		part->version_before = stream->version;
		if (part->expected != EXPECT_ANY && part->expected != stream->version)
		{
			Refuse(request, i, ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION,
				   psprintf("wrong expected version: " INT64_FORMAT
							" (stream \"%s\" is at version " INT64_FORMAT ")",
							part->expected, text_to_cstring(part->stream), stream->version));
			request->verdict.expected = part->expected;
			request->verdict.actual = stream->version;
			RestoreVersions(request, i);
			return false;
		}
		if (stream->version > PG_INT64_MAX - part->nmessages)
		{
			Refuse(request, i, ERRCODE_MILLRACE_OUT_OF_RANGE,
				   psprintf("stream \"%s\" is full: its last position is " INT64_FORMAT,
							text_to_cstring(part->stream), stream->version));
			RestoreVersions(request, i);
			return false;
		}
		stream->version += part->nmessages;
	}
	return true;
}

static void
Accept(OpenNamespace *space, AppendRequest *request)
{
	for (int i = 0; i < request->nparts; i++)
	{
		AppendPart *part = &request->parts[i];

		for (int j = 0; j < part->nmessages; j++)
		{
			AppendMessage *message = &part->messages[j];

			message->accepted = true;
			message->space = space;
			message->position = part->version_before + 1 + j;
			message->row = (NewRow){
				.stream = part->stream,
				.type = message->type,
				.data = message->data,
				.metadata = message->metadata,
				.id = message->id,
				.id_is_new = message->id_is_new,
				.position = message->position,
			};
		}
	}
}

static void
JudgeRequest(AppendCall *call, AppendRequest *request)
{
	OpenNamespace *space;

	if (!request->store)
		return;
	if (request->twice)
	{
		Refuse(request, 0, ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT,
			   IdConflictText(request->twice, "stands twice in one request"));
		return;
	}
	space = NamespaceOfStore(call, request->store);
	switch (JudgeIds(call, space, request))
	{
		case ID_REPEATED:
			call->repeated = true;
			return;
		case ID_TAKEN:
			return;
		case ID_NEW:
			break;
	}
	if (JudgeVersions(call, request))
		Accept(space, request);
}

/* ---- 4: inserting ------------------------------------------------------------------------------------- */

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
 * Appends, with a verdict for each request.  Errors raised (none of them a verdict): privileges, an unusable
 * table, read-only transactions, more than MAX_STREAMS streams, and what the table itself refuses.
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
		JudgeRequest(&call, &requests[i]);
	InsertAccepted(&call);
	if (call.repeated)
		StoreFollowEarlierCommits();
	KeepHints(&call);
	CloseNamespaces(&call);
}
