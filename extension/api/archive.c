/*
 * archive.c: remove_archived(): removes messages that a file has, if they are what the file has.
 *
 * The file has the line that an export writes of a message, and knows a message by the SHA-256 of that.
 * Under the locks of their streams nothing redacts or removes a message, so what is compared is what goes.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "api/api.h"
#include "api/read.h"
#include "base/errors.h"
#include "core/row.h"
#include "json/out.h"
#include "retention/remove.h"
#include "retention/sweep.h"

PG_FUNCTION_INFO_V1(millrace_remove_archived);

extern Datum millrace_remove_archived(PG_FUNCTION_ARGS);

/* What the file says. */
typedef struct Archived
{
	pg_uuid_t id;
	bytea *digest;
} Archived;

static Archived *
ArgArchived(FunctionCallInfo fcinfo, int *n)
{
	Datum *ids, *digests;
	bool *no_id, *no_digest;
	Archived *archived;
	int ndigests;

	CheckNotNull(PG_ARGISNULL(0), "ids");
	CheckNotNull(PG_ARGISNULL(1), "digests");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, &no_id, n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), BYTEAOID, -1, false, TYPALIGN_INT, &digests, &no_digest,
					  &ndigests);
	if (*n != ndigests)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("there are %d ids and %d digests", *n, ndigests)));
	archived = palloc(sizeof(Archived) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		CheckNotNull(no_id[i], psprintf("ids[%d]", i + 1));
		CheckNotNull(no_digest[i], psprintf("digests[%d]", i + 1));
		archived[i].id = *DatumGetUUIDP(ids[i]);
		archived[i].digest = DatumGetByteaPP(digests[i]);
	}
	return archived;
}

/* ---- looking --------------------------------------------------------------------------------------- */

static bool
FindId(StoreScan *scan, const pg_uuid_t *id)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	StoreRescan(scan, &key, 1);
	return StoreScanNext(scan, ForwardScanDirection);
}

/*
 * Refuses what consumers of the messages' categories have not read.  A message has its category for good, so
 * this comes before the streams are locked: who makes a consumer locks in that order, too.
 */
static void
CheckHolds(const char *namespace_name, Store *store, const Archived *archived, int n)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_ID, SnapshotSelf, 1);
	text **categories = palloc(sizeof(text *) * Max(n, 1));
	int64 *last = palloc(sizeof(int64) * Max(n, 1));
	int ncategories = 0;
	bool isnull;

	for (int i = 0; i < n; i++)
	{
		Slice category;
		int64 position;
		int at = 0;

		if (!FindId(scan, &archived[i].id))
			continue;
		category =
			NameCategory(SliceOfText(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_STREAM_NAME, &isnull))));
		position = DatumGetInt64(slot_getattr(scan->slot, COLUMN_GLOBAL_POSITION, &isnull));
		while (at < ncategories && !SliceEqual(SliceOfText(categories[at]), category))
			at++;
		if (at == ncategories)
		{
			categories[ncategories] = cstring_to_text_with_len(category.bytes, (int)category.len);
			last[ncategories++] = position;
		}
		last[at] = Max(last[at], position);
	}
	StoreEndScan(scan);
	for (int i = 0; i < ncategories; i++)
		HoldsCheck(namespace_name, store, categories[i], last[i]);
}

/* Locks the streams of the messages that are there. */
static void
LockStreams(Store *store, const Archived *archived, int n)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_ID, SnapshotSelf, 1);
	uint64 *hashes = palloc(sizeof(uint64) * Max(n, 1));
	int nhashes = 0;
	bool isnull;

	for (int i = 0; i < n; i++)
		if (FindId(scan, &archived[i].id))
			hashes[nhashes++] = StoreStreamHash(
				store, SliceOfText(DatumGetTextPP(slot_getattr(scan->slot, COLUMN_STREAM_NAME, &isnull))));
	StoreEndScan(scan);
	StoreSortAndLockStreams(hashes, nhashes);
	pfree(hashes);
}

/* Whether a message's line, without its end, has the digest.  Files are UTF-8. */
static bool
HasDigest(const Message *message, bytea *digest)
{
	StringInfoData line;
	char *utf8;
	Datum found;

	initStringInfo(&line);
	ExportAppendLine(&line, message);
	utf8 = pg_server_to_any(line.data, line.len - 1, PG_UTF8);
	found =
		PointerGetDatum(cstring_to_text_with_len(utf8, utf8 == line.data ? line.len - 1 : (int)strlen(utf8)));
	found = DirectFunctionCall1(sha256_bytea, found);
	return DatumGetBool(DirectFunctionCall2(byteaeq, found, PointerGetDatum(digest)));
}

static void
RefuseChanged(const pg_uuid_t *id)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_MESSAGE_ID_CONFLICT),
					errmsg("message %s is not what was archived: it was redacted or changed since",
						   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))),
					errdetail("None of these messages was removed.")));
}

/*
 * Puts the ids of those that are there into `ids`, and returns how many; refuses one that is not what the
 * file has.  The locks are held.
 */
static int
Compare(Store *store, const Archived *archived, int n, pg_uuid_t *ids)
{
	StoreScan *scan = StoreBeginScan(store, INDEX_ID, SnapshotSelf, 1);
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "millrace message", ALLOCSET_DEFAULT_SIZES);
	int nids = 0;

	for (int i = 0; i < n; i++)
	{
		MemoryContext caller;
		Message message;

		CHECK_FOR_INTERRUPTS();
		if (!FindId(scan, &archived[i].id))
			continue;
		MemoryContextReset(context);
		caller = MemoryContextSwitchTo(context);
		MessageFromRow(store, StoreScanRow(scan), &message);
		if (!HasDigest(&message, archived[i].digest))
			RefuseChanged(&archived[i].id);
		MemoryContextSwitchTo(caller);
		ids[nids++] = archived[i].id;
	}
	StoreEndScan(scan);
	MemoryContextDelete(context);
	return nids;
}

/*
 * remove_archived(ids, digests, forced, namespace) -> (removed, missing): those that are there are the first
 * of their streams.  Errors: those of RemoveIds(), MR002 for a message that was changed, MR009, MR023 where a
 * consumer has not read one of them.
 */
Datum
millrace_remove_archived(PG_FUNCTION_ARGS)
{
	RemoveOptions options = {.record = true};
	const char *namespace_name;
	Archived *archived;
	pg_uuid_t *ids;
	int n, nids;
	Store *store;
	Datum values[2];
	bool isnull[2] = {false};

	archived = ArgArchived(fcinfo, &n);
	CheckNotNull(PG_ARGISNULL(2), "forced");
	ids = palloc(sizeof(pg_uuid_t) * Max(n, 1));
	namespace_name = ArgNamespaceOr(fcinfo, 3, SelectedNamespace());
	store = RemoveOpen(namespace_name);
	if (!PG_GETARG_BOOL(2))
		CheckHolds(namespace_name, store, archived, n);
	LockStreams(store, archived, n);
	nids = Compare(store, archived, n, ids);
	values[0] = Int64GetDatum(RemoveIds(store, ids, nids, options));
	StoreClose(store);
	values[1] = Int64GetDatum(n - nids);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
