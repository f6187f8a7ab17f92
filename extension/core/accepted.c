/*
 * accepted.c: the messages that a call has accepted and not yet inserted, found by a query.
 *
 * Conditions of later requests of the call know of them.  They are noted by the hashes that the index of tags
 * would have of them.
 */
#include "postgres.h"

#include "utils/hsearch.h"

#include "core/append_call.h"
#include "tags/tags.h"

/* The accepted messages with a hash. */
typedef struct AcceptedHash
{
	int64 hash; /* hash key */
	List *messages;
} AcceptedHash;

void
AcceptedNote(AppendRequest *request)
{
	OpenNamespace *space = request->space;
	HASHCTL keys = {
		.keysize = sizeof(int64), .entrysize = sizeof(AcceptedHash), .hcxt = CurrentMemoryContext};

	if (!space->accepted)
		space->accepted = hash_create("millrace accepted", 64, &keys, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < request->nparts; i++)
		for (int j = 0; j < request->parts[i].nmessages; j++)
		{
			AppendMessage *message = &request->parts[i].messages[j];
			ArrayType *hashes = TagsHashesOf(message->metadata, message->type, &message->row.ntags);
			int64 *hash = (int64 *)ARR_DATA_PTR(hashes);
			int n = ArrayGetNItems(ARR_NDIM(hashes), ARR_DIMS(hashes));

			message->row.hashes = hashes;
			space->any = message;
			for (int k = 0; k < n; k++)
			{
				bool found;
				AcceptedHash *entry = hash_search(space->accepted, &hash[k], HASH_ENTER, &found);

				entry->messages = lappend(found ? entry->messages : NIL, message);
			}
		}
}

static List *
AcceptedWith(OpenNamespace *space, int64 hash)
{
	AcceptedHash *entry = hash_search(space->accepted, &hash, HASH_FIND, NULL);

	return entry ? entry->messages : NIL;
}

static AppendMessage *
FindAmong(List *messages, const TagQuery *query)
{
	ListCell *cell;

	foreach (cell, messages)
	{
		AppendMessage *message = lfirst(cell);

		if (QueryMatches(query, SliceOfText(message->type), message->metadata))
			return message;
	}
	return NULL;
}

/* Finds one that an item matches, among those with the rarest of its tags. */
static AppendMessage *
FindByItem(OpenNamespace *space, const TagQuery *query, const QueryItem *item)
{
	AppendMessage *found = NULL;
	List *fewest = NIL;

	for (int i = 0; i < item->ntags; i++)
	{
		List *messages = AcceptedWith(space, TagsHashOfTag(item->tags[i]));

		if (i == 0 || list_length(messages) < list_length(fewest))
			fewest = messages;
	}
	if (item->ntags > 0)
		return FindAmong(fewest, query);
	for (int i = 0; i < item->ntypes && !found; i++)
		found = FindAmong(AcceptedWith(space, TagsHashOfType(item->types[i])), query);
	return found;
}

AppendMessage *
AcceptedFind(OpenNamespace *space, const TagQuery *query)
{
	AppendMessage *found = query->all ? space->any : NULL;

	if (!space->accepted)
		return NULL;
	for (int i = 0; i < query->nitems && !found; i++)
		found = FindByItem(space, query, &query->items[i]);
	return found;
}

void
AcceptedForget(OpenNamespace *space)
{
	if (space->accepted)
		hash_destroy(space->accepted);
	space->accepted = NULL;
	space->any = NULL;
}
