/*
 * import.c: the life of one import (see import.h).
 *
 *     import_start -> [empty the namespace] -> lines from the body -> on_frame ... -> the last event
 *
 * Lines become records of `gathering`.  Its full batches go to Postgres as `flight` as soon as that place is
 * free, each frame in a transaction of its own, in order; when both places are taken the body waits.
 * Whatever goes wrong sets `fault`; settle() tells it when the full batches before it are stored, or a fault
 * was found in these, so that what was stored before is reported before.
 *
 * The reply begins when the body has ended: many a proxy takes an earlier one for the whole, and stops
 * sending.  What there is to tell until then is kept.  A fault that is found before is kept, too, and the
 * rest of the body is thrown away, up to a size and a time.  ?progress=true is for clients that read while
 * they send.
 *
 * A namespace that is sealed or has moved refuses a frame as a whole; it goes again when the namespace is
 * open, wherever that is then.
 *
 * Errors that Postgres raises name no record.  The frame is then tried again in parts that are
 * rolled back, halving what is in doubt, until the record is found; the batches before its own go once more.
 */
#include "bulk/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/errors.h"
#include "http/http.h"
#include "bulk/import_internal.h"
#include "bulk/options.h"
#include "base/stats.h"

#define DISCARD_S 30 /* for the rest of a body after a fault */

/* ---- the reply --------------------------------------------------------------------- */

static void import_free(struct import *import)
{
	event_del(&import->discard_timeout);
	import_reply_free(&import->reply);
	import_lines_close(&import->lines);
	buf_free(&import->frames[0].bytes);
	buf_free(&import->frames[1].bytes);
	import_archived_free(&import->archived);
	free(import);
}

/* Ends the reply, whose last event is sent; the import is gone. */
static void finish(struct import *import)
{
	struct http_request *request = import->reply.request;

	stats_add(&db_stats(import->db)->imports, (uint64_t)-1);
	import_free(import);
	http_reply_end(request);
}

static void report_fault(struct import *import)
{
	if (strcmp(import->fault.code, FAULT_IMPORT_FAILED) == 0)
		http_note(import->reply.request, slice_of(import->fault.message));
	import_reply_fault(&import->reply, &import->fault, import->fault_line);
	finish(import);
}

static void report_done(struct import *import)
{
	import_reply_done(&import->reply, import->imported, clock_span(import->started_us, clock_us()));
	finish(import);
}

/* ---- lines ---------------------------------------------------------------------------- */

/* Whether another line may be taken. */
static bool is_open(const struct import *import)
{
	return import->fault.code == NULL && !(import->flight != NULL && import_frame_is_full(import->gathering));
}

/* Sends the batches that are full, if the place is free and they come before what is wrong. */
static void send_full(struct import *import)
{
	const struct import_frame *frame = import->gathering;
	unsigned count = import_frame_whole(frame);

	if (import->flight == NULL && count > 0 &&
		(import->fault.code == NULL || frame->lines[count - 1] < import->fault_line))
		import_send(import, count);
}

static bool on_line(void *arg, struct slice line)
{
	struct import *import = arg;

	if (!import_archived_take(&import->archived, line, &import->fault))
		import_frame_add(import->gathering, line, import->lines.number, &import->fault);
	if (import->fault.code != NULL)
	{
		import->fault_line = import->lines.number;
		return false;
	}
	send_full(import);
	return is_open(import);
}

/* Turns what the splitter stumbled over into the import's fault. */
static void check_lines(struct import *import)
{
	char message[100];

	switch (import->lines.fault)
	{
		case LINES_SOUND:
			return;
		case LINES_TOO_LONG:
			snprintf(message, sizeof(message), "the line is longer than %zu bytes", import->lines.max_line);
			import_set_fault(import, FAULT_INVALID_RECORD, message, import->lines.number);
			return;
		case LINES_GZIP_DAMAGED:
			import_set_fault(import, FAULT_IMPORT_FAILED, "the gzip body is damaged",
							 import->lines.number + 1);
			return;
		case LINES_GZIP_CUT:
			import_set_fault(import, FAULT_IMPORT_FAILED, "the gzip body ends too early",
							 import->lines.number + 1);
			return;
		case LINES_NO_MEMORY:
			import_set_fault(import, FAULT_IMPORT_FAILED, "out of memory", import->lines.number + 1);
			return;
	}
}

/* ---- going on --------------------------------------------------------------------------- */

static void take_body(struct import *import);

/* A proxy that is still sending would take a reply for the end: what it sends is thrown away first. */
static void discard_body(struct import *import)
{
	const struct timeval timeout = {.tv_sec = DISCARD_S};

	if (import->discarding)
		return;
	import->discarding = true;
	event_add(&import->discard_timeout, &timeout);
	if (import->taking)
		http_body_resume(import->reply.request);
	else
		take_body(import);
}

static void on_discard_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	report_fault(arg);
}

/* Ends the import if nothing more is to be waited for; it may be gone then. */
static void settle(struct import *import)
{
	send_full(import);
	if (import->flight == NULL && import->fault.code == NULL && import->lines_ended &&
		import->gathering->count > 0)
		import_send(import, import->gathering->count);
	if (import->flight != NULL)
		return;
	if (import->fault.code != NULL && (import->body_ended || import->reply.begun))
		report_fault(import);
	else if (import->fault.code != NULL)
		discard_body(import);
	else if (import->lines_ended)
		report_done(import);
}

