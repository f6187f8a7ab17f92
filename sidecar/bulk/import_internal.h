/*
 * import_internal: what import.c and sending.c share; only they include it.
 */
#ifndef MILLRACE_IMPORT_INTERNAL_H
#define MILLRACE_IMPORT_INTERNAL_H

#include <event2/event_struct.h>

#include "access/token.h"
#include "bulk/archived.h"
#include "bulk/frame.h"
#include "bulk/import.h"
#include "bulk/lines.h"
#include "bulk/reply.h"
#include "db/calls_bulk.h"
#include "places/places.h"

struct import
{
	struct place_wait wait; /* for the namespace; first: we cast */
	struct places *places;
	struct db *db;
	struct import_reply reply;
	bool discarding; /* there is a fault, and the rest of the body comes */
	bool taking;	 /* the body */
	size_t may_discard;
	struct event discard_timeout;
	char namespace_name[MAX_NAMESPACE_NAME + 1];
	struct import_lines lines;
	struct import_frame frames[2];
	struct import_frame *gathering; /* one of the two */
	struct import_frame *flight;	/* the other one while it is with Postgres, else NULL */
	unsigned passing, failing;		/* while the fault is searched: the first so many pass, or fail */
	bool body_ended;				/* nothing more comes */
	bool lines_ended;				/* and the last line was taken */
	uint64_t imported;
	uint64_t started_us;
	struct import_fault fault;
	uint64_t fault_line;
	struct import_archived archived;
	void (*go_on)(struct import *import); /* something happened; it may be gone then */
};

/* ---- sending.c ----------------------------------------------------------------------- */

/* The fault of the first line counts. */
void import_set_fault(struct import *import, const char *code, const char *message, uint64_t line);
/* Sends the first `count` records of the gathering frame, at least one; the place must be free. */
void import_send(struct import *import, unsigned count);
/* Waits until the namespace is open, and calls back; false: it can't. */
bool import_wait(struct import *import, void (*done)(struct place_wait *wait, const struct error *error));
/* Where it is open now; false: it can't be reached. */
bool import_find_place(struct import *import);

#endif
