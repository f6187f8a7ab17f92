/*
 * wire.c: rows of Message DB's type straight from the table's page into the client's message, and pages of
 * messages as JSON.
 *
 * What is left of a read of messages after scan.c is mostly Postgres's way to the client: for each of a row's
 * eight columns a call of its type's output function, a string for that, its length, and a copy.  Where the
 * plan is nothing but our node and the client takes text in the server's encoding, the row is written here
 * instead, byte for byte as printtup() would write it: the output of varchar is its bytes, of bigint its
 * digits, of timestamp the text of DateStyle ISO (any other style is left to printtup()).
 *
 * A page of JSON, most of a MiB, is written once and sent from there.  Postgres's way copies it five times,
 * into memory that each statement asks for anew.
 *
 * The receiver of the rows is exchanged while the executor runs; its start and end, and with them the
 * description of the rows, remain printtup's.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "json/out.h"
#include "message_db/message_db.h"
#include "scan/scan.h"

/* A receiver that stands in for printtup's. */
typedef struct WireReceiver
{
	DestReceiver receiver;
	DestReceiver *client; /* printtup's */
	MessageScan *scan;
	StringInfo output;
	int32 day; /* whose text is in `date`, from 2000-01-01 */
	char date[10];
} WireReceiver;

static ExecutorRun_hook_type next_run_hook = NULL;

/* ---- columns -------------------------------------------------------------------------------------- */

#define MAX_INT64_TEXT 20
#define MAX_TIMESTAMP_TEXT MAXDATELEN

/* Begins a column: leaves room for its length, which PutLength() fills in. */
static inline char *
PutLength(char *place, int32 len)
{
	uint32 network = pg_hton32((uint32)len);

	memcpy(place, &network, sizeof(network));
	return place + sizeof(network);
}

static inline char *
PutBytes(char *place, const char *bytes, int len)
{
	place = PutLength(place, len);
	memcpy(place, bytes, len);
	return place + len;
}

static inline char *
PutInt64(char *place, int64 value)
{
	int len = pg_lltoa(value, place + sizeof(int32));

	return PutLength(place, len) + len;
}

static inline char *
PutTwoDigits(char *place, int value)
{
	place[0] = (char)('0' + value / 10);
	place[1] = (char)('0' + value % 10);
	return place + 2;
}

/* Finds the text of a day, which is mostly the day of the message before. */
static bool
FindDate(WireReceiver *wire, int32 day)
{
	int year;
	int month;
	int month_day;

	if (wire->day == day)
		return true;
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &month_day);
	if (year < 1 || year > 9999)
		return false;
	PutTwoDigits(wire->date, year / 100);
	PutTwoDigits(wire->date + 2, year % 100);
	wire->date[4] = wire->date[7] = '-';
	PutTwoDigits(wire->date + 5, month);
	PutTwoDigits(wire->date + 8, month_day);
	wire->day = day;
	return true;
}

