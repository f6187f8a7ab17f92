/*
 * import: POST /import, NDJSON into a namespace (README.md, "Import and export").
 *
 * The body is taken as it comes: its lines gather in a frame while the frame before is with Postgres, and the
 * client is held back when both are full.  So an import of any size takes the memory of two frames and a
 * line, and all together take that of as many as may run.
 *
 * The reply begins when the body has ended, or at once with ?progress=true.
 *
 *     import.c    the states of an import
 *     sending.c   its frames go to Postgres
 *     options.c   what the request asks for
 *     lines.c     the body's lines, also of gzip
 *     archived.c  whether archives among them are whole
 *     frame.c     records on their way to Postgres, in batches
 *     record.c    one line becomes one record
 *     reply.c     the events of the reply
 *     progress.c  those that are kept until it begins
 */
#ifndef MILLRACE_IMPORT_H
#define MILLRACE_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct http_request;
struct place;
struct places;

struct import_limits
{
	size_t max_line;	  /* bytes of the longest one allowed */
	size_t max_running;	  /* imports of this worker at a time */
	size_t max_discarded; /* bytes of a body that are still read after a fault */
	struct event_base *base;
};

/* What the token of the request opens. */
struct import_target
{
	const char *namespace_name;
	bool redacted; /* messages that were redacted may be brought to it */
};

/*
 * Takes the body of a request whose token opens the namespace and that had http_stream_body, and makes its
 * reply, which is OVERLOADED when enough imports are running.
 */
void import_start(struct places *places, struct place *place, const struct import_target *target,
				  const struct import_limits *limits, struct http_request *request);

#endif
