/*
 * judge.c: what becomes of an append request.
 *
 * Ids come first, so that a retry is answered what the first attempt was: its messages are found stored with
 * the same stream, type and data (metadata may differ), and their positions are the answer, whatever version
 * it expects.  A request of which some messages are stored and some are not is refused, and so is an id that
 * is stored with other contents, or was removed by hand.  Then closed streams are refused, and come expected
 * versions, and conditions on queries (condition.c).
 *
 * A refusal is a verdict and raises nothing, so that the other requests of the call go on.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "core/append_call.h"
#include "core/closed.h"
#include "core/query_scan.h"
#include "core/redacted.h"
#include "core/version.h"
#include "store/floors.h"

/* ---- ids ----------------------------------------------------------------------------------------------- */

typedef enum IdVerdict
{
	ID_NEW,
	ID_REPEATED, /* stored, or accepted before in this call, with the same content */
	ID_TAKEN,
	ID_REMOVED /* a message with it was removed by hand not long ago */
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

/* Returns the member `tags`; NULL: there is none. */
static Jsonb *
TagsOf(Jsonb *metadata)
{
	JsonbValue tags;

	if (!metadata || !JB_ROOT_IS_OBJECT(metadata) ||
		!getKeyJsonValueFromContainer(&metadata->root, "tags", 4, &tags))
		return NULL;
	return JsonbValueToJsonb(&tags);
}

/* Of metadata only the tags count, and only where they are given again: decisions rest on them. */
static bool
SameTags(Jsonb *given, Jsonb *stored)
{
	Jsonb *tags = TagsOf(given);

	return !tags || SameJsonb(tags, TagsOf(stored));
}

/*
 * Compares the message with the stored one in the slot, and takes over its positions.  One whose content was
 * taken away since is taken for the same.
 */
static IdVerdict
JudgeAgainstStored(AppendMessage *message, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	if (!SameText(message->stream, DatumGetTextPP(slot->tts_values[COLUMN_STREAM_NAME - 1])) ||
		!SameText(message->type, DatumGetTextPP(slot->tts_values[COLUMN_TYPE - 1])) ||
		(!IsRedacted(StoreSlotJsonb(slot, COLUMN_METADATA)) &&
		 (!SameJsonb(message->data, StoreSlotJsonb(slot, COLUMN_DATA)) ||
		  !SameTags(message->metadata, StoreSlotJsonb(slot, COLUMN_METADATA)))))
		return ID_TAKEN;
	message->position = DatumGetInt64(slot->tts_values[COLUMN_POSITION - 1]);
	message->global_position = DatumGetInt64(slot->tts_values[COLUMN_GLOBAL_POSITION - 1]);
	return ID_REPEATED;
}

static IdVerdict
JudgeUnknownId(OpenNamespace *space, AppendMessage *message)
{
	return StoreIdWasRemoved(space->store, &message->id) ? ID_REMOVED : ID_NEW;
}

static IdVerdict
JudgeId(OpenNamespace *space, AppendMessage *message)
{
	bool stored;
	IdVerdict verdict = ID_NEW;

	for (AppendMessage *earlier = message->earlier; earlier; earlier = earlier->earlier)
	{
		if (!earlier->accepted || earlier->space != space)
			continue;
		if (!SameText(message->stream, earlier->stream) || !SameText(message->type, earlier->type) ||
			!SameJsonb(message->data, earlier->data) || !SameTags(message->metadata, earlier->metadata))
			return ID_TAKEN;
		message->original = earlier;
		return ID_REPEATED;
	}
	if (message->id_is_new)
		return message->id_was_given ? JudgeUnknownId(space, message) : ID_NEW;
	if (!space->ids)
	{
		InitDirtySnapshot(space->dirty);
		space->ids = StoreBeginScan(space->store, INDEX_ID, &space->dirty, 1);
	}
	stored = StoreFindId(space->ids, &message->id, NULL);
	if (stored)
		verdict = JudgeAgainstStored(message, space->ids->slot);
	StoreRestScan(space->ids);
	return stored ? verdict : JudgeUnknownId(space, message);
}

static char *
IdConflictText(AppendMessage *message, const char *what)
{
	return psprintf("message id %s %s",
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&message->id))), what);
}