/* The text of timestamp_out(): 2026-11-24 06:00:00.12, microseconds without the zeros at their end. */
static char *
PutTime(WireReceiver *wire, char *place, Timestamp time)
{
	char *start = place + sizeof(int32);
	char *end = start;
	int32 seconds;
	int32 microseconds;
	int64 day = time / USECS_PER_DAY;
	int64 rest = time % USECS_PER_DAY;

	if (rest < 0)
	{
		rest += USECS_PER_DAY;
		day--;
	}
	if (TIMESTAMP_NOT_FINITE(time) || !FindDate(wire, (int32)day))
	{
		char *text_form = DatumGetCString(DirectFunctionCall1(timestamp_out, TimestampGetDatum(time)));

		return PutBytes(place, text_form, (int)strlen(text_form));
	}
	seconds = (int32)(rest / USECS_PER_SEC);
	microseconds = (int32)(rest % USECS_PER_SEC);
	memcpy(end, wire->date, sizeof(wire->date));
	end += sizeof(wire->date);
	*end++ = ' ';
	end = PutTwoDigits(end, seconds / SECS_PER_HOUR);
	*end++ = ':';
	end = PutTwoDigits(end, seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	*end++ = ':';
	end = PutTwoDigits(end, seconds % SECS_PER_MINUTE);
	if (microseconds != 0)
	{
		*end++ = '.';
		end = PutTwoDigits(end, microseconds / 10000);
		end = PutTwoDigits(end, microseconds / 100 % 100);
		end = PutTwoDigits(end, microseconds % 100);
		while (end[-1] == '0')
			end--;
	}
	return PutLength(place, (int32)(end - start)) + (end - start);
}

static void
AppendJsonb(StringInfo row, Jsonb *value)
{
	int start = row->len;

	enlargeStringInfo(row, sizeof(int32));
	row->len += sizeof(int32);
	if (value)
		JsonAppendJsonb(row, value);
	PutLength(row->data + start, value ? row->len - start - (int)sizeof(int32) : -1);
}

/* A column that is a bigint. */
static void
AppendInt64(StringInfo row, int64 value, bool isnull)
{
	char *place;

	enlargeStringInfo(row, sizeof(int32) + MAX_INT64_TEXT + 1);
	place = row->data + row->len;
	row->len += (int)((isnull ? PutLength(place, -1) : PutInt64(place, value)) - place);
}

/* ---- rows ----------------------------------------------------------------------------------------- */

/* Makes the row of a message: the columns of message_store.message. */
static void
AppendRow(WireReceiver *wire, const Message *message)
{
	StringInfo row = wire->output;
	char *place;

	pq_sendint16(row, MESSAGE_COLUMNS);
	enlargeStringInfo(row, 5 * (int)sizeof(int32) + UUID_TEXT_LEN + message->stream.len + message->type.len +
							   2 * (MAX_INT64_TEXT + 1));
	place = PutLength(row->data + row->len, UUID_TEXT_LEN);
	UuidToText(message->id, place);
	place = PutBytes(place + UUID_TEXT_LEN, message->stream.bytes, message->stream.len);
	place = PutBytes(place, message->type.bytes, message->type.len);
	place = PutInt64(place, message->position);
	place = PutInt64(place, message->global_position);
	row->len = (int)(place - row->data);
	AppendJsonb(row, message->data);
	AppendJsonb(row, message->metadata);
	enlargeStringInfo(row, sizeof(int32) + MAX_TIMESTAMP_TEXT + 1);
	place = row->data + row->len;
	row->len += (int)(PutTime(wire, place, message->time) - place);
}

/* Makes the row of a function whose row is a page: that as text, then bigints. */
static void
AppendPage(StringInfo row, MessageScan *scan)
{
	Datum values[MESSAGE_COLUMNS];
	bool isnull[MESSAGE_COLUMNS] = {false};
	int columns = MessageFunctionColumns(scan->function);
	int start;

	pq_sendint16(row, columns);
	start = row->len;
	pq_sendint32(row, 0);
	ScanPage(scan, row, values, isnull);
	PutLength(row->data + start, row->len - start - (int)sizeof(int32));
	for (int i = 1; i < columns; i++)
		AppendInt64(row, DatumGetInt64(values[i]), isnull[i]);
}

static bool
ReceiveRow(TupleTableSlot *slot, DestReceiver *self)
{
	WireReceiver *wire = (WireReceiver *)self;
	MemoryContext caller =
		MemoryContextSwitchTo(wire->scan->node.ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
	int start = OutputBeginMessage('D');

	if (wire->scan->function->page)
		AppendPage(wire->output, wire->scan);
	else
		AppendRow(wire, wire->scan->message);
	OutputEndMessage(start);
	MemoryContextSwitchTo(caller);
	return true;
}

static void
StartRows(DestReceiver *self, int operation, TupleDesc desc)
{
	WireReceiver *wire = (WireReceiver *)self;

	wire->output = OutputBegin();
	wire->client->rStartup(wire->client, operation, desc);
}

static void
EndRows(DestReceiver *self)
{
	WireReceiver *wire = (WireReceiver *)self;

	OutputEnd();
	wire->client->rShutdown(wire->client);
}

static void
DestroyReceiver(DestReceiver *self)
{
	pfree(self);
}

/* ---- when ------------------------------------------------------------------------------------------- */

/* Says whether the client of the running portal wants every column as text. */
static bool
ClientWantsText(Portal portal, int columns)
{
	if (!portal->formats)
		return true;
	for (int i = 0; i < columns; i++)
		if (portal->formats[i] != 0)
			return false;
	return true;
}

/* Says whether text goes to the client as it is in the server. */
static bool
ClientTakesServerEncoding(void)
{
	int encoding = pg_get_client_encoding();

	return encoding == GetDatabaseEncoding() || encoding == PG_SQL_ASCII;
}

/* Says whether the rows are those of Message DB's functions, and their times as PutTime() writes them. */
static bool
IsOfMessageDb(const MessageFunction *function)
{
	return memcmp(function->types, message_db_functions[0]->types, sizeof(function->types)) == 0 &&
		   DateStyle == USE_ISO_DATES;
}

/* Returns the scan whose rows may go straight to the client; NULL when this is no such query. */
static MessageScan *
DirectScan(QueryDesc *query)
{
	CommandDest dest = query->dest->mydest;
	MessageScan *scan = ScanOfNode(query->planstate);

	if (!scan || (dest != DestRemote && dest != DestRemoteExecute) || !ActivePortal ||
		ActivePortal->queryDesc != query)
		return NULL;
	if (query->operation != CMD_SELECT || query->estate->es_junkFilter || scan->node.ss.ps.ps_ProjInfo ||
		scan->node.ss.ps.qual)
		return NULL;
	if (!ClientTakesServerEncoding() ||
		!ClientWantsText(ActivePortal, MessageFunctionColumns(scan->function)))
		return NULL;
	return scan->function->page || IsOfMessageDb(scan->function) ? scan : NULL;
}

/* ExecutorRun_hook */
static void
RunQuery(CompatExecutorRunParameters)
{
	DestReceiver *client = queryDesc->dest;
	MessageScan *scan = DirectScan(queryDesc);

	if (scan)
	{
		WireReceiver *wire = MemoryContextAllocZero(queryDesc->estate->es_query_cxt, sizeof(WireReceiver));

		wire->receiver = (DestReceiver){ReceiveRow, StartRows, EndRows, DestroyReceiver, client->mydest};
		wire->client = client;
		wire->scan = scan;
		wire->day = PG_INT32_MIN;
		queryDesc->dest = &wire->receiver;
		scan->direct = true;
	}
	if (next_run_hook)
		next_run_hook(CompatExecutorRunArguments);
	else
		standard_ExecutorRun(CompatExecutorRunArguments);
	if (scan)
	{
		pfree(queryDesc->dest);
		queryDesc->dest = client;
		scan->direct = false;
	}
}

/* Registers the hook that exchanges the receiver, when the library is loaded. */
void
WireInit(void)
{
	next_run_hook = ExecutorRun_hook;
	ExecutorRun_hook = RunQuery;
}
