/*
 * import_archived: archives among the lines of an import, which must be what was written.
 */
#ifndef MILLRACE_IMPORT_ARCHIVED_H
#define MILLRACE_IMPORT_ARCHIVED_H

#include <stdbool.h>

#include "base/archive.h"
#include "base/slice.h"
#include "bulk/record.h"

/* Zero at first. */
struct import_archived
{
	struct archive_sum sum; /* of the one that the lines are in */
	bool inside;
};

/* Takes note of a line; true: it is the head or the tail of an archive.  fault->code may be set then. */
bool import_archived_take(struct import_archived *archived, struct slice line, struct import_fault *fault);
/* After the last line. */
void import_archived_end(const struct import_archived *archived, struct import_fault *fault);
void import_archived_free(struct import_archived *archived);

#endif
