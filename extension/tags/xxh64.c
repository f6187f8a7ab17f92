/*
 * xxh64.c: the hash XXH64 by Yann Collet, written from its specification (xxHash fast digest algorithm,
 * version 0.1.1).
 *
 * Indexes on disk are made of it, so it must stay what it is; sql/tags.sql has vectors.
 */
#include "postgres.h"

#include "port/pg_bswap.h"

#include "tags/xxh64.h"

#define PRIME_1 UINT64CONST(0x9E3779B185EBCA87)
#define PRIME_2 UINT64CONST(0xC2B2AE3D27D4EB4F)
#define PRIME_3 UINT64CONST(0x165667B19E3779F9)
#define PRIME_4 UINT64CONST(0x85EBCA77C2B2AE63)
#define PRIME_5 UINT64CONST(0x27D4EB2F165667C5)

#define STRIPE 32 /* bytes: a lane of 8 for each of four accumulators */

static uint64
RotateLeft(uint64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

/* Numbers are little-endian. */
static uint64
Read64(const char *bytes)
{
	uint64 value;

	memcpy(&value, bytes, sizeof(value));
#ifdef WORDS_BIGENDIAN
	value = pg_bswap64(value);
#endif
	return value;
}

static uint32
Read32(const char *bytes)
{
	uint32 value;

	memcpy(&value, bytes, sizeof(value));
#ifdef WORDS_BIGENDIAN
	value = pg_bswap32(value);
#endif
	return value;
}

static uint64
Round(uint64 accumulator, uint64 lane)
{
	return RotateLeft(accumulator + lane * PRIME_2, 31) * PRIME_1;
}

static uint64
Merge(uint64 hash, uint64 accumulator)
{
	return (hash ^ Round(0, accumulator)) * PRIME_1 + PRIME_4;
}

/* Consumes whole stripes. */
static uint64
HashStripes(const char *bytes, Size nstripes, uint64 seed)
{
	uint64 a = seed + PRIME_1 + PRIME_2, b = seed + PRIME_2, c = seed, d = seed - PRIME_1;
	uint64 hash;

	for (; nstripes > 0; nstripes--, bytes += STRIPE)
	{
		a = Round(a, Read64(bytes));
		b = Round(b, Read64(bytes + 8));
		c = Round(c, Read64(bytes + 16));
		d = Round(d, Read64(bytes + 24));
	}
	hash = RotateLeft(a, 1) + RotateLeft(b, 7) + RotateLeft(c, 12) + RotateLeft(d, 18);
	return Merge(Merge(Merge(Merge(hash, a), b), c), d);
}

static uint64
Avalanche(uint64 hash)
{
	hash = (hash ^ hash >> 33) * PRIME_2;
	hash = (hash ^ hash >> 29) * PRIME_3;
	return hash ^ hash >> 32;
}

uint64
Xxh64(const char *bytes, Size len, uint64 seed)
{
	const char *end = bytes + len;
	uint64 hash = len < STRIPE ? seed + PRIME_5 : HashStripes(bytes, len / STRIPE, seed);

	bytes += len - len % STRIPE;
	hash += len;
	for (; end - bytes >= 8; bytes += 8)
		hash = RotateLeft(hash ^ Round(0, Read64(bytes)), 27) * PRIME_1 + PRIME_4;
	for (; end - bytes >= 4; bytes += 4)
		hash = RotateLeft(hash ^ Read32(bytes) * PRIME_1, 23) * PRIME_2 + PRIME_3;
	for (; bytes < end; bytes++)
		hash = RotateLeft(hash ^ (unsigned char)*bytes * PRIME_5, 11) * PRIME_1;
	return Avalanche(hash);
}
