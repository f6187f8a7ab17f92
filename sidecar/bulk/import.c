/*
 * import.c: the life of one import (see import.h).
 *
 *     import_start -> [empty the namespace] -> lines from the body -> on_batch ... -> the last event
 *
 * Lines become records of `gathering`.  A full batch goes to Postgres as `flight` as soon as that place is
 * free, each in a transaction of its own, in order; when both places are taken the body waits.  Whatever goes
 * wrong sets `fault` once; settle() tells it when nothing is in flight any more, so that what was stored
 * before is reported before.
 *
 * The reply begins when the body has ended: many a proxy takes an earlier one for the whole, and stops
 * sending.  What there is to tell until then is kept.  A fault that is found before is kept, too, and the
 * rest of the body is thrown away, up to a size and a time.  ?progress=true is for who reads while it sends.
 *
 * Errors that Postgres raises name no record.  The batch is then tried again in parts that are
 * rolled back, halving what is in doubt, until the record is found.
 */
#include "bulk/import.h"

#include <arpa/inet.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "db/calls.h"
#include "base/errors.h"
#include "http/http.h"
#include "bulk/lines.h"
#include "bulk/progress.h"
#include "bulk/record.h"
#include "base/json.h"
#include "http/sse.h"
#include "base/stats.h"
#include "access/token.h"
#include "base/url_query.h"

#define BATCH_RECORDS MAX_STREAMS /* each may be of another stream */
#define BATCH_BYTES ((size_t)4 * 1024 * 1024)
#define BATCH_HEADER 5					 /* u8 version, u32 number of records */
#define DISCARD_S 30					 /* for the rest of a body after a fault */
#define MAX_UNREAD ((size_t)1024 * 1024) /* bytes of progress for a client that reads none of it */

struct batch
{
	struct buf frame;
	unsigned count;
	size_t ends[BATCH_RECORDS]; /* of the records in the frame */
	uint64_t lines[BATCH_RECORDS];
};

struct import
{
	struct db *db;
	struct http_request *request;
	bool at_once;	 /* ?progress=true */
	bool replying;	 /* the reply has begun */
	bool discarding; /* there is a fault, and the rest of the body comes */
	bool taking;	 /* the body */
	size_t may_discard;
	struct event discard_timeout;
	struct import_progress progress; /* before the reply */
	char namespace_name[MAX_NAMESPACE_NAME + 1];
	struct import_lines lines;
	struct batch batches[2];
	struct batch *gathering; /* one of the two */
	struct batch *flight;	 /* the other one while it is with Postgres, else NULL */
	unsigned sound, suspect; /* while a fault is searched: records known to pass, and to fail */
	bool body_ended;		 /* nothing more comes */
	bool lines_ended;		 /* and the last line was taken */
	uint64_t imported;
	uint64_t started_us;
	struct import_fault fault;
	uint64_t fault_line;
};

/* ---- the reply --------------------------------------------------------------------- */

static void send_event(struct http_request *request, const struct buf *event)
{
	struct piece piece = {.bytes = event->data, .len = event->len};

	http_reply_part(request, &piece, 1);
}

static void refuse(struct http_request *request, enum error_code code, int status, const char *message)
{
	struct error error;

	error_set(&error, code, "%s", message);
	if (status >= 500)
		http_note(request, slice_of(message));
	http_reply_error(request, &error, status, NULL);
}

static void import_free(struct import *import)
{
	event_del(&import->discard_timeout);
	import_progress_free(&import->progress);
	import_lines_close(&import->lines);
	buf_free(&import->batches[0].frame);
	buf_free(&import->batches[1].frame);
	free(import);
}

/* Sends the reply's head and what was kept for it, once. */
static void start_reply(struct import *import)
{
	const struct http_reply head = {
		.status = 200,
		.content_type = "text/event-stream",
		.headers = "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n",
	};
	struct buf events = {0}, framed = {0};
	struct piece piece;

	if (import->replying)
		return;
	import->replying = true;
	http_reply_start(import->request, &head);
	import_progress_write(&import->progress, &events);
	sse_add_text(&framed, (struct slice){events.data, events.len}, http_reply_is_chunked(import->request));
	piece = (struct piece){.bytes = framed.data, .len = framed.len};
	if (framed.len > 0 && !events.failed && !framed.failed)
		http_reply_raw(import->request, &piece, 1);
	buf_free(&events);
	buf_free(&framed);
	import_progress_free(&import->progress);
}

