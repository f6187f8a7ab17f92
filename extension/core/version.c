/*
 * version.c: at what version a stream is that is locked.
 *
 * It is the latest committed one plus what this transaction has added, whatever the transaction's snapshot:
 * the stream lock makes it stable, and SnapshotSelf reads it.  It is the position of the stream's last
 * message, or the stream's floor (store/floors.c), whichever is higher: one that lost its messages has only
 * the floor, and one that got old ones back may end below it.  Where there is no message, or some floor of
 * the namespace is of the latter kind, it is looked for.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/errors.h"
#include "core/append_call.h"
#include "core/closed.h"
#include "core/version.h"
#include "store/floors.h"

/*
 * Where this session last saw the end of a stream.  Only a hint: the leaf is probably the one that it ends on
 * now, and says itself whether it is.  If it can't tell (its last message is gone, say), reading from the
 * version on finds the end among a few entries of the index instead of a page full.  Where nothing is found
 * there (an append that was rolled back, a namespace that was emptied), the whole stream is looked at.
 */
typedef struct VersionHint
{
	uint64 hash;
	int64 version;
	BlockNumber leaf; /* of the index, or NO_LEAF */
} VersionHint;

#define VERSION_HINTS 4096

static VersionHint version_hints[VERSION_HINTS];

static VersionHint *
HintOfStream(const AppendStream *stream)
{
	return &version_hints[stream->hash % VERSION_HINTS];
}

/* Takes the row that a scan has found for the end of its stream. */
static void
TakeEnd(StoreScan *scan, StreamEnd *end)
{
	bool isnull;

	end->version = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
	end->closed = TypeCloses(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_TYPE, &isnull)));
}

/* Finds the last message of the stream at a position that is at least `from`; false: there is none. */
static bool
FindTail(StoreScan *scan, text *stream, int64 from, StreamEnd *end)
{
	ScanKeyData keys[2];

	StoreTextKey(scan, &keys[0], 1, BTEqualStrategyNumber, stream);
	StoreInt8Key(&keys[1], 2, BTGreaterEqualStrategyNumber, from);
	StoreRescan(scan, keys, 2);
	if (!StoreScanNext(scan, BackwardScanDirection))
		return false;
	TakeEnd(scan, end);
	return true;
}

/* The end of a stream that is not below its floor, where it has one. */
static StreamEnd
RaiseToFloor(Store *store, text *stream, bool found, StreamEnd end)
{
	Remains remains = StoreRemains(store);
	Floor floor;

	if ((found ? remains.restored : remains.floors) && StoreFindFloor(store, stream, SnapshotSelf, &floor) &&
		floor.version >= end.version)
		end = (StreamEnd){.version = floor.version, .closed = floor.closed};
	return end;
}

/*
 * Finds where a stream ends, whose lock is held; the scan is on INDEX_STREAM, of two keys, by SnapshotSelf.
 * From position `from` on its end is probably found.
 */
StreamEnd
VersionFind(StoreScan *scan, text *stream, int64 from)
{
	StreamEnd end = {.version = NO_STREAM};
	bool found = FindTail(scan, stream, from, &end) || (from > 0 && FindTail(scan, stream, 0, &end));

	StoreRestScan(scan);
	return RaiseToFloor(scan->store, stream, found, end);
}

/* The same for one stream. */
StreamEnd
VersionOf(Store *store, text *stream)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_STREAM, SnapshotSelf, 2);
	StreamEnd end = VersionFind(scan, stream, 0);

	StoreEndScan(scan);
	return end;
}

/* What an error says of a version that was not the expected one. */
char *
VersionConflictText(text *stream, int64 expected, int64 actual)
{
	return psprintf("wrong expected version: " INT64_FORMAT " (stream \"%s\" is at version " INT64_FORMAT ")",
					expected, text_to_cstring(stream), actual);
}

/* Raises MR001; the program takes the detail for that of its own error. */
void
VersionRaiseConflict(text *stream, int64 expected, int64 actual)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_WRONG_EXPECTED_VERSION),
					errmsg("%s", VersionConflictText(stream, expected, actual)),
					errdetail_internal("{\"expected\":" INT64_FORMAT ",\"actual\":" INT64_FORMAT "}",
									   expected, actual)));
}

/* Looks for the version of a stream, whose lock is held. */
void
AppendLoadVersion(AppendStream *stream)
{
	OpenNamespace *space = stream->space;
	VersionHint *hint = HintOfStream(stream);
	bool known = hint->hash == stream->hash;
	StreamEnd end = {.version = NO_STREAM};
	LeafTail tail;

	if (!space->versions)
	{
		space->versions = StoreBeginScan(space->store, INDEX_STREAM, SnapshotSelf, 2);
		space->tails = LeafBegin(space->versions->index, INDEX_STREAM);
	}
	stream->leaf = known ? hint->leaf : NO_LEAF;
	tail = StoreScanTail(space->versions, &space->tails, stream->name, &stream->leaf);
	if (tail == TAIL_UNKNOWN)
		end = VersionFind(space->versions, stream->name, known ? hint->version : 0);
	else
	{
		if (tail == TAIL_FOUND)
			TakeEnd(space->versions, &end);
		StoreRestTail(space->versions);
		end = RaiseToFloor(space->store, stream->name, tail == TAIL_FOUND, end);
	}
	stream->version = end.version;
	stream->closed = end.closed;
	stream->loaded = true;
}

/* Keeps where the streams end after this call, as hints for the next. */
void
AppendKeepVersions(const AppendCall *call)
{
	for (int i = 0; i < call->nstreams; i++)
	{
		AppendStream *stream = &call->streams[i];

		if (stream->loaded && stream->version > NO_STREAM)
			*HintOfStream(stream) = (VersionHint){stream->hash, stream->version, stream->leaf};
	}
}
