/*
 * sse.c: the text of server-sent events (see sse.h).
 */
#include "http/sse.h"

#include "extension/protocol.h"
#include "extension/hex.h"

static void add_slice(struct buf *out, struct slice slice)
{
	buf_add(out, slice.bytes, slice.len);
}

/* The line before a chunk: its length in hexadecimal. */
static void add_chunk_size(struct buf *out, size_t size)
{
	char line[sizeof(size) * 2 + 2];
	char *at = line + sizeof(line);

	*--at = '\n';
	*--at = '\r';
	do
		*--at = HEX_DIGITS[size & 15];
	while ((size >>= 4) > 0);
	buf_add(out, at, (size_t)(line + sizeof(line) - at));
}

void sse_add_event(struct buf *out, const struct sse_event *event, bool chunked)
{
	size_t id = event->id.bytes != NULL ? strlen(SSE_ID) + event->id.len + 1 : 0;

	if (chunked)
		add_chunk_size(out, id + strlen(SSE_EVENT) + strlen(event->name) + strlen(SSE_DATA) +
								event->data.len + strlen(SSE_END));
	if (id > 0)
	{
		buf_add_str(out, SSE_ID);
		add_slice(out, event->id);
		buf_add_str(out, "\n");
	}
	buf_add_str(out, SSE_EVENT);
	buf_add_str(out, event->name);
	buf_add_str(out, SSE_DATA);
	add_slice(out, event->data);
	buf_add_str(out, SSE_END);
	if (chunked)
		buf_add_str(out, "\r\n");
}

void sse_add_text(struct buf *out, struct slice text, bool chunked)
{
	while (text.len > 0)
	{
		const char *end = chunked ? memmem(text.bytes, text.len, SSE_END, strlen(SSE_END)) : NULL;
		size_t len = end != NULL ? (size_t)(end - text.bytes) + strlen(SSE_END) : text.len;

		if (chunked)
			add_chunk_size(out, len);
		buf_add(out, text.bytes, len);
		if (chunked)
			buf_add_str(out, "\r\n");
		text.bytes += len;
		text.len -= len;
	}
}
