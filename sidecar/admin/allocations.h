/*
 * allocations: which code allocates memory, and how much.  Recorded by the build that `make PROFILE=1` makes;
 * the ordinary one has none of it.
 */
#ifndef MILLRACE_ALLOCATIONS_H
#define MILLRACE_ALLOCATIONS_H

#include <stdbool.h>

#include "base/buf.h"

enum allocations
{
	ALLOCATIONS_IN_USE, /* those that are not freed yet */
	ALLOCATIONS_ALL,	/* those since the start */
};

/* Begins to record, in a build that can: the first call of main, which may run the program anew. */
void allocations_record(char **argv);
/* Adds a profile in the text format of gperftools, every allocation counted.  False: nothing is recorded. */
bool allocations_profile(struct buf *out, enum allocations which);
/* The same in a form that a test can call: `profile` is what gperftools wrote. */
void allocations_write(struct buf *out, const char *profile, enum allocations which);

#endif