static const char *
IdProblem(IdVerdict verdict)
{
	switch (verdict)
	{
		case ID_TAKEN:
			return "is already stored with another stream, type, data or tags";
		case ID_REMOVED:
			return "was removed";
		default:
			return "belongs to a request of which some messages are stored and some are not";
	}
}

/*
 * Judges the request's ids.  ID_REPEATED: the whole request is stored already.  ID_TAKEN: refused.
 */
static IdVerdict
JudgeIds(OpenNamespace *space, AppendRequest *request)
{
	int new = 0;
	int repeated = 0;

	for (int i = 0; i < request->nparts; i++)
		for (int j = 0; j < request->parts[i].nmessages; j++)
		{
			AppendMessage *message = &request->parts[i].messages[j];
			IdVerdict verdict = JudgeId(space, message);

			if (verdict == ID_REPEATED)
				repeated++;
			else if (verdict == ID_NEW)
				new ++;
			if (verdict == ID_TAKEN || verdict == ID_REMOVED || (new > 0 && repeated > 0))
			{
				AppendRefuse(request, i, ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT,
							 IdConflictText(message, IdProblem(verdict)));
				return ID_TAKEN;
			}
		}
	return repeated ? ID_REPEATED : ID_NEW;
}

/* ---- versions ------------------------------------------------------------------------------------------ */

static void
RestoreVersions(AppendRequest *request, int nparts)
{
	while (--nparts >= 0)
		request->parts[nparts].state->version = request->parts[nparts].version_before;
}

static void
RefuseVersion(AppendRequest *request, int part, text *stream, int64 expected, int64 actual)
{
	AppendRefuse(request, part, ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION,
				 VersionConflictText(stream, expected, actual));
	request->verdict.expected = expected;
	request->verdict.actual = actual;
}

/* Refuses what goes to a closed stream, but for what opens it again, which goes to no other. */
static bool
JudgeClosed(AppendRequest *request)
{
	for (int i = 0; i < request->nparts; i++)
	{
		AppendPart *part = &request->parts[i];
		bool reopens = request->reserved && !TypeCloses(part->messages[0].type);

		if (!part->state->loaded)
			AppendLoadVersion(part->state);
		if (part->state->closed == reopens)
			continue;
		AppendRefuse(request, i, reopens ? ERRCODE_MILLRACE_OUT_OF_RANGE : ERRCODE_MILLRACE_STREAM_CLOSED,
					 psprintf("stream \"%s\" is %s", text_to_cstring(part->stream),
							  reopens ? "not closed" : "closed"));
		return false;
	}
	return true;
}

/* Checks the versions that conditions expect; of a stream that the request appends to, the one before. */
static bool
JudgeConditionVersions(AppendRequest *request)
{
	for (int i = 0; i < request->nconditions; i++)
	{
		Condition *condition = &request->conditions[i];

		if (condition->query)
			continue;
		if (!condition->state->loaded)
			AppendLoadVersion(condition->state);
		if (condition->state->version == condition->expected)
			continue;
		RefuseVersion(request, 0, condition->stream, condition->expected, condition->state->version);
		return false;
	}
	return true;
}

/* Checks expected versions and moves the versions on; puts them back where a part is refused. */
static bool
JudgeVersions(AppendRequest *request)
{
	for (int i = 0; i < request->nparts; i++)
	{
		AppendPart *part = &request->parts[i];
		AppendStream *stream = part->state;

		part->version_before = stream->version;
		if (part->expected != EXPECT_ANY && part->expected != stream->version)
		{
			RefuseVersion(request, i, part->stream, part->expected, stream->version);
			RestoreVersions(request, i);
			return false;
		}
		if (stream->version > PG_INT64_MAX - part->nmessages)
		{
			AppendRefuse(request, i, ERRCODE_MILLRACE_OUT_OF_RANGE,
						 psprintf("stream \"%s\" is full: its last position is " INT64_FORMAT,
								  text_to_cstring(part->stream), stream->version));
			RestoreVersions(request, i);
			return false;
		}
		stream->version += part->nmessages;
	}
	return true;
}

/* ---- indexes ------------------------------------------------------------------------------------------- */

