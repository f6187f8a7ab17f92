/*
 * bounded.c: functions that look at so many messages and no more, and say where to go on.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/memutils.h"

#include "api/api.h"
#include "api/bounded.h"
#include "api/read.h"
#include "base/errors.h"
#include "json/out.h"

void
ArgCategory(FunctionCallInfo fcinfo, int arg, ReadRequest *request)
{
	request->name = ArgTextOrNull(fcinfo, arg);
	request->kind = request->name ? READ_CATEGORY : READ_ALL;
	if (request->name)
		NoticeDash(request->name);
}

void
ArgScanLimit(FunctionCallInfo fcinfo, int arg, ReadRequest *request)
{
	request->max_rows = ArgInt64(fcinfo, arg, DEFAULT_SCAN_LIMIT);
	if (request->max_rows < 1)
		ereport(ERROR, (errcode(ERRCODE_MILLRACE_OUT_OF_RANGE),
						errmsg("scan_limit " INT64_FORMAT " is out of range", request->max_rows),
						errhint("It is a number of messages to look at.")));
}

/* A read of the newest messages' heads, from a position downwards. */
ReadRequest
ArgNewest(FunctionCallInfo fcinfo, int category, int position, int scan_limit)
{
	ReadRequest request = {
		.backward = true, .limit = NO_LIMIT, .global_position = LAST_POSITION, .heads = true};

	ArgCategory(fcinfo, category, &request);
	request.position = ArgPosition(fcinfo, position, &request);
	ArgScanLimit(fcinfo, scan_limit, &request);
	return request;
}

bool
NextPosition(const ReadRequest *request, const ReadOutcome *outcome, int64 *next)
{
	int64 last = outcome->last_global_position;

	if (outcome->end != READ_STOPPED || last == (request->backward ? 1 : LAST_POSITION))
		return false;
	*next = request->backward ? last - 1 : last + 1;
	return true;
}

/* "scanned":10000,"next":7, or null */
void
JsonAppendBounds(StringInfo out, const ReadRequest *request, const ReadOutcome *outcome)
{
	int64 next;

	appendStringInfo(out, "\"scanned\":" INT64_FORMAT ",\"next\":", outcome->rows);
	if (NextPosition(request, outcome, &next))
		JsonAppendInt64(out, next);
	else
		appendStringInfoString(out, "null");
}

/* ---- tables of names --------------------------------------------------------------------------------- */

static uint32
HashName(const void *key, Size size)
{
	const Slice *name = key;

	return hash_bytes((const unsigned char *)name->bytes, name->len);
}

static int
CompareNames(const void *left, const void *right, Size size)
{
	return SliceEqual(*(const Slice *)left, *(const Slice *)right) ? 0 : 1;
}

HTAB *
NameTable(Size entry_size)
{
	HASHCTL control = {.keysize = sizeof(Slice),
					   .entrysize = entry_size,
					   .hash = HashName,
					   .match = CompareNames,
					   .hcxt = CurrentMemoryContext};

	return hash_create("millrace names", 64, &control,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

/* A new entry gets a copy of the name, in the table's context. */
void *
NameEntry(HTAB *names, Slice name, bool *found)
{
	Slice *entry = hash_search(names, &name, HASH_ENTER, found);

	if (!*found && name.len > 0)
		entry->bytes =
			memcpy(MemoryContextAlloc(GetMemoryChunkContext(names), name.len), name.bytes, name.len);
	return entry;
}
