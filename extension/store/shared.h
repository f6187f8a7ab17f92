/*
 * shared.h: what all sessions share, in memory that every server keeps in reserve.
 */
#ifndef MILLRACE_SHARED_H
#define MILLRACE_SHARED_H

#include "postgres.h"

typedef void (*SharedInit)(void *memory);

extern void *StoreShared(const char *name, Size size, SharedInit init);

#endif
