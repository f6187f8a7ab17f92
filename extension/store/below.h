/*
 * below.h: imports that put messages below others.
 */
#ifndef MILLRACE_BELOW_H
#define MILLRACE_BELOW_H

#include "postgres.h"

extern void StoreBeginBelow(void);
extern void StoreEndBelow(void);
extern bool StoreCountBelow(uint64 *count);

#endif
