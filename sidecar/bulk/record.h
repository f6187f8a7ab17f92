/*
 * import_record: one line of an import as a record of the frame that goes to Postgres (see frame.h).
 *
 * The line is scanned, not parsed into anything: data and metadata go into the frame as the bytes they came
 * in.
 */
#ifndef MILLRACE_IMPORT_RECORD_H
#define MILLRACE_IMPORT_RECORD_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* Why an import ends early (README.md, "POST /import"). */
#define FAULT_INVALID_JSON "INVALID_JSON"
#define FAULT_INVALID_RECORD "INVALID_RECORD"
#define FAULT_POSITION_EXISTS "POSITION_EXISTS"
#define FAULT_IMPORT_FAILED "IMPORT_FAILED"

struct import_fault
{
	const char *code; /* one of these; NULL: there is no fault */
	char message[300];
};

/*
 * Appends the record; false: what is wrong with the line is in *fault, and the frame is as it was.  Only with
 * `redacted` is a message taken that says that it was redacted.
 */
bool import_record_encode(struct slice line, bool redacted, struct buf *frame, struct import_fault *fault);

#endif
