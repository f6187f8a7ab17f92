/*
 * import: POST /import, NDJSON into a namespace (WIRE.md section 6).
 *
 * The body is taken as it comes: its lines gather in a batch while the batch before is with Postgres, and
 * the client is held back when both are full.  So an import of any size takes the memory of two batches.
 */
#ifndef MILLRACE_IMPORT_H
#define MILLRACE_IMPORT_H

#include <stddef.h>

struct db;
struct http_request;

/*
 * Takes the body of a request whose token opens the namespace and that had http_stream_body, and makes its
 * reply; `max_line` bytes is the longest line allowed.
 */
void import_start(struct db *db, const char *namespace_name, size_t max_line, struct http_request *request);

#endif
