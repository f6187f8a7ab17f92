/*
 * memcheck.h: what Postgres tells Valgrind of its memory, told to the address sanitizer.
 *
 * Stands in for Valgrind's header of this name when Postgres is built by postgres.sh with -DUSE_VALGRIND:
 * freed and never allocated parts of a memory context, and the pages of buffers that the process has not
 * pinned, can't be touched then.
 */
#ifndef MILLRACE_MEMCHECK_H
#define MILLRACE_MEMCHECK_H

#include <sanitizer/asan_interface.h>

#define VALGRIND_MAKE_MEM_DEFINED(address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#define VALGRIND_MAKE_MEM_NOACCESS(address, size) ASAN_POISON_MEMORY_REGION(address, size)
#define VALGRIND_MEMPOOL_ALLOC(pool, address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#define VALGRIND_MEMPOOL_CHANGE(pool, old, address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#define VALGRIND_MEMPOOL_FREE(pool, address) ((void)0) /* the context has wiped it: CLOBBER_FREED_MEMORY */
#define VALGRIND_CREATE_MEMPOOL(pool, redzone, zeroed) ((void)0)
#define VALGRIND_DESTROY_MEMPOOL(pool) ((void)0)
#define VALGRIND_CHECK_MEM_IS_DEFINED(address, size) ((void)0)
#define VALGRIND_GET_VBITS(address, bits, size) ((void)(bits))
#define VALGRIND_SET_VBITS(address, bits, size) ((void)(bits))

#endif
