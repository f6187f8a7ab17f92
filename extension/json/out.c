/*
 * out.c: messages as JSON text, the way the HTTP side sends them.
 *
 *     [id, type, position, globalPosition, data, metadata, time]               from a stream
 *     [id, streamName, type, position, globalPosition, data, metadata, time]   from a category or all
 *
 * Times are RFC 3339 in UTC with microseconds, trailing zeros trimmed.  A jsonb's text is byte for byte what
 * jsonb_out() gives, in about a third of the time: strings are copied in runs instead of byte by byte, and
 * containers are walked without an iterator.  The format walked is that of utils/jsonb.h, which has not
 * changed since 9.4.
 */
#include "postgres.h"

#include "base/compat.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "json/bytes.h"
#include "json/out.h"

static void AppendContainer(StringInfo out, JsonbContainer *container);

/* ---- text --------------------------------------------------------------------------------------------- */

void
TextBegin(StringInfo out)
{
	initStringInfo(out);
	appendStringInfoSpaces(out, VARHDRSZ); /* the header of the datum that it becomes */
}

text *
TextEnd(StringInfo out)
{
	SET_VARSIZE(out->data, out->len);
	return (text *)out->data;
}

/* ---- appending ---------------------------------------------------------------------------------------- */

/* Makes room for more bytes, and the NUL that StringInfo keeps behind them. */
static inline void
Reserve(StringInfo out, size_t len)
{
	if (unlikely(len >= (size_t)(out->maxlen - out->len)))
		enlargeStringInfo(out, (int)len);
}

/*
 * appendBinaryStringInfo(), without a call for the few bytes that most are.  Leaves the NUL to the last one's
 * caller.
 */
static inline void
AppendBytes(StringInfo out, const char *bytes, size_t len)
{
	Reserve(out, len);
	memcpy(out->data + out->len, bytes, len);
	out->len += (int)len;
}

/* ---- strings ---------------------------------------------------------------------------------------- */

/* Copies bytes up to the first that needs an escape; returns how many.  `to` has room for all. */
static inline size_t
CopyPlain(char *to, const char *from, size_t len)
{
	size_t done = 0;

#ifdef __SSE2__
	while (len - done >= sizeof(__m128i))
	{
		__m128i vector = _mm_loadu_si128((const __m128i *)(from + done));
		uint32 special = SpecialBytes(vector);

		_mm_storeu_si128((__m128i *)(to + done), vector);
		if (special != 0)
			return done + pg_rightmost_one_pos32(special);
		done += sizeof(__m128i);
	}
#endif
	while (len - done >= sizeof(uint64) && !WordNeedsEscape(from + done))
	{
		memcpy(to + done, from + done, sizeof(uint64));
		done += sizeof(uint64);
	}
	while (done < len && IsPlainByte(from[done]))
	{
		to[done] = from[done];
		done++;
	}
	return done;
}

static void
AppendEscaped(StringInfo out, unsigned char c)
{
	static const char letters[] = "btnvfr"; /* 8 to 13; \v is not JSON's */

	if (c == '"' || c == '\\')
		appendStringInfo(out, "\\%c", c);
	else if (c >= '\b' && c <= '\r' && c != '\v')
		appendStringInfo(out, "\\%c", letters[c - '\b']);
	else
		appendStringInfo(out, "\\u%04x", c);
}

/* Appends a string in quotes. */
void
JsonAppendString(StringInfo out, Slice string)
{
	const char *bytes = string.bytes;
	size_t left = string.len;

	AppendBytes(out, "\"", 1);
	for (;;)
	{
		size_t plain;

		Reserve(out, left);
		plain = CopyPlain(out->data + out->len, bytes, left);
		out->len += (int)plain;
		if (plain == left)
			break;
		AppendEscaped(out, (unsigned char)bytes[plain]);
		bytes += plain + 1;
		left -= plain + 1;
	}
	AppendBytes(out, "\"", 1);
	out->data[out->len] = '\0';
}

/* ---- jsonb ------------------------------------------------------------------------------------------- */

/* Appends one child of a container; offset is where its data begins. */
static void
AppendChild(StringInfo out, JEntry entry, char *data, uint32 offset, uint32 len)
{
	if (JBE_ISSTRING(entry))
		JsonAppendString(out, (Slice){data + offset, (int)len});
	else if (JBE_ISNUMERIC(entry))
		appendStringInfoString(
			out, DatumGetCString(DirectFunctionCall1(numeric_out, PointerGetDatum(data + INTALIGN(offset)))));
	else if (JBE_ISBOOL_TRUE(entry))
		AppendBytes(out, "true", 4);
	else if (JBE_ISBOOL_FALSE(entry))
		AppendBytes(out, "false", 5);
	else if (JBE_ISNULL(entry))
		AppendBytes(out, "null", 4);
	else
		AppendContainer(out, (JsonbContainer *)(data + INTALIGN(offset)));
}

static void
AppendArray(StringInfo out, JsonbContainer *array)
{
	int count = JsonContainerSize(array);
	char *data = (char *)&array->children[count];
	uint32 offset = 0;
	bool scalar = JsonContainerIsScalar(array);

	if (!scalar)
		AppendBytes(out, "[", 1);
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			AppendBytes(out, ", ", 2);
		AppendChild(out, array->children[i], data, offset, getJsonbLength(array, i));
		JBE_ADVANCE_OFFSET(offset, array->children[i]);
	}
	if (!scalar)
		AppendBytes(out, "]", 1);
}

