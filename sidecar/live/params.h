/*
 * subscribe_params: what a request on /subscribe asks for.
 */
#ifndef MILLRACE_SUBSCRIBE_PARAMS_H
#define MILLRACE_SUBSCRIBE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "live/feed.h"
#include "base/slice.h"

struct subscribe_params
{
	struct feed_filter filter; /* `chunked` is left alone; its name, types and correlation are in `text` */
	int64_t position;		   /* by stream, or global */
	int64_t after;			   /* Last-Event-ID, a global position; -1: none */
	bool strict;			   /* end where messages were removed that were to come, */
	int64_t seen;			   /* but for removals up to this one; -1: none */
	bool head;				   /* tell when all is caught up with */
	int64_t min_position;	   /* what is read must be as new as this global position; 0: nothing */
	struct buf text;		   /* the name comes first */
};

/* False: `problem` says in plain text what is wrong with which parameter.  Free params->text in any case. */
bool subscribe_params_read(struct subscribe_params *params, struct slice query, struct slice last_event_id,
						   char problem[200]);
/* A filter's types as an array literal, with its NUL. */
void subscribe_params_write_types(struct buf *out, const char *types);

#endif
