/*
 * trace: the header traceparent (W3C Trace Context), by which a request belongs to a trace.
 */
#ifndef MILLRACE_TRACE_H
#define MILLRACE_TRACE_H

#include <stdbool.h>

#include "base/slice.h"

#define TRACE_PARENT_LEN 55 /* bytes: 00-<32 digits>-<16 digits>-<2 digits> */

struct trace
{
	struct slice parent; /* TRACE_PARENT_LEN bytes of the header; .bytes NULL: there is none */
	struct slice id;	 /* of the trace, in it */
};

/* Empty where the header (.bytes NULL: there is none) is malformed, which is to be ignored. */
struct trace trace_read(struct slice header);

#endif
