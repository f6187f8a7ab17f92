/*
 * coding: which codings of a reply a client takes.
 */
#ifndef MILLRACE_CODING_H
#define MILLRACE_CODING_H

#include <stdbool.h>

#include "base/slice.h"

/*
 * Whether the value of Accept-Encoding (RFC 9110, 12.5.3; .bytes NULL: there is none) takes gzip: it is
 * named, or "*" is, and not with a weight of zero.  A weight that is none counts as zero.
 */
bool coding_accepts_gzip(struct slice accepted);

#endif
