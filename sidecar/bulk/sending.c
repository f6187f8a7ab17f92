/*
 * sending.c: the batches of an import go to Postgres, and what it answers (see import.c).
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/stats.h"
#include "bulk/import_internal.h"

void import_set_fault(struct import *import, const char *code, const char *message, uint64_t line)
{
	if (import->fault.code != NULL)
		return;
	import->fault.code = code;
	snprintf(import->fault.message, sizeof(import->fault.message), "%.*s",
			 (int)sizeof(import->fault.message) - 1, message);
	import->fault_line = line;
}

/* ---- batches ------------------------------------------------------------------------ */

static void on_batch(void *arg, struct db_reply *reply);
static void on_trial(void *arg, struct db_reply *reply);

void import_send(struct import *import)
{
	struct import_batch *batch = import->gathering;

	import_batch_set_count(batch, batch->count);
	if (!db_import(import->db, import->namespace_name, &batch->frame, false, on_batch, import))
	{
		import_set_fault(import, FAULT_IMPORT_FAILED, "out of memory, or the server is stopping",
						 batch->lines[0]);
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

	import_set_fault(import, exists ? FAULT_POSITION_EXISTS : FAULT_INVALID_RECORD, answer->message,
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

/* The batch goes again. */
static void on_open(struct place_wait *wait, const struct error *error)
{
	struct import *import = (struct import *)wait;
	const struct import_batch *batch = import->flight;

	if (error->code != ERROR_NONE)
		import_set_fault(import, FAULT_IMPORT_FAILED, error->message, batch->lines[0]);
	else if (!import_find_place(import) ||
			 !db_import(import->db, import->namespace_name, &batch->frame, false, on_batch, import))
		import_set_fault(import, FAULT_IMPORT_FAILED, "out of memory, or the server is stopping",
						 batch->lines[0]);
	if (import->fault.code != NULL)
		land(import);
	import->go_on(import);
}

static void take_error(struct import *import, const struct db_reply *reply)
{
	const struct import_batch *batch = import->flight;

	if (places_refused(reply) && import->fault.code == NULL && import_wait(import, on_open))
		return;
	if (reply->status == DB_ERROR && is_about_record(&reply->error))
	{
		import_set_fault(import, FAULT_INVALID_RECORD, reply->error.message, batch->lines[0]);
		import->passing = 0;
		import->failing = batch->count;
		search_fault(import);
		return;
	}
	import_set_fault(import, FAULT_IMPORT_FAILED,
					 reply->status == DB_ERROR
						 ? reply->error.message
						 : "the connection to Postgres was lost: the batch that begins with "
						   "this line may be stored or not",
					 batch->lines[0]);
	land(import);
}

/* ---- their answers ---------------------------------------------------------------------- */

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