static void
AppendObject(StringInfo out, JsonbContainer *object)
{
	int count = JsonContainerSize(object);
	char *data = (char *)&object->children[(size_t)2 * count];
	uint32 key_offset = 0;
	uint32 value_offset = count > 0 ? getJsonbOffset(object, count) : 0;

	AppendBytes(out, "{", 1);
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			AppendBytes(out, ", ", 2);
		JsonAppendString(out, (Slice){data + key_offset, (int)getJsonbLength(object, i)});
		AppendBytes(out, ": ", 2);
		AppendChild(out, object->children[count + i], data, value_offset, getJsonbLength(object, count + i));
		JBE_ADVANCE_OFFSET(key_offset, object->children[i]);
		JBE_ADVANCE_OFFSET(value_offset, object->children[count + i]);
	}
	AppendBytes(out, "}", 1);
}

static void
AppendContainer(StringInfo out, JsonbContainer *container)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
		AppendObject(out, container);
	else
		AppendArray(out, container);
}

/* Appends a jsonb's text; NULL is null. */
void
JsonAppendJsonb(StringInfo out, Jsonb *value)
{
	if (value)
		AppendContainer(out, &value->root);
	else
		AppendBytes(out, "null", 4);
	out->data[out->len] = '\0';
}

/* ---- numbers, ids, times ------------------------------------------------------------------------------- */

void
JsonAppendInt64(StringInfo out, int64 value)
{
	enlargeStringInfo(out, 24);
	out->len += pg_lltoa(value, out->data + out->len);
}

/* Writes four bytes as eight hexadecimal digits, all at once: a nibble to a byte of a word. */
static inline void
PutHex(char *place, const unsigned char *bytes)
{
	uint32 number;
	uint64 digits;

	memcpy(&number, bytes, sizeof(number));
	digits = pg_ntoh32(number);
	digits = (digits | digits << 16) & UINT64CONST(0x0000FFFF0000FFFF);
	digits = (digits | digits << 8) & UINT64CONST(0x00FF00FF00FF00FF);
	digits = (digits | digits << 4) & EVERY_BYTE(0x0F);
	/* Six more carry those from ten on into the high nibble. */
	digits += EVERY_BYTE('0') + ((digits + EVERY_BYTE(6)) >> 4 & EVERY_BYTE(1)) * ('a' - '9' - 1);
	digits = pg_hton64(digits);
	memcpy(place, &digits, sizeof(digits));
}

void
UuidToText(const pg_uuid_t *id, char *text_form)
{
	char hex[2 * UUID_LEN] = {0}; /* for cppcheck, which does not see PutHex() fill it */

	for (int i = 0; i < UUID_LEN; i += 4)
		PutHex(hex + (size_t)2 * i, id->data + i);
	memset(text_form, '-', UUID_TEXT_LEN);
	memcpy(text_form, hex, 8);
	memcpy(text_form + 9, hex + 8, 4);
	memcpy(text_form + 14, hex + 12, 4);
	memcpy(text_form + 19, hex + 16, 4);
	memcpy(text_form + 24, hex + 20, 12);
}

void
JsonAppendUuid(StringInfo out, const pg_uuid_t *id)
{
	char text_form[UUID_TEXT_LEN];

	UuidToText(id, text_form);
	appendStringInfoCharMacro(out, '"');
	appendBinaryStringInfo(out, text_form, sizeof(text_form));
	appendStringInfoCharMacro(out, '"');
}

/* Writes a number with leading zeros. */
static char *
PutDigits(char *place, int value, int digits)
{
	for (int i = digits - 1; i >= 0; i--)
	{
		place[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return place + digits;
}

void
JsonAppendTime(StringInfo out, Timestamp time)
{
	struct pg_tm tm;
	fsec_t microseconds;
	char text_form[40];
	char *end = text_form;

	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, NULL, &tm, &microseconds, NULL, NULL) != 0 ||
		tm.tm_year < 0)
	{
		appendStringInfoString(out, "null");
		return;
	}
	*end++ = '"';
	end = PutDigits(end, tm.tm_year, tm.tm_year > 9999 ? 6 : 4);
	*end++ = '-';
	end = PutDigits(end, tm.tm_mon, 2);
	*end++ = '-';
	end = PutDigits(end, tm.tm_mday, 2);
	*end++ = 'T';
	end = PutDigits(end, tm.tm_hour, 2);
	*end++ = ':';
	end = PutDigits(end, tm.tm_min, 2);
	*end++ = ':';
	end = PutDigits(end, tm.tm_sec, 2);
	if (microseconds != 0)
	{
		*end++ = '.';
		end = PutDigits(end, (int)microseconds, 6);
		while (end[-1] == '0')
			end--;
	}
	*end++ = 'Z';
	*end++ = '"';
	appendBinaryStringInfo(out, text_form, (int)(end - text_form));
}

/* ---- messages ------------------------------------------------------------------------------------------ */

void
JsonAppendMessage(StringInfo out, const Message *message, bool with_stream)
{
	appendStringInfoCharMacro(out, '[');
	JsonAppendUuid(out, message->id);
	appendStringInfoCharMacro(out, ',');
	if (with_stream)
	{
		JsonAppendString(out, message->stream);
		appendStringInfoCharMacro(out, ',');
	}
	JsonAppendString(out, message->type);
	appendStringInfoCharMacro(out, ',');
	JsonAppendInt64(out, message->position);
	appendStringInfoCharMacro(out, ',');
	JsonAppendInt64(out, message->global_position);
	appendStringInfoCharMacro(out, ',');
	JsonAppendJsonb(out, message->data);
	appendStringInfoCharMacro(out, ',');
	JsonAppendJsonb(out, message->metadata);
	appendStringInfoCharMacro(out, ',');
	JsonAppendTime(out, message->time);
	appendStringInfoCharMacro(out, ']');
}
