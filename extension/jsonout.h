/*
 * jsonout.h: messages as JSON text, the way the HTTP side sends them (WIRE format).
 */
#ifndef MILLRACE_JSONOUT_H
#define MILLRACE_JSONOUT_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "read.h"

extern void JsonAppendMessage(StringInfo out, const Message *message, bool with_stream);
extern void JsonAppendString(StringInfo out, Slice string);
extern void JsonAppendTime(StringInfo out, Timestamp time);

#endif
