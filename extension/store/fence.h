/*
 * fence.h: whether a namespace is written to and read here, or has moved to another server.
 */
#ifndef MILLRACE_FENCE_H
#define MILLRACE_FENCE_H

#include "postgres.h"

#include "utils/rel.h"

/* What the registry says of a namespace; in the current memory context. */
typedef struct NamespaceState
{
	bool open;
	int64 epoch;	/* 0: it is being copied here */
	char *moved_to; /* a cluster; NULL: it has not moved */
} NamespaceState;

extern bool FenceIsUp(Relation table);
extern bool FenceHasOthers(Relation table, bool (*matches)(const Trigger *trigger));
extern void FenceCheck(Relation table, bool write);

/* store/registry.c */
extern bool StoreReadState(const char *name, NamespaceState *state);

#endif
