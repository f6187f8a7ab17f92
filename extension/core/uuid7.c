/*
 * uuid7.c: ids for messages that come without one: UUIDs of version 7 (RFC 9562), which rise with the time.
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "utils/uuid.h"

#include "core/append.h"

/* Bytes drawn at once: a draw costs microseconds, whatever its size. */
#define POOL_SIZE 512
#define RANDOM_LEN 8

static void
TakeRandom(unsigned char *to)
{
	static unsigned char pool[POOL_SIZE];
	static int taken = POOL_SIZE;
	static int owner; /* a child process would have the same bytes */

	if (taken == POOL_SIZE || owner != MyProcPid)
	{
		if (!pg_strong_random(pool, POOL_SIZE))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
		taken = 0;
		owner = MyProcPid;
	}
	memcpy(to, pool + taken, RANDOM_LEN);
	taken += RANDOM_LEN;
}

/* Milliseconds, then 12 bits of the millisecond's fraction (RFC 9562, 6.2, method 3), then random bits. */
void
GenerateUuidV7(pg_uuid_t *id)
{
	struct timespec now;
	uint64 milliseconds;
	uint32 fraction;

	clock_gettime(CLOCK_REALTIME, &now);
	milliseconds = (uint64)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	fraction = (uint32)((now.tv_nsec % 1000000) * UINT64CONST(4096) / 1000000);
	for (int i = 0; i < 6; i++)
		id->data[i] = (unsigned char)(milliseconds >> (40 - 8 * i));
	id->data[6] = 0x70 | (fraction >> 8);
	id->data[7] = fraction & 0xFF;
	TakeRandom(id->data + 8);
	id->data[8] = (id->data[8] & 0x3F) | 0x80;
}
