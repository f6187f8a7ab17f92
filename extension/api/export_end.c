/*
 * export_end.c: json_export_end(): the lines behind the messages of a whole namespace, in pages.
 *
 *     {"millrace":"floor","stream":..,"version":..,"closed":..,"restored":..}
 *     {"millrace":"last","gpos":..}
 *
 * A floor stands for a stream by the first 16 bytes of the SHA-256 of its name, in hexadecimal.  The floors
 * are read after the messages.  Where one was written meanwhile the export may have messages of its stream,
 * of which an import makes a version below the floor: so it is written as of a stream whose messages were
 * brought back.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/xid8.h"

#include "api/api.h"
#include "core/read.h"
#include "hex.h"
#include "json/out.h"
#include "store/floors.h"

PG_FUNCTION_INFO_V1(millrace_json_export_end);

extern Datum millrace_json_export_end(PG_FUNCTION_ARGS);

typedef struct FloorPage
{
	StringInfoData text;
	int max_bytes;
	TransactionId began; /* those before it were over when the export began */
	bytea *next;		 /* the key of the last floor, where the page is full */
} FloorPage;

static bool
WriteFloor(void *arg, bytea *key, const Floor *floor, TransactionId xmin)
{
	FloorPage *page = arg;
	bool meanwhile = TransactionIdIsNormal(xmin) && TransactionIdFollowsOrEquals(xmin, page->began);
	char digits[2 * FLOOR_KEY_LEN + 1];

	if (VARSIZE_ANY_EXHDR(key) != FLOOR_KEY_LEN)
		return true; /* none of ours */
	hex_write(digits, (unsigned char *)VARDATA_ANY(key), FLOOR_KEY_LEN);
	appendStringInfo(&page->text,
					 "{\"millrace\":\"floor\",\"stream\":\"%s\",\"version\":" INT64_FORMAT
					 ",\"closed\":%s,\"restored\":%s}\n",
					 digits, floor->version, floor->closed ? "true" : "false",
					 floor->restored || meanwhile ? "true" : "false");
	if (page->text.len < page->max_bytes)
		return true;
	page->next = palloc(VARSIZE_ANY_EXHDR(key) + VARHDRSZ);
	SET_VARSIZE(page->next, VARSIZE_ANY_EXHDR(key) + VARHDRSZ);
	memcpy(VARDATA(page->next), VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	return false;
}

/*
 * Positions behind the last message may have been given to some that are gone.  Where none was ever removed
 * they are those of appends that failed, or are not done.
 */
static void
WriteLast(StringInfo out, Store *store, int64 last_exported)
{
	Relation sequence;
	int64 last;

	if (!StoreRemains(store).floors)
		return;
	sequence = relation_open(store->sequence, AccessShareLock);
	last = StoreLastDrawn(sequence);
	relation_close(sequence, AccessShareLock);
	if (last > last_exported)
		appendStringInfo(out, "{\"millrace\":\"last\",\"gpos\":" INT64_FORMAT "}\n", last);
}

/* json_export_end(namespace, after, began, last_exported, max_bytes) -> (body, next or NULL) */
Datum
millrace_json_export_end(PG_FUNCTION_ARGS)
{
	FloorPage page = {0};
	Store *store;
	Datum values[2];
	bool isnull[2] = {false};

	CheckNotNull(PG_ARGISNULL(2), "began");
	CheckNotNull(PG_ARGISNULL(4), "max_bytes");
	page.began = XidFromFullTransactionId(PG_GETARG_FULLTRANSACTIONID(2));
	page.max_bytes = PG_GETARG_INT32(4);
	TextBegin(&page.text);
	store = StoreOpen(ArgNamespace(fcinfo, 0), STORE_READ);
	StoreReadFloors(store, PG_ARGISNULL(1) ? NULL : PG_GETARG_BYTEA_PP(1), WriteFloor, &page);
	if (!page.next)
		WriteLast(&page.text, store, ArgInt64(fcinfo, 3, 0));
	StoreClose(store);
	values[0] = PointerGetDatum(TextEnd(&page.text));
	values[1] = PointerGetDatum(page.next);
	isnull[1] = page.next == NULL;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(ResultRowType(fcinfo)), values, isnull));
}
