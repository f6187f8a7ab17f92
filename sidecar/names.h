/*
 * names: what a stream's name says, WIRE.md section 4.  The extension has the same rules in its own names.c.
 */
#ifndef MILLRACE_NAMES_H
#define MILLRACE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "slice.h"

/* Before the first dash, or all of it. */
struct slice name_category(struct slice stream);
/* abs(hash_64(cardinal id)), of which a consumer group takes the remainder; false: the name has no id. */
bool name_group_hash(struct slice stream, uint64_t *hash);

#endif
