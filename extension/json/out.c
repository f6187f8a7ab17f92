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

static inline void
AppendChar(StringInfo out, char c)
{
	Reserve(out, 1);
	out->data[out->len++] = c;
}

/* ---- strings ---------------------------------------------------------------------------------------- */

/*
 * Copies a short string at once, if it has no byte that needs an escape: its first and its last half, which
 * may overlap.
 */
static inline bool
CopyShort(char *to, const char *from, size_t len)
{
	uint32 halves[2];
	uint64 words[2];

	if (len >= sizeof(uint64) && len <= 2 * sizeof(uint64))
	{
		memcpy(&words[0], from, sizeof(uint64));
		memcpy(&words[1], from + len - sizeof(uint64), sizeof(uint64));
		if (NeedsEscape(words[0]) || NeedsEscape(words[1]))
			return false;
		memcpy(to, &words[0], sizeof(uint64));
		memcpy(to + len - sizeof(uint64), &words[1], sizeof(uint64));
		return true;
	}
	if (len < sizeof(uint32) || len > sizeof(uint64))
		return false;
	memcpy(&halves[0], from, sizeof(uint32));
	memcpy(&halves[1], from + len - sizeof(uint32), sizeof(uint32));
	if (NeedsEscape(halves[0] | (uint64)halves[1] << 32))
		return false;
	memcpy(to, &halves[0], sizeof(uint32));
	memcpy(to + len - sizeof(uint32), &halves[1], sizeof(uint32));
	return true;
}

/* Copies bytes up to the first that needs an escape; returns how many.  `to` has room for all. */
static inline size_t
CopyPlain(char *to, const char *from, size_t len)
{
	size_t done = 0;

	if (CopyShort(to, from, len))
		return len;
#ifdef __SSE2__
	/* The last sixteen are looked at whole, with some of those before them. */
	while (len >= sizeof(__m128i) && done < len)
	{
		size_t at = Min(done, len - sizeof(__m128i));
		__m128i vector = _mm_loadu_si128((const __m128i *)(from + at));
		uint32 special = SpecialBytes(vector);

		_mm_storeu_si128((__m128i *)(to + at), vector);
		if (special != 0)
			return at + pg_rightmost_one_pos32(special);
		done = at + sizeof(__m128i);
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
		AppendBytes(out, (const char[]){'\\', (char)c}, 2);
	else if (c >= '\b' && c <= '\r' && c != '\v')
		AppendBytes(out, (const char[]){'\\', letters[c - '\b']}, 2);
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

		Reserve(out, left + 1);
		plain = CopyPlain(out->data + out->len, bytes, left);
		out->len += (int)plain;
		if (likely(plain == left))
			break;
		AppendEscaped(out, (unsigned char)bytes[plain]);
		bytes += plain + 1;
		left -= plain + 1;
	}
	out->data[out->len++] = '"';
	out->data[out->len] = '\0';
}

/* ---- jsonb ------------------------------------------------------------------------------------------- */

/*
 * The head of a number that is stored short, as most are: sign, scale and weight in a word, before groups of
 * four digits.  Numbers have been on disk so since 9.1.
 */
#define IS_NOT_SHORT 0x4000
#define IS_SHORT 0x8000
#define SHORT_NEGATIVE 0x2000
#define SHORT_SCALE(head) (((head) >> 7) & 0x3F)
#define SHORT_WEIGHT(head) (((head)&0x3F) - ((head)&0x40))
#define GROUP 4

/* Writes the digits of a group of the number, which may be none of those that are stored. */
static inline void
PutGroup(char *place, const int16 *groups, int count, int at)
{
	int group = at >= 0 && at < count ? groups[at] : 0;

	place[0] = (char)('0' + group / 1000);
	place[1] = (char)('0' + group / 100 % 10);
	place[2] = (char)('0' + group / 10 % 10);
	place[3] = (char)('0' + group % 10);
}

/* Appends a number of a word and so many groups, as numeric_out() does. */
static void
AppendShortNumber(StringInfo out, uint16 head, const int16 *groups, int count)
{
	int scale = SHORT_SCALE(head);
	int weight = SHORT_WEIGHT(head);
	char *place;

	Reserve(out, (size_t)1 + GROUP * ((size_t)Max(weight, 0) + 1) + 1 + scale + GROUP);
	place = out->data + out->len;
	if (head & SHORT_NEGATIVE)
		*place++ = '-';
	place += pg_ultoa_n(weight >= 0 && count > 0 ? (uint32)groups[0] : 0, place);
	for (int at = 1; at <= weight; at++, place += GROUP)
		PutGroup(place, groups, count, at);
	if (scale > 0)
	{
		*place++ = '.';
		for (int digits = 0, at = weight + 1; digits < scale; digits += GROUP, at++)
			PutGroup(place + digits, groups, count, at);
		place += scale;
	}
	out->len = (int)(place - out->data);
}

