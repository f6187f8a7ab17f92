/*
 * sse: the text of server-sent events, each in an HTTP chunk of its own where the client understands chunks.
 */
#ifndef MILLRACE_SSE_H
#define MILLRACE_SSE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* Header lines of a reply of events: no proxy keeps them, nor holds them back. */
#define SSE_HEADERS "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"

struct sse_event
{
	struct slice id; /* .bytes NULL: none */
	const char *name;
	struct slice data; /* without a line feed */
};

void sse_add_event(struct buf *out, const struct sse_event *event, bool chunked);
/* Adds finished events, each with its blank line. */
void sse_add_text(struct buf *out, struct slice text, bool chunked);

#endif
