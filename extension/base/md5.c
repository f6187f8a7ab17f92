/*
 * md5.c: MD5 (RFC 1321).
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"

#include "base/md5.h"

/* RFC 1321, 3.4: floor(2^32 * abs(sin(i + 1))). */
static const uint32 sines[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
	0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
	0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
	0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
	0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
	0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
	0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
	0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

static const int shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static inline uint32
Little(uint32 value)
{
#ifdef WORDS_BIGENDIAN
	return pg_bswap32(value);
#else
	return value;
#endif
}

/* The round's function of b, c and d, and which word of the block it takes. */
static inline uint32
Mix(int step, uint32 b, uint32 c, uint32 d, int *word)
{
	switch (step / 16)
	{
		case 0:
			*word = step;
			return (b & c) | (~b & d);
		case 1:
			*word = (5 * step + 1) % 16;
			return (d & b) | (~d & c);
		case 2:
			*word = (3 * step + 5) % 16;
			return b ^ c ^ d;
		default:
			*word = (7 * step) % 16;
			return c ^ (b | ~d);
	}
}

typedef struct State
{
	uint32 a, b, c, d;
} State;

/* RFC 1321, 3.4. */
static void
TakeBlock(State *state, const char *bytes)
{
	uint32 block[16];
	uint32 a = state->a;
	uint32 b = state->b;
	uint32 c = state->c;
	uint32 d = state->d;

	memcpy(block, bytes, MD5_BLOCK);
#pragma GCC unroll 64
	for (int step = 0; step < 64; step++)
	{
		int word;
		uint32 mixed = a + Mix(step, b, c, d, &word) + sines[step];

		mixed = pg_rotate_left32(mixed + Little(block[word]), shifts[step / 16][step % 4]);
		a = d;
		d = c;
		c = b;
		b += mixed;
	}
	state->a += a;
	state->b += b;
	state->c += c;
	state->d += d;
}

uint64
Md5Prefix(const char *bytes, size_t len)
{
	State state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
	char last[2 * MD5_BLOCK] = {0};
	size_t rest = len % MD5_BLOCK;
	size_t padded = rest < MD5_BLOCK - sizeof(uint64) ? MD5_BLOCK : 2 * MD5_BLOCK;
	uint32 bits[2] = {Little((uint32)(len << 3)), Little((uint32)(len >> 29))};

	for (size_t at = 0; at + MD5_BLOCK <= len; at += MD5_BLOCK)
		TakeBlock(&state, bytes + at);
	memcpy(last, bytes + len - rest, rest);
	last[rest] = (char)0x80;
	memcpy(last + padded - sizeof(bits), bits, sizeof(bits));
	for (size_t at = 0; at < padded; at += MD5_BLOCK)
		TakeBlock(&state, last + at);
	/* The digest is a, b, c, d, each little-endian: its first eight bytes are a and b. */
	return (uint64)pg_bswap32(state.a) << 32 | pg_bswap32(state.b);
}
