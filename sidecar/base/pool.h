/*
 * pool: blocks of memory of one size, kept to be used again.  For one thread.
 */
#ifndef MILLRACE_POOL_H
#define MILLRACE_POOL_H

#include <stddef.h>

struct pool_spare;

/* All zero at first. */
struct pool
{
	struct pool_spare *spares;
	unsigned nspares;
};

/* As malloc; the size is always the same, and at least that of a pointer. */
void *pool_take(struct pool *pool, size_t size);
void pool_give(struct pool *pool, void *memory);
void pool_empty(struct pool *pool); /* frees the spares; what is taken stays its taker's */

#endif
