/*
 * out.h: JSON text, written straight into a buffer.
 */
#ifndef MILLRACE_JSONOUT_H
#define MILLRACE_JSONOUT_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "core/read.h"

/* Room for a UUID's text, without a NUL. */
#define UUID_TEXT_LEN 36

/* A text datum made in place: begin, append, end.  The buffer is the datum's from then on. */
extern void TextBegin(StringInfo out);
extern text *TextEnd(StringInfo out);

/*
 * Append a value as JSON.  A jsonb that is NULL, and a time that is not finite or before the year 0, is
 * null.  A message is one of the arrays at the head of out.c.
 */
extern void JsonAppendInt64(StringInfo out, int64 value);
extern void JsonAppendUuid(StringInfo out, const pg_uuid_t *id);
extern void JsonAppendMessage(StringInfo out, const Message *message, bool with_stream);
extern void JsonAppendString(StringInfo out, Slice string);
extern void JsonAppendTime(StringInfo out, Timestamp time);
extern void JsonAppendJsonb(StringInfo out, Jsonb *value);
/* Writes UUID_TEXT_LEN bytes. */
extern void UuidToText(const pg_uuid_t *id, char *text_form);

#endif
