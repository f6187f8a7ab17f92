/*
 * version.c: at what version the stream is that an append goes to.
 *
 * It is the latest committed one plus what this transaction has added, whatever the transaction's snapshot:
 * the stream lock makes it stable, and SnapshotSelf reads it.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "utils/snapmgr.h"

#include "core/append_call.h"

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

/* Looks for the version of a stream, whose lock is held. */
void
AppendLoadVersion(AppendStream *stream)
{
	OpenNamespace *space = stream->space;
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
