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
 * rest of the body is thrown away, up to a size and a time.  ?progress=true is for clients that read while
 * they send.
 *
 * Errors that Postgres raises name no record.  The batch is then tried again in parts that are
 * rolled back, halving what is in doubt, until the record is found.
 */
#include "bulk/import.h"

#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "db/calls_bulk.h"
#include "base/errors.h"
#include "http/http.h"
#include "bulk/archived.h"
#include "bulk/batch.h"
#include "bulk/lines.h"
#include "bulk/options.h"
#include "bulk/reply.h"
#include "base/stats.h"
#include "access/token.h"

#define DISCARD_S 30 /* for the rest of a body after a fault */

struct import
{
	struct db *db;
	struct import_reply reply;
	bool discarding; /* there is a fault, and the rest of the body comes */
	bool taking;	 /* the body */
	size_t may_discard;
	struct event discard_timeout;
	char namespace_name[MAX_NAMESPACE_NAME + 1];
	struct import_lines lines;
	struct import_batch batches[2];
	struct import_batch *gathering; /* one of the two */
	struct import_batch *flight;	/* the other one while it is with Postgres, else NULL */
	unsigned passing, failing;		/* while the fault is searched: the first so many pass, or fail */
	bool body_ended;				/* nothing more comes */
	bool lines_ended;				/* and the last line was taken */
	uint64_t imported;
	uint64_t started_us;
	struct import_fault fault;
	uint64_t fault_line;
	struct import_archived archived;
};

/* ---- the reply --------------------------------------------------------------------- */

