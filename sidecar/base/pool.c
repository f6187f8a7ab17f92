/*
 * pool: memory kept for reuse; see pool.h.
 *
 * A sanitizer must see when memory is used that was given back, so for it nothing is kept.
 */
#include "base/pool.h"

#include <stdlib.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
static const unsigned max_spares = 0;
#else
static const unsigned max_spares = 256;
#endif

struct pool_spare
{
	struct pool_spare *next;
};

void *pool_take(struct pool *pool, size_t size)
{
	struct pool_spare *spare = pool->spares;

	if (spare == NULL)
		return malloc(size);
	pool->spares = spare->next;
	pool->nspares--;
	return spare;
}

void pool_give(struct pool *pool, void *memory)
{
	struct pool_spare *spare = memory;

	if (pool->nspares >= max_spares)
	{
		free(memory);
		return;
	}
	spare->next = pool->spares;
	pool->spares = spare;
	pool->nspares++;
}

void pool_empty(struct pool *pool)
{
	while (pool->spares != NULL)
		free(pool_take(pool, 0));
}
