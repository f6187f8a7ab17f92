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
 * Where this session last saw the end of a stream.  Only a hint: reading from there on finds the end among a
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
HintOfStream(const AppendStream *stream)
{
	return &version_hints[stream->hash % VERSION_HINTS];
}

/* Finds the last message of the stream at a position that is at least `from`; false: there is none. */
static bool
FindTail(StoreScan *scan, text *stream, int64 from, StreamEnd *end)
{
	ScanKeyData keys[2];
	bool isnull;

	StoreTextKey(scan, &keys[0], 1, BTEqualStrategyNumber, stream);
	StoreInt8Key(&keys[1], 2, BTGreaterEqualStrategyNumber, from);
	StoreRescan(scan, keys, 2);
	if (!StoreScanNext(scan, BackwardScanDirection))
		return false;
	end->version = DatumGetInt64(slot_getattr(scan->slot, COLUMN_POSITION, &isnull));
	end->closed = TypeCloses(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_TYPE, &isnull)));
	return true;
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
	Remains remains = StoreRemains(scan->store);
	Floor floor;

	StoreRestScan(scan);
	if ((found ? remains.restored : remains.floors) &&
		StoreFindFloor(scan->store, stream, SnapshotSelf, &floor) && floor.version >= end.version)
		end = (StreamEnd){.version = floor.version, .closed = floor.closed};
	return end;
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
	StreamEnd end;

	if (!space->versions)
		space->versions = StoreBeginScan(space->store, INDEX_STREAM, SnapshotSelf, 2);
	end = VersionFind(space->versions, stream->name, hint->hash == stream->hash ? hint->version : 0);
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
			*HintOfStream(stream) = (VersionHint){stream->hash, stream->version};
	}
}