/* Something happened: takes what may be taken now, or lets the body go on; the import may be gone then. */
static void go_on(struct import *import)
{
	send_full(import);
	if (is_open(import) && import_lines_go_on(&import->lines))
	{
		if (!import->body_ended)
		{
			http_body_resume(import->reply.request);
			return;
		}
		if (!import->lines_ended)
			import_lines_end(&import->lines);
		import->lines_ended = true;
	}
	check_lines(import);
	if (import->lines_ended && import->fault.code == NULL)
	{
		import_archived_end(&import->archived, &import->fault);
		import->fault_line = import->lines.number + 1;
	}
	settle(import);
}

/* ---- the body ----------------------------------------------------------------------------- */

static size_t on_data(void *arg, struct slice bytes)
{
	struct import *import = arg;
	size_t used;

	if (import->discarding && bytes.len > import->may_discard)
	{
		report_fault(import);
		return bytes.len;
	}
	if (import->discarding)
	{
		import->may_discard -= bytes.len;
		return bytes.len;
	}
	used = is_open(import) ? import_lines_feed(&import->lines, bytes) : 0;
	check_lines(import);
	if (import->fault.code != NULL)
		settle(import);
	return used;
}

static void on_body_end(void *arg, enum http_body_end how)
{
	static const char *const faults[] = {
		[HTTP_BODY_CUT] = "the connection ended before the body did",
		[HTTP_BODY_LATE] = "the body stopped coming",
		[HTTP_BODY_MALFORMED] = "the body is malformed: its chunks are no HTTP chunks",
	};
	struct import *import = arg;

	import->body_ended = true;
	import_reply_begin(&import->reply);
	if (how != HTTP_BODY_COMPLETE)
		import_set_fault(import, FAULT_IMPORT_FAILED, faults[how], import->lines.number + 1);
	go_on(import);
}

static const struct http_sink sink = {.data = on_data, .end = on_body_end};

/* ---- the beginning ------------------------------------------------------------------------- */

static void take_body(struct import *import)
{
	import->taking = true;
	http_body_start(import->reply.request, &sink, import);
}

static void on_emptied(void *arg, struct db_reply *reply);

static void empty(struct import *import)
{
	if (db_empty_namespace(import->db, import->namespace_name, on_emptied, import))
		return;
	import_set_fault(import, FAULT_IMPORT_FAILED, "too many requests are waiting for the database", 0);
	settle(import);
}

static void on_open_to_empty(struct place_wait *wait, const struct error *error)
{
	struct import *import = (struct import *)wait;

	if (error->code == ERROR_NONE && import_find_place(import))
	{
		empty(import);
		return;
	}
	import_set_fault(import, FAULT_IMPORT_FAILED,
					 error->code != ERROR_NONE ? error->message : "its cluster cannot be reached", 0);
	settle(import);
}

static void on_emptied(void *arg, struct db_reply *reply)
{
	struct import *import = arg;

	if (reply->status == DB_OK)
	{
		take_body(import);
		return;
	}
	if (places_refused(reply) && import_wait(import, on_open_to_empty))
		return;
	import_set_fault(import, FAULT_IMPORT_FAILED,
					 reply->status == DB_ERROR ? reply->error.message : db_unavailable(import->db), 0);
	settle(import);
}

static struct import *import_new(struct places *places, const struct place *place,
								 const struct import_target *target, const struct import_limits *limits,
								 bool gzip)
{
	struct import *import = calloc(1, sizeof(*import));

	if (import == NULL)
		return NULL;
	import->places = places;
	import->go_on = go_on;
	import->db = place->db;
	snprintf(import->namespace_name, sizeof(import->namespace_name), "%s", target->namespace_name);
	event_assign(&import->discard_timeout, limits->base, -1, 0, on_discard_timeout, import);
	import->may_discard = limits->max_discarded;
	import->lines.max_line = limits->max_line;
	import->lines.take = on_line;
	import->lines.arg = import;
	import->frames[0].redacted = import->frames[1].redacted = target->redacted;
	import->gathering = &import->frames[0];
	import_frame_clear(import->gathering);
	import->started_us = clock_us();
	if (import_lines_open(&import->lines, gzip) && !import->gathering->bytes.failed)
		return import;
	import_free(import);
	return NULL;
}

static void begin(struct import *import, const struct import_options *options)
{
	stats_add(&db_stats(import->db)->imports, 1);
	if (options->progress)
		import_reply_begin(&import->reply);
	if (options->force)
		empty(import);
	else
		take_body(import);
}

void import_start(struct places *places, struct place *place, const struct import_target *target,
				  const struct import_limits *limits, struct http_request *request)
{
	struct import *import;
	struct import_options options;
	char message[200];
	int status;

	if (stats_get(&db_stats(place->db)->imports) >= limits->max_running)
	{
		snprintf(message, sizeof(message), "%zu imports are running, which is the limit (--max-imports)",
				 limits->max_running);
		import_reply_refuse(request, ERROR_OVERLOADED, error_status(ERROR_OVERLOADED), message);
	}
	else if ((status = import_options_read(&options, request, message)) != 0)
		import_reply_refuse(request, ERROR_INVALID_REQUEST, status, message);
	else if ((import = import_new(places, place, target, limits, options.gzip)) == NULL)
		import_reply_refuse(request, ERROR_INTERNAL_ERROR, 500, "out of memory");
	else
	{
		import->reply.request = request;
		begin(import, &options);
	}
}