static void
AppendNumber(StringInfo out, char *number)
{
	const uint16 *words = (const uint16 *)(number + VARHDRSZ);

	if (VARATT_IS_4B_U(number) && (words[0] & (IS_SHORT | IS_NOT_SHORT)) == IS_SHORT)
		AppendShortNumber(out, words[0], (const int16 *)words + 1,
						  (int)((VARSIZE(number) - VARHDRSZ) / sizeof(int16)) - 1);
	else
		appendStringInfoString(out,
							   DatumGetCString(DirectFunctionCall1(numeric_out, PointerGetDatum(number))));
}

/* getJsonbLength(), for one that knows where the child begins. */
static inline uint32
ChildLength(JEntry entry, uint32 offset)
{
	return JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) - offset : JBE_OFFLENFLD(entry);
}

/* Appends one child of a container; offset is where its data begins. */
static void
AppendChild(StringInfo out, JEntry entry, char *data, uint32 offset, uint32 len)
{
	if (JBE_ISSTRING(entry))
		JsonAppendString(out, (Slice){data + offset, (int)len});
	else if (JBE_ISNUMERIC(entry))
		AppendNumber(out, data + INTALIGN(offset));
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
		AppendChild(out, array->children[i], data, offset, ChildLength(array->children[i], offset));
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
		JEntry key = object->children[i];
		JEntry value = object->children[count + i];

		if (i > 0)
			AppendBytes(out, ", ", 2);
		JsonAppendString(out, (Slice){data + key_offset, (int)ChildLength(key, key_offset)});
		AppendBytes(out, ": ", 2);
		AppendChild(out, value, data, value_offset, ChildLength(value, value_offset));
		JBE_ADVANCE_OFFSET(key_offset, key);
		JBE_ADVANCE_OFFSET(value_offset, value);
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
	Reserve(out, MAXINT8LEN + 1);
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
	char *place;

	Reserve(out, UUID_TEXT_LEN + 2);
	place = out->data + out->len;
	place[0] = '"';
	UuidToText(id, place + 1);
	place[UUID_TEXT_LEN + 1] = '"';
	out->len += UUID_TEXT_LEN + 2;
	out->data[out->len] = '\0';
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

/* The text of a second, up to its fraction. */
typedef struct SecondText
{
	int64 second; /* since 2000-01-01 */
	int len;	  /* 0: it has none */
	char text_form[24];
} SecondText;

static void
FormatSecond(SecondText *found, int64 second)
{
	struct pg_tm tm;
	fsec_t microseconds;
	char *end = found->text_form;

	found->second = second;
	found->len = 0;
	if (timestamp2tm(second * USECS_PER_SEC, NULL, &tm, &microseconds, NULL, NULL) != 0 || tm.tm_year < 0)
		return;
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
	found->len = (int)(end - found->text_form);
}

/* Messages that are neighbours are often of the same second, so its text is kept. */
void
JsonAppendTime(StringInfo out, Timestamp time)
{
	static SecondText last = {.second = PG_INT64_MIN};
	int64 second = time / USECS_PER_SEC;
	int microseconds = (int)(time % USECS_PER_SEC);
	char *end;

	if (microseconds < 0)
	{
		second--;
		microseconds += USECS_PER_SEC;
	}
	if (!TIMESTAMP_NOT_FINITE(time) && last.second != second)
		FormatSecond(&last, second);
	if (TIMESTAMP_NOT_FINITE(time) || last.len == 0)
	{
		appendStringInfoString(out, "null");
		return;
	}
	Reserve(out, sizeof(last.text_form) + 10);
	end = out->data + out->len;
	*end++ = '"';
	memcpy(end, last.text_form, sizeof(last.text_form));
	end += last.len;
	if (microseconds != 0)
	{
		*end++ = '.';
		end = PutDigits(end, microseconds, 6);
		while (end[-1] == '0')
			end--;
	}
	*end++ = 'Z';
	*end++ = '"';
	*end = '\0';
	out->len = (int)(end - out->data);
}

/* ---- messages ------------------------------------------------------------------------------------------ */

void
JsonAppendMessage(StringInfo out, const Message *message, bool with_stream)
{
	AppendChar(out, '[');
	JsonAppendUuid(out, message->id);
	AppendChar(out, ',');
	if (with_stream)
	{
		JsonAppendString(out, message->stream);
		AppendChar(out, ',');
	}
	JsonAppendString(out, message->type);
	AppendChar(out, ',');
	JsonAppendInt64(out, message->position);
	AppendChar(out, ',');
	JsonAppendInt64(out, message->global_position);
	AppendChar(out, ',');
	JsonAppendJsonb(out, message->data);
	AppendChar(out, ',');
	JsonAppendJsonb(out, message->metadata);
	AppendChar(out, ',');
	JsonAppendTime(out, message->time);
	appendStringInfoCharMacro(out, ']');
}
