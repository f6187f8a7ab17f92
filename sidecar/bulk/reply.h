/*
 * import_reply: the reply of an import: events of its progress, and a last one.
 *
 * It begins when import_reply_begin is called, or with the last event; what there is to tell until then is
 * kept.
 */
#ifndef MILLRACE_IMPORT_REPLY_H
#define MILLRACE_IMPORT_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/errors.h"
#include "bulk/progress.h"
#include "bulk/record.h"

struct http_request;

/* All but the request zero at first. */
struct import_reply
{
	struct http_request *request;
	bool begun;
	struct import_progress progress; /* before that */
};

/* Refuses an import that did not begin. */
void import_reply_refuse(struct http_request *request, enum error_code code, int status, const char *message);
/* Sends the head and what was kept, once. */
void import_reply_begin(struct import_reply *reply);
/* So many records are stored, the last one at that global position. */
void import_reply_progress(struct import_reply *reply, uint64_t imported, int64_t last_global_position);
/* The last event: one of these two.  The caller ends the reply. */
void import_reply_fault(struct import_reply *reply, const struct import_fault *fault, uint64_t line);
void import_reply_done(struct import_reply *reply, uint64_t imported, uint64_t elapsed_us);
/* Frees what was kept; as often as one likes. */
void import_reply_free(struct import_reply *reply);

#endif
