/*
 * frame.c: reading the binary frames that the HTTP side sends: append_batch()'s and import_batch()'s.
 *
 * The bytes come from outside: lengths are compared with what is left, strings are checked for their
 * encoding, and whatever does not fit is MR011.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "base/errors.h"
#include "api/frame.h"
#include "json/in.h"
#include "protocol.h"

static void
Malformed(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_MILLRACE_MALFORMED_BATCH), errmsg("malformed batch: %s", what)));
}

/* Takes bytes. */
const char *
FrameBytes(FrameReader *reader, size_t len)
{
	const char *bytes = reader->next;

	if (len > (size_t)(reader->end - reader->next))
		Malformed("it ends too early");
	reader->next += len;
	return bytes;
}

/* Take an integer. */
uint32
FrameUint32(FrameReader *reader)
{
	uint32 value;

	memcpy(&value, FrameBytes(reader, sizeof(value)), sizeof(value));
	return pg_ntoh32(value);
}

int64
FrameInt64(FrameReader *reader)
{
	uint64 value;

	memcpy(&value, FrameBytes(reader, sizeof(value)), sizeof(value));
	return (int64)pg_ntoh64(value);
}

/*
 * Checks a count of things each of which takes at least `least` bytes, so that a false one can't cause
 * a large allocation.
 */
static int
CheckCount(const FrameReader *reader, uint32 count, size_t least)
{
	if (count == 0 || count > (size_t)(reader->end - reader->next) / least)
		Malformed("a count is zero or larger than what follows");
	return (int)count;
}

/* Reads such a count. */
int
FrameCount(FrameReader *reader, size_t least)
{
	uint32 count = FrameUint32(reader);

	return CheckCount(reader, count, least);
}

/* Reads how many parts a request has, and whether it has conditions. */
int
FrameParts(FrameReader *reader, bool *conditional)
{
	uint32 count = FrameUint32(reader);

	*conditional = (count & FRAME_CONDITIONS) != 0;
	return CheckCount(reader, count & ~FRAME_CONDITIONS, 2 * sizeof(uint32) + sizeof(int64));
}

/* Reads a string, in the server's encoding; NULL for none. */
const char *
FrameString(FrameReader *reader)
{
	uint32 len = FrameUint32(reader);
	const char *bytes;

	if (len == FRAME_NULL)
		return NULL;
	bytes = FrameBytes(reader, (size_t)len + 1);
	if (bytes[len] != '\0' || memchr(bytes, '\0', len) != NULL)
		Malformed("a string holds a NUL, or doesn't end in one");
	return pg_any_to_server(bytes, (int)len, PG_UTF8);
}

/* The same, but it must be there. */
const char *
FrameRequiredString(FrameReader *reader)
{
	const char *string = FrameString(reader);

	if (!string)
		Malformed("a string is missing");
	return string;
}

/* Goes over a string, of which only the length is looked at. */
void
FrameSkipString(FrameReader *reader)
{
	uint32 len = FrameUint32(reader);

	if (len != FRAME_NULL)
		(void)FrameBytes(reader, (size_t)len + 1);
}

/* Reads a string that is a JSON object; NULL for none.  Errors: also MR008, and those of jsonb_in(). */
Jsonb *
FrameObject(FrameReader *reader, const char *what, bool required)
{
	const char *string = required ? FrameRequiredString(reader) : FrameString(reader);
	Jsonb *value;

	if (!string)
		return NULL;
	value = JsonbFromText(string, strlen(string));
	CheckObject(value, what);
	return value;
}

/* Reads a name.  Errors: also MR006, MR007. */
text *
FrameName(FrameReader *reader, const char *what)
{
	text *name = cstring_to_text(FrameRequiredString(reader));

	CheckName(name, what);
	return name;
}

/* Begins to read a frame, whose first byte is its version: 1 to `newest`. */
FrameReader
FrameOpen(bytea *frame, int newest)
{
	FrameReader reader = {VARDATA_ANY(frame), (char *)VARDATA_ANY(frame) + VARSIZE_ANY_EXHDR(frame), 0};

	reader.version = (unsigned char)*FrameBytes(&reader, 1);
	if (reader.version < 1 || reader.version > newest)
		Malformed("unknown version");
	return reader;
}

/* Ends reading a frame, of which nothing may be left. */
void
FrameClose(FrameReader *reader)
{
	if (reader->next != reader->end)
		Malformed("bytes are left at its end");
}