/* Sends the last event and ends the reply; the import is gone. */
static void finish(struct import *import, struct buf *event)
{
	struct http_request *request = import->request;

	start_reply(import);
	stats_add(&db_stats(import->db)->imports, (uint64_t)-1);
	send_event(request, event);
	buf_free(event);
	import_free(import);
	http_reply_end(request);
}

static void report_fault(struct import *import)
{
	struct buf event = {0};

	if (strcmp(import->fault.code, "IMPORT_FAILED") == 0)
		http_note(import->request, slice_of(import->fault.message));
	buf_printf(&event, "data: {\"error\":\"%s\",\"message\":", import->fault.code);
	json_add_string(&event, import->fault.message, strlen(import->fault.message));
	buf_printf(&event, ",\"line\":%" PRIu64 "}\n\n", import->fault_line);
	finish(import, &event);
}

static void report_done(struct import *import)
{
	struct buf event = {0};

	buf_printf(&event, "data: {\"done\":true,\"imported\":%" PRIu64 ",\"elapsed\":\"%.1fs\"}\n\n",
			   import->imported, (double)clock_span(import->started_us, clock_us()) / 1e6);
	finish(import, &event);
}

/* A client that sends all before it reads anything would make us keep it all: it misses some. */
static void report_progress(struct import *import, int64_t last_global_position)
{
	struct buf event = {0};

	if (!import->replying)
	{
		import_progress_keep(&import->progress, import->imported, last_global_position);
		return;
	}
	if (http_reply_unsent(import->request) > MAX_UNREAD)
		return;
	import_progress_write_event(&event, import->imported, last_global_position);
	send_event(import->request, &event);
	buf_free(&event);
}

/* The first fault counts. */
static void set_fault(struct import *import, const char *code, const char *message, uint64_t line)
{
	if (import->fault.code != NULL)
		return;
	import->fault.code = code;
	snprintf(import->fault.message, sizeof(import->fault.message), "%s", message);
	import->fault_line = line;
}

/* ---- batches ------------------------------------------------------------------------ */

static void on_batch(void *arg, struct db_reply *reply);
static void on_trial(void *arg, struct db_reply *reply);

static bool is_full(const struct batch *batch)
{
	return batch->count == BATCH_RECORDS || batch->frame.len >= BATCH_BYTES;
}

static void batch_clear(struct batch *batch)
{
	batch->count = 0;
	if (batch->frame.cap > 2 * BATCH_BYTES)
		buf_free(&batch->frame);
	buf_clear(&batch->frame);
	buf_add_u8(&batch->frame, IMPORT_VERSION);
	buf_add_u32(&batch->frame, 0);
}

/* Makes the first `count` records the batch's frame. */
static void set_count(struct batch *batch, unsigned count)
{
	uint32_t number = htonl(count);

	memcpy(batch->frame.data + 1, &number, sizeof(number));
	batch->frame.len = batch->ends[count - 1];
}

/* Sends the gathering batch; the place must be free. */
static void send_batch(struct import *import)
{
	struct batch *batch = import->gathering;

	set_count(batch, batch->count);
	if (!db_import(import->db, import->namespace_name, &batch->frame, false, on_batch, import))
	{
		set_fault(import, "IMPORT_FAILED", "out of memory, or the server is stopping", batch->lines[0]);
		return;
	}
	import->flight = batch;
	import->gathering = batch == &import->batches[0] ? &import->batches[1] : &import->batches[0];
	batch_clear(import->gathering);
}

/* Takes the batch in flight out of it. */
static struct batch *land(struct import *import)
{
	struct batch *batch = import->flight;

	import->flight = NULL;
	return batch;
}

/* Postgres named the record. */
static void take_refusal(struct import *import, const struct db_imported *answer)
{
	const struct batch *batch = land(import);
	bool exists = strcmp(answer->sqlstate, SQLSTATE_POSITION_EXISTS) == 0;
	uint64_t record = (uint64_t)answer->failed_record.value;

	set_fault(import, exists ? "POSITION_EXISTS" : "INVALID_RECORD", answer->message,
			  batch->lines[record < batch->count ? record : 0]);
}

/* All of it is stored. */
static void take_success(struct import *import, const struct db_imported *answer)
{
	const struct batch *batch = land(import);

	import->imported += batch->count;
	stats_add(&db_stats(import->db)->imported, batch->count);
	if (is_full(batch))
		report_progress(import, answer->last_global_position);
}

