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

#endif
