/*
 * reply.c: the events of an import (see reply.h).
 */
#include "bulk/reply.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "http/http.h"
#include "http/sse.h"

#define MAX_UNREAD ((size_t)1024 * 1024) /* bytes of progress for a client that reads none of it */

void import_reply_refuse(struct http_request *request, enum error_code code, int status, const char *message)
{
	struct error error;

	error_set(&error, code, "%s", message);
	if (status >= 500)
		http_note(request, slice_of(message));
	http_reply_error(request, &error, status, NULL);
}

void import_reply_begin(struct import_reply *reply)
{
	const struct http_reply head = {
		.status = 200,
		.content_type = "text/event-stream",
		.headers = SSE_HEADERS,
	};
	struct buf events = {0}, framed = {0};
	struct piece piece;

	if (reply->begun)
		return;
	reply->begun = true;
	http_reply_start(reply->request, &head);
	import_progress_write(&reply->progress, &events);
	sse_add_text(&framed, (struct slice){events.data, events.len}, http_reply_is_chunked(reply->request));
	piece = (struct piece){.bytes = framed.data, .len = framed.len};
	if (framed.len > 0 && !events.failed && !framed.failed)
		http_reply_raw(reply->request, &piece, 1);
	buf_free(&events);
	buf_free(&framed);
	import_progress_free(&reply->progress);
}

static void send_event(struct http_request *request, const struct buf *event)
{
	struct piece piece = {.bytes = event->data, .len = event->len};

	http_reply_part(request, &piece, 1);
}

static void send_last(struct import_reply *reply, struct buf *event)
{
	import_reply_begin(reply);
	send_event(reply->request, event);
	buf_free(event);
}

void import_reply_fault(struct import_reply *reply, const struct import_fault *fault, uint64_t line)
{
	struct buf event = {0};

	buf_printf(&event, "data: {\"error\":\"%s\",\"message\":", fault->code);
	json_add_string(&event, fault->message, strlen(fault->message));
	buf_printf(&event, ",\"line\":%" PRIu64 "}\n\n", line);
	send_last(reply, &event);
}

void import_reply_done(struct import_reply *reply, uint64_t imported, uint64_t elapsed_us)
{
	struct buf event = {0};

	buf_printf(&event, "data: {\"done\":true,\"imported\":%" PRIu64 ",\"elapsed\":\"%.1fs\"}\n\n", imported,
			   (double)elapsed_us / 1e6);
	send_last(reply, &event);
}

/* For a client that sends all before it reads anything all would have to be kept: it misses some. */
void import_reply_progress(struct import_reply *reply, uint64_t imported, int64_t last_global_position)
{
	struct buf event = {0};

	if (!reply->begun)
	{
		import_progress_keep(&reply->progress, imported, last_global_position);
		return;
	}
	if (http_reply_unsent(reply->request) > MAX_UNREAD)
		return;
	import_progress_write_event(&event, imported, last_global_position);
	send_event(reply->request, &event);
	buf_free(&event);
}

void import_reply_free(struct import_reply *reply)
{
	import_progress_free(&reply->progress);
}