/* Whether an error is about some record, and not about the database or the namespace. */
static bool is_about_record(const struct db_error *error)
{
	static const char *const states[] = {SQLSTATE_CLASS_DATA,  SQLSTATE_CLASS_LIMITS, SQLSTATE_NULL_ARGUMENT,
										 SQLSTATE_EMPTY_NAME,  SQLSTATE_TOO_LONG,	  SQLSTATE_NOT_AN_OBJECT,
										 SQLSTATE_OUT_OF_RANGE};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
	{
		if (strncmp(error->sqlstate, states[i], strlen(states[i])) == 0)
			return true;
	}
	return false;
}

/* Tries the first half of what is in doubt, or knows the record. */
static void search_fault(struct import *import)
{
	struct batch *batch = import->flight;
	unsigned middle = (import->sound + import->suspect) / 2;

	if (import->suspect - import->sound > 1)
	{
		set_count(batch, middle);
		if (db_import(import->db, import->namespace_name, &batch->frame, true, on_trial, import))
			return;
	}
	land(import);
	import->fault_line = batch->lines[import->suspect - 1];
}

static void take_error(struct import *import, const struct db_reply *reply)
{
	const struct batch *batch = import->flight;

	if (reply->status == DB_ERROR && is_about_record(&reply->error))
	{
		set_fault(import, "INVALID_RECORD", reply->error.message, batch->lines[0]);
		import->sound = 0;
		import->suspect = batch->count;
		search_fault(import);
		return;
	}
	set_fault(import, "IMPORT_FAILED",
			  reply->status == DB_ERROR ? reply->error.message
										: "the connection to Postgres was lost: the batch that begins with "
										  "this line may be stored or not",
			  batch->lines[0]);
	land(import);
}

/* ---- lines ---------------------------------------------------------------------------- */

/* Whether another line may be taken. */
static bool is_open(const struct import *import)
{
	return import->fault.code == NULL && !(import->flight != NULL && is_full(import->gathering));
}

static bool on_line(void *arg, struct slice line)
{
	struct import *import = arg;
	struct batch *batch = import->gathering;

	if (!import_record_encode(line, &batch->frame, &import->fault))
	{
		import->fault_line = import->lines.number;
		return false;
	}
	batch->ends[batch->count] = batch->frame.len;
	batch->lines[batch->count] = import->lines.number;
	batch->count++;
	if (is_full(batch) && import->flight == NULL)
		send_batch(import);
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
			set_fault(import, "INVALID_RECORD", message, import->lines.number);
			return;
		case LINES_GZIP_DAMAGED:
			set_fault(import, "IMPORT_FAILED", "the gzip body is damaged", import->lines.number + 1);
			return;
		case LINES_GZIP_CUT:
			set_fault(import, "IMPORT_FAILED", "the gzip body ends too early", import->lines.number + 1);
			return;
		case LINES_NO_MEMORY:
			set_fault(import, "IMPORT_FAILED", "out of memory", import->lines.number + 1);
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
		http_body_resume(import->request);
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
	if (import->flight != NULL)
		return;
	if (import->fault.code == NULL && import->lines_ended && import->gathering->count > 0)
		send_batch(import);
	if (import->flight != NULL)
		return;
	if (import->fault.code != NULL && (import->body_ended || import->replying))
		report_fault(import);
	else if (import->fault.code != NULL)
		discard_body(import);
	else if (import->lines_ended)
		report_done(import);
}

/* Something happened: takes what may be taken now, or lets the body go on. */
static void go_on(struct import *import)
{
	if (import->fault.code == NULL && import->flight == NULL && is_full(import->gathering))
		send_batch(import);
	if (is_open(import) && import_lines_go_on(&import->lines))
	{
		if (!import->body_ended)
		{
			http_body_resume(import->request);
			return;
		}
		if (!import->lines_ended)
			import_lines_end(&import->lines);
		import->lines_ended = true;
	}
	check_lines(import);
	settle(import);
}

static void on_batch(void *arg, struct db_reply *reply)
{
	struct import *import = arg;

	if (reply->status != DB_OK)
		take_error(import, reply);
	else
	{
		const struct db_imported answer = db_imported_of(reply);

		if (answer.failed_record.is_set)
			take_refusal(import, &answer);
		else
			take_success(import, &answer);
	}
	go_on(import);
}

static void on_trial(void *arg, struct db_reply *reply)
{
	struct import *import = arg;
	unsigned middle = (import->sound + import->suspect) / 2;

	if (reply->status == DB_ERROR && strcmp(reply->error.sqlstate, DB_TRIAL_PASSED) == 0)
		import->sound = middle;
	else if (reply->status == DB_ERROR && is_about_record(&reply->error))
		import->suspect = middle;
	else
		import->sound = import->suspect - 1; /* we shall not know better */
	search_fault(import);
	go_on(import);
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
	start_reply(import);
	if (how != HTTP_BODY_COMPLETE)
		set_fault(import, "IMPORT_FAILED", faults[how], import->lines.number + 1);
	go_on(import);
}

