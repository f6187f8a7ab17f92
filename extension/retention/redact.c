/*
 * redact.c: taking the content of messages away, while they stay where they are.
 *
 *   1. look for the streams of the messages
 *   2. lock those, in the order of their hashes; to commit
 *   3. update data and metadata, by SQL
 *
 * The rows go through the executor, so that triggers, foreign keys and logical replication see an ordinary
 * UPDATE, and as removals do (remove.c): whether the caller may update is looked at where the table is
 * opened, and the statements run with the rights of its owner, like all that they have put on it.  Positions,
 * time, id, stream and type stay, so no reader is misled; one with an older snapshot sees the old content
 * (core/prefix.c).
 *
 * A redacted message says so in its metadata (core/redacted.h), by which a retry of its append is still
 * known.  Of the metadata tags may stay, and none can be added: whether the condition of an append holds does
 * not change by it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

#include "base/errors.h"
#include "core/redacted.h"
#include "retention/redact.h"

/* What is redacted in one call, and the table. */
typedef struct Redaction
{
	Store *store;
	const char *table; /* as SQL names it */
	ArrayType *ids;
	int nids;
} Redaction;

/* ---- ids ----------------------------------------------------------------------------------------------- */

static int
CompareIds(const void *left, const void *right)
{
	return memcmp(DatumGetUUIDP(*(const Datum *)left)->data, DatumGetUUIDP(*(const Datum *)right)->data,
				  UUID_LEN);
}

/* Takes the ids, each once. */
static void
TakeIds(Redaction *redaction, ArrayType *ids)
{
	Datum *elements;
	bool *isnull;
	int nelements, n = 0;

	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &elements, &isnull, &nelements);
	if (nelements > MAX_REDACTED)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("%d ids in one call; at most %d are allowed", nelements, MAX_REDACTED)));
	for (int i = 0; i < nelements; i++)
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_MILLRACE_NULL_ARGUMENT), errmsg("ids[%d] must not be NULL", i + 1)));
	if (nelements > 1)
		qsort(elements, nelements, sizeof(Datum), CompareIds);
	for (int i = 0; i < nelements; i++)
		if (i == 0 || CompareIds(&elements[i], &elements[n - 1]) != 0)
			elements[n++] = elements[i];
	redaction->ids = construct_array(elements, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	redaction->nids = n;
}

/* Runs a statement as the table's owner; its first parameter is the ids, and "%s" in it the table. */
static void
Run(const Redaction *redaction, const char *statement, Jsonb *replacement, bool keep_tags)
{
	Oid types[] = {UUIDARRAYOID, JSONBOID, BOOLOID};
	Datum values[] = {PointerGetDatum(redaction->ids), PointerGetDatum(replacement), BoolGetDatum(keep_tags)};
	StoreCaller caller = StoreBecomeOwnerIfOther(redaction->store->heap);

	(void)SPI_execute_with_args(psprintf(statement, redaction->table), replacement ? 3 : 1, types, values,
								NULL, false, 0);
	StoreBecomeCaller(caller);
}

static void
RefuseMissing(const Redaction *redaction)
{
	Run(redaction,
		"SELECT i FROM unnest($1) i WHERE NOT EXISTS (SELECT FROM ONLY %s WHERE id = i) ORDER BY i LIMIT 1",
		NULL, false);
	ereport(ERROR,
			(errcode(ERRCODE_MILLRACE_MESSAGE_NOT_FOUND),
			 SPI_processed == 0 ? errmsg("not all of the messages could be redacted")
								: errmsg("message id %s is not there",
										 SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
			 errdetail("Nothing was redacted.")));
}

/* ---- streams ------------------------------------------------------------------------------------------- */

/* Locks the streams of the messages, so that none of them is removed, or judged by a retry, meanwhile. */
static void
LockStreams(const Redaction *redaction)
{
	uint64 *hashes;
	bool isnull;

	Run(redaction, "SELECT DISTINCT stream_name COLLATE \"C\" FROM ONLY %s WHERE id = ANY ($1)", NULL, false);
	hashes = palloc(sizeof(uint64) * SPI_processed);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum name = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		hashes[i] = StoreStreamHash(redaction->store, SliceOfText(DatumGetTextPP(name)));
	}
	StoreSortAndLockStreams(hashes, (int)SPI_processed);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static void
CheckAllowed(void)
{
	PreventCommandIfReadOnly("UPDATE");
	PreventCommandIfParallelMode("UPDATE");
	PreventCommandDuringRecovery("UPDATE");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("messages can be redacted in READ COMMITTED transactions only"),
						errdetail("By an older snapshot what was appended since would be passed over.")));
}

/*
 * Replaces the data of the messages with these ids, and their metadata, of which tags may stay; all or none.
 * `store` was opened with STORE_REDACT.  Returns how many messages that are.  Errors: MR005 a NULL among the
 * ids, MR009 more than MAX_REDACTED, MR027 an id that is not there, 25001 above READ COMMITTED, 25006 in a
 * read-only transaction, and those of waiting for a stream.
 */
int64
RedactMessages(Store *store, ArrayType *ids, Jsonb *replacement, bool keep_tags)
{
	Redaction redaction = {
		.store = store,
		.table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(store->heap)),
											RelationGetRelationName(store->heap)),
	};

	CheckAllowed();
	TakeIds(&redaction, ids);
	if (redaction.nids == 0)
		return 0;
	SPI_connect();
	LockStreams(&redaction);
	Run(&redaction,
		"UPDATE ONLY %s SET data = $2, metadata = '{\"" REDACTED_MEMBER "\": true}' ||"
		" CASE WHEN $3 AND jsonb_path_exists(metadata, 'strict $.tags[*] ? (@.type() == \"string\")', silent "
		"=> true)"
		" THEN jsonb_build_object('tags',"
		" jsonb_path_query_array(metadata, 'strict $.tags[*] ? (@.type() == \"string\")')) ELSE '{}' END"
		" WHERE id = ANY ($1)",
		replacement, keep_tags);
	if (SPI_processed != redaction.nids)
		RefuseMissing(&redaction);
	SPI_finish();
	return redaction.nids;
}
