/*
 * archived.c: see archived.h.  What an archive is of matters to whoever made it, and not here.
 */
#include "bulk/archived.h"

#include <stdio.h>

#include "base/json.h"

static void set_fault(struct import_fault *fault, const char *code, const char *message)
{
	fault->code = code;
	snprintf(fault->message, sizeof(fault->message), "%s", message);
}

static void begin(struct import_archived *archived, struct slice head, struct import_fault *fault)
{
	if (archived->inside)
		set_fault(fault, FAULT_INVALID_RECORD, "an archive begins here, and the one before has not ended");
	else if (!archive_sum_begin(&archived->sum))
		set_fault(fault, FAULT_IMPORT_FAILED, "out of memory");
	else
		archive_sum_line(&archived->sum, head);
	archived->inside = fault->code == NULL;
}

static void end(struct import_archived *archived, struct slice tail, struct import_fault *fault)
{
	if (!archived->inside)
		set_fault(fault, FAULT_INVALID_RECORD, "an archive ends here that has not begun");
	else if (!archive_sum_check(&archived->sum, tail))
		set_fault(fault, FAULT_INVALID_RECORD,
				  "the archive was changed: its lines are not those that this one has the checksum of");
	archived->inside = false;
}

bool import_archived_take(struct import_archived *archived, struct slice line, struct import_fault *fault)
{
	struct json_verdict verdict;
	bool mark = archive_is_mark(line) && json_check(line, &verdict);

	if (mark && archive_is_kind(line, "archive"))
		begin(archived, line, fault);
	else if (mark && archive_is_kind(line, "archived"))
		end(archived, line, fault);
	else
	{
		if (archived->inside)
			archive_sum_line(&archived->sum, line);
		return false;
	}
	return true;
}

void import_archived_end(const struct import_archived *archived, struct import_fault *fault)
{
	if (archived->inside)
		set_fault(fault, FAULT_INVALID_RECORD, "the archive is cut: the line that ends it is missing");
}

void import_archived_free(struct import_archived *archived)
{
	archive_sum_free(&archived->sum);
}
