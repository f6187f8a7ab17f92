/*
 * content.c: what is in a claim's row, packed: about eleven bytes a stream.
 *
 *     content = u8 version, varint place, varint lease in ms, varint bytes, varint number of spans, span...
 *               and when it is settled: varint settled_to, or 0 for all, varint number of failures,
 *               failure...
 *     span    = u64 hash, varint global position above the span before, varint count
 *     failure = u8 kind, varint position, varint global position, varint delay + 1, string stream,
 *               string error, or varint 0 for none
 *     string  = varint length + 1, bytes
 *
 * A varint has seven bits a byte, the lowest first; the highest bit says that there is another byte.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"

#include "consumer/consumer.h"

#define CONTENT_VERSION 1

/* ---- writing ------------------------------------------------------------------------------------- */

static void
PutVarint(StringInfo out, uint64 value)
{
	for (; value >= 0x80; value >>= 7)
		appendStringInfoCharMacro(out, (char)(value | 0x80));
	appendStringInfoCharMacro(out, (char)value);
}

static void
PutString(StringInfo out, text *string)
{
	PutVarint(out, string ? (uint64)VARSIZE_ANY_EXHDR(string) + 1 : 0);
	if (string)
		appendBinaryStringInfo(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

static void
PutSpans(StringInfo out, const Content *content)
{
	int64 before = 0;

	PutVarint(out, content->nspans);
	for (int i = 0; i < content->nspans; i++)
	{
		const Span *span = &content->spans[i];

		uint64 hash = pg_hton64(span->hash);

		appendBinaryStringInfo(out, (const char *)&hash, sizeof(hash));
		PutVarint(out, span->global_position - before);
		PutVarint(out, span->count);
		before = span->global_position;
	}
}

/* The spans must be in the order of their global positions. */
bytea *
ContentEncode(const Content *content)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	appendStringInfoCharMacro(&out, CONTENT_VERSION);
	PutVarint(&out, content->place);
	PutVarint(&out, content->lease_ms);
	PutVarint(&out, content->bytes);
	PutSpans(&out, content);
	PutVarint(&out, content->settled_to == PG_INT64_MAX ? 0 : content->settled_to + 1);
	PutVarint(&out, content->nfailures);
	for (int i = 0; i < content->nfailures; i++)
	{
		const Failure *failure = &content->failures[i];

		appendStringInfoCharMacro(&out, (char)failure->kind);
		PutVarint(&out, failure->position);
		PutVarint(&out, failure->global_position);
		PutVarint(&out, failure->delay_ms + 1);
		PutString(&out, failure->stream);
		PutString(&out, failure->error);
	}
	SET_VARSIZE(out.data, out.len);
	return (bytea *)out.data;
}

/* ---- reading ------------------------------------------------------------------------------------- */

typedef struct Bytes
{
	const char *at;
	const char *end;
} Bytes;

/* Whoever may use a consumer may write anything into its tables. */
static void
Check(bool sound)
{
	if (!sound)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the content of a claim is damaged")));
}

static void
CheckLeft(const Bytes *in, uint64 wanted)
{
	Check((uint64)(in->end - in->at) >= wanted);
}

static uint64
GetVarint(Bytes *in)
{
	uint64 value = 0;

	for (int shift = 0; shift < 64; shift += 7)
	{
		unsigned char byte;

		CheckLeft(in, 1);
		byte = (unsigned char)*in->at++;
		value |= (uint64)(byte & 0x7F) << shift;
		if (byte < 0x80)
			return value;
	}
	Check(false);
	return 0;
}

/* A number that is not above the most that it may be. */
static int64
GetNumber(Bytes *in, int64 most)
{
	uint64 value = GetVarint(in);

	Check(value <= (uint64)most);
	return (int64)value;
}

static text *
GetString(Bytes *in)
{
	uint64 len = GetVarint(in);
	text *string;

	if (len == 0)
		return NULL;
	CheckLeft(in, len - 1);
	Check(pg_verifymbstr(in->at, (int)(len - 1), true));
	string = palloc(VARHDRSZ + len - 1);
	SET_VARSIZE(string, VARHDRSZ + len - 1);
	memcpy(VARDATA(string), in->at, len - 1);
	in->at += len - 1;
	return string;
}

static void
GetSpans(Bytes *in, Content *content)
{
	int64 before = 0;
	int left = MAX_CLAIM_MESSAGES;

	content->nspans = (int)GetNumber(in, left);
	content->spans = palloc(sizeof(Span) * Max(content->nspans, 1));
	for (int i = 0; i < content->nspans; i++)
	{
		Span *span = &content->spans[i];

		CheckLeft(in, sizeof(span->hash));
		memcpy(&span->hash, in->at, sizeof(span->hash));
		span->hash = pg_ntoh64(span->hash);
		in->at += sizeof(span->hash);
		span->global_position = before + GetNumber(in, PG_INT64_MAX - before);
		span->count = (int)GetNumber(in, left);
		before = span->global_position;
		left -= span->count;
	}
}

static void
GetFailures(Bytes *in, Content *content)
{
	content->nfailures = (int)GetNumber(in, MAX_CLAIM_MESSAGES);
	content->failures = palloc0(sizeof(Failure) * Max(content->nfailures, 1));
	for (int i = 0; i < content->nfailures; i++)
	{
		Failure *failure = &content->failures[i];

		CheckLeft(in, 1);
		failure->kind = *in->at++ == FAILURE_PARK ? FAILURE_PARK : FAILURE_RETRY;
		failure->position = GetNumber(in, PG_INT64_MAX);
		failure->global_position = GetNumber(in, PG_INT64_MAX);
		failure->delay_ms = GetNumber(in, MAX_LEASE_MS + 1) - 1;
		failure->stream = GetString(in);
		failure->error = GetString(in);
		Check(failure->stream != NULL);
	}
}

/* NULL is the content of a claim in which nothing is left.  Errors: XX001 for what is damaged. */
void
ContentDecode(bytea *packed, Content *content)
{
	Bytes in;
	int64 settled_to;

	memset(content, 0, sizeof(*content));
	content->settled_to = PG_INT64_MAX;
	if (!packed)
		return;
	in = (Bytes){VARDATA_ANY(packed), VARDATA_ANY(packed) + VARSIZE_ANY_EXHDR(packed)};
	CheckLeft(&in, 1);
	Check(*in.at++ == CONTENT_VERSION);
	content->place = (uint32)GetVarint(&in);
	content->lease_ms = GetNumber(&in, MAX_LEASE_MS);
	content->bytes = GetNumber(&in, PG_UINT32_MAX);
	GetSpans(&in, content);
	settled_to = GetNumber(&in, PG_INT64_MAX);
	content->settled_to = settled_to == 0 ? PG_INT64_MAX : settled_to - 1;
	GetFailures(&in, content);
}

/* Messages. */
int64
ContentCount(const Content *content)
{
	int64 count = 0;

	for (int i = 0; i < content->nspans; i++)
		count += content->spans[i].count;
	return count;
}
