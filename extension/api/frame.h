/*
 * frame.h: reading frames, which protocol.h describes.
 *
 * Every function raises MR011 for what is malformed.  What they return lies in the frame, or in the current
 * memory context.
 */
#ifndef MILLRACE_FRAME_H
#define MILLRACE_FRAME_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct FrameReader
{
	const char *next;
	const char *end;
	int version;
} FrameReader;

extern FrameReader FrameOpen(bytea *frame, int newest);
extern void FrameClose(FrameReader *reader);
extern const char *FrameBytes(FrameReader *reader, size_t len);
extern uint32 FrameUint32(FrameReader *reader);
extern int64 FrameInt64(FrameReader *reader);
extern int FrameCount(FrameReader *reader, size_t least);
extern int FrameParts(FrameReader *reader, bool *conditional);
extern const char *FrameString(FrameReader *reader);
extern void FrameSkipString(FrameReader *reader);
extern const char *FrameRequiredString(FrameReader *reader);
extern Jsonb *FrameObject(FrameReader *reader, const char *what, bool required);
extern text *FrameName(FrameReader *reader, const char *what);

#endif
