/*
 * spelling: whether a name that is not known was meant to be one that is.
 */
#ifndef MILLRACE_SPELLING_H
#define MILLRACE_SPELLING_H

#include <stdbool.h>

#include "base/slice.h"

/*
 * True when the two differ by nothing but case, `_` and `-`, and at most one more edit: a byte too many, too
 * few or another one, or two neighbours that changed places.
 */
bool spelling_is_near(struct slice given, const char *known);

/*
 * The first of the known names, which end with NULL, that the given one is near to.  NULL: it is near to
 * none, or is one of them.
 */
const char *spelling_nearest(struct slice given, const char *const known[]);

#endif
