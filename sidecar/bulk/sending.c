/*
 * sending.c: the frames of an import go to Postgres, and what it answers (see import.c).
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/stats.h"
#include "bulk/import_internal.h"

void import_set_fault(struct import *import, const char *code, const char *message, uint64_t line)
{
	if (import->fault.code != NULL && import->fault_line <= line)
		return;
	import->fault.code = code;
	snprintf(import->fault.message, sizeof(import->fault.message), "%.*s",
			 (int)sizeof(import->fault.message) - 1, message);
	import->fault_line = line;
}

/* ---- frames ------------------------------------------------------------------------- */

static void on_frame(void *arg, struct db_reply *reply);
static void on_trial(void *arg, struct db_reply *reply);

/* Gives Postgres the first `count` records of a frame; false: there is a fault. */
static bool ask(struct import *import, struct import_frame *frame, unsigned count)
{
	import_frame_set_sent(frame, count);
	if (db_import(import->db, import->namespace_name, &frame->bytes, false, on_frame, import))
		return true;
	import_set_fault(import, FAULT_IMPORT_FAILED, "out of memory, or the server is stopping",
					 frame->lines[0]);
	return false;
}

void import_send(struct import *import, unsigned count)
{
	struct import_frame *frame = import->gathering;
	struct import_frame *other = frame == &import->frames[0] ? &import->frames[1] : &import->frames[0];

	import_frame_clear(other);
	import_frame_move_rest(frame, count, other);
	if (other->bytes.failed)
		import_set_fault(import, FAULT_IMPORT_FAILED, "out of memory", frame->lines[count]);
	if (!ask(import, frame, count))
		return;
	import->flight = frame;
	import->gathering = other;
}

/* Takes the frame in flight out of it. */
static struct import_frame *land(struct import *import)
{
	struct import_frame *frame = import->flight;

	import->flight = NULL;
	return frame;
}

/* The first `count` records of a frame are stored. */
static void take_stored(struct import *import, const struct import_frame *frame, unsigned count)
{
	unsigned whole = import_frame_whole(frame);

	for (unsigned first = 0; first < count; first += IMPORT_BATCH_RECORDS)
	{
		const struct import_told *told = &frame->told[first / IMPORT_BATCH_RECORDS];

		import->imported += told->messages;
		stats_add(&db_stats(import->db)->imported, told->messages);
		if (first < whole && told->messages > 0)
			import_reply_progress(&import->reply, import->imported, told->global_position);
	}
}

/* Postgres named the record; the batches before its own are stored. */
static void take_refusal(struct import *import, const struct db_imported *answer)
{
	const struct import_frame *frame = land(import);
	bool exists = strcmp(answer->sqlstate, SQLSTATE_POSITION_EXISTS) == 0;
	uint64_t record = (uint64_t)answer->failed_record.value;

	if (record >= frame->sent)
		record = 0;
	if (answer->imported > 0)
		take_stored(import, frame, (unsigned)(record - record % IMPORT_BATCH_RECORDS));
	import_set_fault(import, exists ? FAULT_POSITION_EXISTS : FAULT_INVALID_RECORD, answer->message,
					 frame->lines[record]);
}

/* All of it is stored. */
static void take_success(struct import *import)
{
	const struct import_frame *frame = land(import);

	take_stored(import, frame, frame->sent);
}

bool import_wait(struct import *import, void (*done)(struct place_wait *, const struct error *))
{
	struct error error;

	import->wait.done = done;
	return places_wait(import->places, import->namespace_name, places_deadline(import->places, clock_ms()),
					   &import->wait, &error);
}

bool import_find_place(struct import *import)
{
	const struct place *place = places_of(import->places, import->namespace_name);

	if (place != NULL)
		import->db = place->db;
	return place != NULL;
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

/* Tries the first half of what is in doubt, or knows the record and stores the batches before its own. */
static void search_fault(struct import *import)
{
	struct import_frame *frame = import->flight;
	unsigned middle = (import->passing + import->failing) / 2;
	unsigned before = import->failing - 1;

	if (import->failing - import->passing > 1)
	{
		import_frame_set_sent(frame, middle);
		if (db_import(import->db, import->namespace_name, &frame->bytes, true, on_trial, import))
			return;
	}
	import->fault_line = frame->lines[before];
	before -= before % IMPORT_BATCH_RECORDS;
	if (before == 0 || !ask(import, frame, before))
		land(import);
}

/* The frame goes again. */
static void on_open(struct place_wait *wait, const struct error *error)
{
	struct import *import = (struct import *)wait;
	struct import_frame *frame = import->flight;

	if (error->code != ERROR_NONE || !import_find_place(import))
	{
		import_set_fault(import, FAULT_IMPORT_FAILED,
						 error->code != ERROR_NONE ? error->message : "its cluster cannot be reached",
						 frame->lines[0]);
		land(import);
	}
	else if (!ask(import, frame, frame->sent))
		land(import);
	import->go_on(import);
}

static void take_error(struct import *import, const struct db_reply *reply)
{
	const struct import_frame *frame = import->flight;

	if (places_refused(reply) && import->fault.code == NULL && import_wait(import, on_open))
		return;
	if (reply->status == DB_ERROR && is_about_record(&reply->error))
	{
		import_set_fault(import, FAULT_INVALID_RECORD, reply->error.message, frame->lines[0]);
		import->passing = 0;
		import->failing = frame->sent;
		search_fault(import);
		return;
	}
	import_set_fault(import, FAULT_IMPORT_FAILED,
					 reply->status == DB_ERROR ? reply->error.message
											   : "the connection to Postgres was lost: what begins with "
												 "this line may be stored or not",
					 frame->lines[0]);
	land(import);
}

/* ---- their answers ---------------------------------------------------------------------- */

static void on_frame(void *arg, struct db_reply *reply)
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
			take_success(import);
	}
	import->go_on(import);
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
	import->go_on(import);
}