static void import_free(struct import *import)
{
	event_del(&import->discard_timeout);
	import_reply_free(&import->reply);
	import_lines_close(&import->lines);
	buf_free(&import->batches[0].frame);
	buf_free(&import->batches[1].frame);
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

/* Sends the gathering batch; the place must be free. */
static void send_batch(struct import *import)
{
	struct import_batch *batch = import->gathering;

	import_batch_set_count(batch, batch->count);
	if (!db_import(import->db, import->namespace_name, &batch->frame, false, on_batch, import))
	{
		set_fault(import, FAULT_IMPORT_FAILED, "out of memory, or the server is stopping", batch->lines[0]);
		return;
	}
	import->flight = batch;
	import->gathering = batch == &import->batches[0] ? &import->batches[1] : &import->batches[0];
	import_batch_clear(import->gathering);
}

/* Takes the batch in flight out of it. */
static struct import_batch *land(struct import *import)
{
	struct import_batch *batch = import->flight;

	import->flight = NULL;
	return batch;
}

/* Postgres named the record. */
static void take_refusal(struct import *import, const struct db_imported *answer)
{
	const struct import_batch *batch = land(import);
	bool exists = strcmp(answer->sqlstate, SQLSTATE_POSITION_EXISTS) == 0;
	uint64_t record = (uint64_t)answer->failed_record.value;

	set_fault(import, exists ? FAULT_POSITION_EXISTS : FAULT_INVALID_RECORD, answer->message,
			  batch->lines[record < batch->count ? record : 0]);
}

/* All of it is stored. */
static void take_success(struct import *import, const struct db_imported *answer)
{
	const struct import_batch *batch = land(import);

	import->imported += (uint64_t)answer->imported;
	stats_add(&db_stats(import->db)->imported, (uint64_t)answer->imported);
	if (import_batch_is_full(batch) && answer->imported > 0)
		import_reply_progress(&import->reply, import->imported, answer->last_global_position);
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
	struct import_batch *batch = import->flight;
	unsigned middle = (import->passing + import->failing) / 2;

	if (import->failing - import->passing > 1)
	{
		import_batch_set_count(batch, middle);
		if (db_import(import->db, import->namespace_name, &batch->frame, true, on_trial, import))
			return;
	}
	land(import);
	import->fault_line = batch->lines[import->failing - 1];
}

static void take_error(struct import *import, const struct db_reply *reply)
{
	const struct import_batch *batch = import->flight;

	if (reply->status == DB_ERROR && is_about_record(&reply->error))
	{
		set_fault(import, FAULT_INVALID_RECORD, reply->error.message, batch->lines[0]);
		import->passing = 0;
		import->failing = batch->count;
		search_fault(import);
		return;
	}
	set_fault(import, FAULT_IMPORT_FAILED,
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
	return import->fault.code == NULL && !(import->flight != NULL && import_batch_is_full(import->gathering));
}

static bool on_line(void *arg, struct slice line)
{
	struct import *import = arg;
	struct import_batch *batch = import->gathering;

	if (!import_archived_take(&import->archived, line, &import->fault))
		import_batch_add(batch, line, import->lines.number, &import->fault);
	if (import->fault.code != NULL)
	{
		import->fault_line = import->lines.number;
		return false;
	}
	if (import_batch_is_full(batch) && import->flight == NULL)
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
			set_fault(import, FAULT_INVALID_RECORD, message, import->lines.number);
			return;
		case LINES_GZIP_DAMAGED:
			set_fault(import, FAULT_IMPORT_FAILED, "the gzip body is damaged", import->lines.number + 1);
			return;
		case LINES_GZIP_CUT:
			set_fault(import, FAULT_IMPORT_FAILED, "the gzip body ends too early", import->lines.number + 1);
			return;
		case LINES_NO_MEMORY:
			set_fault(import, FAULT_IMPORT_FAILED, "out of memory", import->lines.number + 1);
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
	if (import->flight != NULL)
		return;
	if (import->fault.code == NULL && import->lines_ended && import->gathering->count > 0)
		send_batch(import);
	if (import->flight != NULL)
		return;
	if (import->fault.code != NULL && (import->body_ended || import->reply.begun))
		report_fault(import);
	else if (import->fault.code != NULL)
		discard_body(import);
	else if (import->lines_ended)
		report_done(import);
}

/* Something happened: takes what may be taken now, or lets the body go on. */
static void go_on(struct import *import)
{
	if (import->fault.code == NULL && import->flight == NULL && import_batch_is_full(import->gathering))
		send_batch(import);
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
	unsigned middle = (import->passing + import->failing) / 2;

	if (reply->status == DB_ERROR && strcmp(reply->error.sqlstate, DB_TRIAL_PASSED) == 0)
		import->passing = middle;
	else if (reply->status == DB_ERROR && is_about_record(&reply->error))
		import->failing = middle;
	else
		import->passing = import->failing - 1; /* the search ends with what is known */
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
	import_reply_begin(&import->reply);
	if (how != HTTP_BODY_COMPLETE)
		set_fault(import, FAULT_IMPORT_FAILED, faults[how], import->lines.number + 1);
	go_on(import);
}

static const struct http_sink sink = {.data = on_data, .end = on_body_end};

/* ---- the beginning ------------------------------------------------------------------------- */

static void take_body(struct import *import)
{
	import->taking = true;
	http_body_start(import->reply.request, &sink, import);
}

static void on_emptied(void *arg, struct db_reply *reply)
{
	struct import *import = arg;

	if (reply->status == DB_OK)
	{
		take_body(import);
		return;
	}
	set_fault(import, FAULT_IMPORT_FAILED,
			  reply->status == DB_ERROR ? reply->error.message : db_unavailable(import->db), 0);
	settle(import);
}

static struct import *import_new(struct db *db, const struct import_target *target,
								 const struct import_limits *limits, bool gzip)
{
	struct import *import = calloc(1, sizeof(*import));

	if (import == NULL)
		return NULL;
	import->db = db;
	snprintf(import->namespace_name, sizeof(import->namespace_name), "%s", target->namespace_name);
	event_assign(&import->discard_timeout, limits->base, -1, 0, on_discard_timeout, import);
	import->may_discard = limits->max_discarded;
	import->lines.max_line = limits->max_line;
	import->lines.take = on_line;
	import->lines.arg = import;
	import->batches[0].redacted = import->batches[1].redacted = target->redacted;
	import->gathering = &import->batches[0];
	import_batch_clear(import->gathering);
	import->started_us = clock_us();
	if (import_lines_open(&import->lines, gzip) && !import->gathering->frame.failed)
		return import;
	import_free(import);
	return NULL;
}

static void begin(struct import *import, const struct import_options *options)
{
	stats_add(&db_stats(import->db)->imports, 1);
	if (options->progress)
		import_reply_begin(&import->reply);
	if (!options->force)
		take_body(import);
	else if (!db_empty_namespace(import->db, import->namespace_name, on_emptied, import))
	{
		set_fault(import, FAULT_IMPORT_FAILED, "too many requests are waiting for the database", 0);
		settle(import);
	}
}

void import_start(struct db *db, const struct import_target *target, const struct import_limits *limits,
				  struct http_request *request)
{
	struct import *import;
	struct import_options options;
	char message[200];
	int status;

	if (stats_get(&db_stats(db)->imports) >= limits->max_running)
	{
		snprintf(message, sizeof(message), "%zu imports are running, which is the limit (--max-imports)",
				 limits->max_running);
		import_reply_refuse(request, ERROR_OVERLOADED, error_status(ERROR_OVERLOADED), message);
	}
	else if ((status = import_options_read(&options, request, message)) != 0)
		import_reply_refuse(request, ERROR_INVALID_REQUEST, status, message);
	else if ((import = import_new(db, target, limits, options.gzip)) == NULL)
		import_reply_refuse(request, ERROR_INTERNAL_ERROR, 500, "out of memory");
	else
	{
		import->reply.request = request;
		begin(import, &options);
	}
}
