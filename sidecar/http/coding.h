/*
 * coding: in which content coding a client takes a body.
 */
#ifndef MILLRACE_CODING_H
#define MILLRACE_CODING_H

#include <stdbool.h>

#include "base/slice.h"

/* Whether an Accept-Encoding header (.bytes NULL: there is none) asks for gzip: it is named, and not with a weight of zero. */
bool coding_accepts_gzip(struct slice header);

#endif
