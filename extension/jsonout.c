/*
 * jsonout.c: messages as JSON text.
 *
 *     [id, type, position, globalPosition, data, metadata, time]               from a stream
 *     [id, streamName, type, position, globalPosition, data, metadata, time]   from a category or all
 *
 * Times are RFC 3339 in UTC with microseconds, trailing zeros trimmed.
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "jsonout.h"

/* Appends a string in quotes.  Most have nothing to escape and go in runs. */
void
JsonAppendString(StringInfo out, Slice string)
{
	const char *run = string.bytes;
	const char *end = string.bytes + string.len;

	appendStringInfoCharMacro(out, '"');
	for (const char *p = run; p < end; p++)
	{
		unsigned char c = (unsigned char)*p;

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(out, run, p - run);
		run = p + 1;
		switch (c)
		{
			case '"':
				appendStringInfoString(out, "\\\"");
				break;
			case '\\':
				appendStringInfoString(out, "\\\\");
				break;
			case '\n':
				appendStringInfoString(out, "\\n");
				break;
			case '\r':
				appendStringInfoString(out, "\\r");
				break;
			case '\t':
				appendStringInfoString(out, "\\t");
				break;
			default:
				appendStringInfo(out, "\\u%04x", c);
		}
	}
	appendBinaryStringInfo(out, run, end - run);
	appendStringInfoCharMacro(out, '"');
}

static void
AppendInt64(StringInfo out, int64 value)
{
	char digits[24];
	int len = sizeof(digits);
	uint64 rest = value < 0 ? 0 - (uint64)value : (uint64)value;

	do
		digits[--len] = '0' + rest % 10;
	while ((rest /= 10) > 0);
	if (value < 0)
		digits[--len] = '-';
	appendBinaryStringInfo(out, digits + len, sizeof(digits) - len);
}

static void
AppendUuid(StringInfo out, const pg_uuid_t *id)
{
	static const char hex[] = "0123456789abcdef";
	char text_form[36];
	int len = 0;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text_form[len++] = '-';
		text_form[len++] = hex[id->data[i] >> 4];
		text_form[len++] = hex[id->data[i] & 0xF];
	}
	appendStringInfoCharMacro(out, '"');
	appendBinaryStringInfo(out, text_form, len);
	appendStringInfoCharMacro(out, '"');
}

void
JsonAppendTime(StringInfo out, Timestamp time)
{
	struct pg_tm tm;
	fsec_t microseconds;

	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, NULL, &tm, &microseconds, NULL, NULL) != 0)
	{
		appendStringInfoString(out, "null");
		return;
	}
	appendStringInfo(out, "\"%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour,
					 tm.tm_min, tm.tm_sec);
	if (microseconds != 0)
	{
		appendStringInfo(out, ".%06d", (int)microseconds);
		while (out->data[out->len - 1] == '0')
			out->data[--out->len] = '\0';
	}
	appendStringInfoString(out, "Z\"");
}

static void
AppendJsonb(StringInfo out, Jsonb *value)
{
	if (value)
		(void)JsonbToCString(out, &value->root, VARSIZE(value));
	else
		appendStringInfoString(out, "null");
}

void
JsonAppendMessage(StringInfo out, const Message *message, bool with_stream)
{
	appendStringInfoCharMacro(out, '[');
	AppendUuid(out, message->id);
	appendStringInfoCharMacro(out, ',');
	if (with_stream)
	{
		JsonAppendString(out, message->stream);
		appendStringInfoCharMacro(out, ',');
	}
	JsonAppendString(out, message->type);
	appendStringInfoCharMacro(out, ',');
	AppendInt64(out, message->position);
	appendStringInfoCharMacro(out, ',');
	AppendInt64(out, message->global_position);
	appendStringInfoCharMacro(out, ',');
	AppendJsonb(out, message->data);
	appendStringInfoCharMacro(out, ',');
	AppendJsonb(out, message->metadata);
	appendStringInfoCharMacro(out, ',');
	JsonAppendTime(out, message->time);
	appendStringInfoCharMacro(out, ']');
}