static const struct http_sink sink = {.data = on_data, .end = on_body_end};

/* ---- the beginning ------------------------------------------------------------------------- */

static void take_body(struct import *import)
{
	import->taking = true;
	http_body_start(import->request, &sink, import);
}

static void on_emptied(void *arg, struct db_reply *reply)
{
	struct import *import = arg;

	if (reply->status == DB_OK)
	{
		take_body(import);
		return;
	}
	set_fault(import, "IMPORT_FAILED",
			  reply->status == DB_ERROR ? reply->error.message : db_unavailable(import->db), 0);
	settle(import);
}

/* Reads a parameter that is true or false, which it is when it is not there; false: it is neither. */
static bool read_switch(struct http_request *request, const char *name, bool *on)
{
	struct buf value = {0};
	struct slice word;
	bool known;

	*on = false;
	url_query_find(http_query(request), name, &value);
	word = (struct slice){value.data, value.len};
	*on = word.len > 0 && (slice_is(word, "true") || slice_is(word, "1"));
	known = *on || word.len == 0 || slice_is(word, "false") || slice_is(word, "0");
	buf_free(&value);
	return known && !value.failed;
}

/* Reads Content-Encoding; false: it is one that is not understood. */
static bool read_encoding(struct http_request *request, bool *gzip)
{
	struct slice coding = http_header(request, "Content-Encoding");

	*gzip = (coding.len == 4 && strncasecmp(coding.bytes, "gzip", 4) == 0) ||
			(coding.len == 6 && strncasecmp(coding.bytes, "x-gzip", 6) == 0);
	return *gzip || coding.len == 0 || (coding.len == 8 && strncasecmp(coding.bytes, "identity", 8) == 0);
}

static struct import *import_new(struct db *db, const char *namespace_name,
								 const struct import_limits *limits, bool gzip)
{
	struct import *import = calloc(1, sizeof(*import));

	if (import == NULL)
		return NULL;
	import->db = db;
	snprintf(import->namespace_name, sizeof(import->namespace_name), "%s", namespace_name);
	event_assign(&import->discard_timeout, limits->base, -1, 0, on_discard_timeout, import);
	import->may_discard = limits->max_discarded;
	import->lines.max_line = limits->max_line;
	import->lines.take = on_line;
	import->lines.arg = import;
	import->gathering = &import->batches[0];
	batch_clear(import->gathering);
	import->started_us = clock_us();
	if (import_lines_open(&import->lines, gzip) && !import->gathering->frame.failed)
		return import;
	import_free(import);
	return NULL;
}

static void begin(struct import *import, bool force)
{
	stats_add(&db_stats(import->db)->imports, 1);
	if (import->at_once)
		start_reply(import);
	if (!force)
		take_body(import);
	else if (!db_empty_namespace(import->db, import->namespace_name, on_emptied, import))
	{
		set_fault(import, "IMPORT_FAILED", "too many requests are waiting for the database", 0);
		settle(import);
	}
}

void import_start(struct db *db, const char *namespace_name, const struct import_limits *limits,
				  struct http_request *request)
{
	static const char *const known[] = {"force", "progress", NULL};
	struct import *import;
	bool force, progress, gzip;
	char message[200];

	if (stats_get(&db_stats(db)->imports) >= limits->max_running)
	{
		snprintf(message, sizeof(message), "%zu imports are running, which is the limit (--max-imports)",
				 limits->max_running);
		refuse(request, ERROR_OVERLOADED, error_status(ERROR_OVERLOADED), message);
	}
	else if (!url_query_check_names(http_query(request), known, message))
		refuse(request, ERROR_INVALID_REQUEST, 400, message);
	else if (!read_switch(request, "force", &force))
		refuse(request, ERROR_INVALID_REQUEST, 400, "force must be true or false");
	else if (!read_switch(request, "progress", &progress))
		refuse(request, ERROR_INVALID_REQUEST, 400, "progress must be true or false");
	else if (!read_encoding(request, &gzip))
		refuse(request, ERROR_INVALID_REQUEST, 415, "the only Content-Encoding understood is gzip");
	else if ((import = import_new(db, namespace_name, limits, gzip)) == NULL)
		refuse(request, ERROR_INTERNAL_ERROR, 500, "out of memory");
	else
	{
		import->request = request;
		import->at_once = progress;
		begin(import, force);
	}
}
