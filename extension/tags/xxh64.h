/*
 * xxh64.h: the hash XXH64.
 */
#ifndef MILLRACE_XXH64_H
#define MILLRACE_XXH64_H

#include "postgres.h"

extern uint64 Xxh64(const char *bytes, Size len, uint64 seed);

#endif