/* Refuses a request of a batch whose conditions can't be looked at; of others that is an error. */
static bool
HasIndexes(const AppendCall *call, AppendRequest *request)
{
	const char *problem, *hint;

	for (int i = 0; call->doubt == APPEND_REFUSE && i < request->nconditions; i++)
	{
		if (!request->conditions[i].query)
			continue;
		problem = QueryScanProblem(request->space->store, request->conditions[i].query, &hint);
		if (!problem)
			continue;
		AppendRefuse(request, 0, ERRCODE_MILLRACE_NO_TAG_INDEX, psprintf("%s: %s", problem, hint));
		return false;
	}
	return true;
}

/* ---- order --------------------------------------------------------------------------------------------- */

static bool
ShareStream(const AppendRequest *a, const AppendRequest *b)
{
	for (int i = 0; i < a->nparts; i++)
		for (int j = 0; j < b->nparts; j++)
			if (a->parts[i].state == b->parts[j].state)
				return true;
	return false;
}

/* Whether an earlier request in doubt appends to one of its streams, and so will be tried again before it. */
static bool
FollowsDoubt(const AppendCall *call, const AppendRequest *request)
{
	for (const AppendRequest *earlier = call->requests; earlier < request; earlier++)
		if (earlier->verdict.sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && earlier->space == request->space &&
			ShareStream(earlier, request))
			return true;
	return false;
}

/* ---- what is the store's own --------------------------------------------------------------------------- */

/* What only the store itself may write; NULL: nothing of it is in the message. */
static char *
ReservedText(const AppendMessage *message)
{
	JsonbValue value;

	if (TypeIsReserved(message->type))
		return psprintf("type \"%s\" begins with \"" RESERVED_TYPES "\", as only the store's own types do",
						text_to_cstring(message->type));
	if (HasRedactedMember(message->metadata, &value))
		return pstrdup("metadata has \"" REDACTED_MEMBER "\", as only that of redacted messages does");
	return NULL;
}

static bool
JudgeReserved(AppendRequest *request)
{
	for (int i = 0; !request->reserved && i < request->nparts; i++)
		for (int j = 0; j < request->parts[i].nmessages; j++)
		{
			char *problem = ReservedText(&request->parts[i].messages[j]);

			if (!problem)
				continue;
			AppendRefuse(request, i, ERRCODE_MILLRACE_RESERVED_TYPE, problem);
			return false;
		}
	return true;
}

/* ---- both ---------------------------------------------------------------------------------------------- */

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
				.leaf = part->state->leaf,
				.position = message->position,
			};
		}
	}
}

/*
 * Judges a request: refuses it, finds that it was stored before (and notes that in the call), or gives its
 * messages their positions and marks them to be inserted.  One whose namespace there is not is refused
 * already.  The locks of its streams are held.
 */
void
AppendJudge(AppendCall *call, AppendRequest *request)
{
	OpenNamespace *space = request->space;

	if (!space->store)
		return;
	if (request->malformed)
	{
		AppendRefuse(request, 0, request->malformed, request->malformation);
		return;
	}
	if (request->twice)
	{
		AppendRefuse(request, 0, ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT,
					 IdConflictText(request->twice, "stands twice in one request"));
		return;
	}
	if (!JudgeReserved(request))
		return;
	switch (JudgeIds(space, request))
	{
		case ID_REPEATED:
			call->repeated = true;
			return;
		case ID_TAKEN:
		case ID_REMOVED:
			return;
		case ID_NEW:
			break;
	}
	if (call->in_doubt && FollowsDoubt(call, request))
	{
		AppendRefuse(request, 0, ERRCODE_LOCK_NOT_AVAILABLE,
					 "a request of the same stream before it is in doubt");
		return;
	}
	if (!HasIndexes(call, request) || !JudgeClosed(request) || !JudgeConditionVersions(request) ||
		!JudgeVersions(request))
		return;
	if (!ConditionsJudge(call, request))
	{
		RestoreVersions(request, request->nparts);
		call->in_doubt |= request->verdict.sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
		return;
	}
	Accept(space, request);
	if (call->conditional && call->nrequests > 1)
		AcceptedNote(request);
}
