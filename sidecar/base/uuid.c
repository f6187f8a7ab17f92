/*
 * uuid.c: UUIDs, RFC 9562.  Version 7 with a 12-bit counter in rand_a (its method 1): the counter
 * starts at a random value below 2048 in each millisecond; when it runs over, the clock is pushed on by
 * one millisecond, so ids of one generator always rise.
 */
#include "base/uuid.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "extension/hex.h"

static void fill_random(struct uuid_generator *generator)
{
	/* Up to 256 bytes come whole and uninterrupted (getrandom(2)); more may be cut by a signal. */
	size_t done = 0;

	while (done < sizeof(generator->random))
	{
		ssize_t n = getrandom(generator->random + done, sizeof(generator->random) - done, 0);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && done == 0)
			abort(); /* a system without a random source must not hand out ids */
	}
	generator->random_left = sizeof(generator->random);
}

static void take_random(struct uuid_generator *generator, uint8_t *out, unsigned len)
{
	if (generator->random_left < len)
		fill_random(generator);
	generator->random_left -= len;
	memcpy(out, generator->random + generator->random_left, len);
}

static uint64_t now_milliseconds(void)
{
	struct timespec now = clock_calendar();

	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct uuid uuid_new(struct uuid_generator *generator)
{
	uint64_t now = now_milliseconds();
	struct uuid uuid;

	if (now > generator->milliseconds)
	{
		uint8_t start[2];

		take_random(generator, start, 2);
		generator->milliseconds = now;
		generator->sequence = (uint16_t)((start[0] << 8 | start[1]) & 0x7FF);
	}
	else if (++generator->sequence > 0xFFF)
	{
		generator->milliseconds++;
		generator->sequence = 0;
	}
	for (int i = 0; i < 6; i++)
		uuid.bytes[i] = (uint8_t)(generator->milliseconds >> (40 - 8 * i));
	uuid.bytes[6] = (uint8_t)(0x70 | generator->sequence >> 8);
	uuid.bytes[7] = (uint8_t)generator->sequence;
	take_random(generator, uuid.bytes + 8, 8);
	uuid.bytes[8] = (uint8_t)(0x80 | (uuid.bytes[8] & 0x3F));
	uuid.bytes[12] &= 0x7F; /* room for uuid_behind */
	return uuid;
}

struct uuid uuid_behind(const struct uuid *first, unsigned number)
{
	struct uuid uuid = *first;
	uint64_t carry = number;

	/* The last 32 random bits, of which uuid_new leaves the first one for this. */
	for (int i = 15; i >= 12; i--)
	{
		carry += uuid.bytes[i];
		uuid.bytes[i] = (uint8_t)carry;
		carry >>= 8;
	}
	return uuid;
}

bool uuid_of_name(const struct uuid *space, struct slice name, struct uuid *uuid)
{
	unsigned char text[sizeof(space->bytes) + UUID_MAX_NAME];
	unsigned char digest[SHA_DIGEST_LENGTH];

	if (name.len > UUID_MAX_NAME)
		return false;
	memcpy(text, space->bytes, sizeof(space->bytes));
	memcpy(text + sizeof(space->bytes), name.bytes, name.len);
	if (SHA1(text, sizeof(space->bytes) + name.len, digest) == NULL)
		return false;
	memcpy(uuid->bytes, digest, sizeof(uuid->bytes));
	uuid->bytes[6] = (uint8_t)(0x50 | (uuid->bytes[6] & 0x0F));
	uuid->bytes[8] = (uint8_t)(0x80 | (uuid->bytes[8] & 0x3F));
	return true;
}

static bool is_dash_place(unsigned i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

bool uuid_parse(struct slice text, struct uuid *uuid)
{
	unsigned digits = 0;

	if (text.len != UUID_TEXT_LEN)
		return false;
	memset(uuid, 0, sizeof(*uuid));
	for (unsigned i = 0; i < UUID_TEXT_LEN; i++)
	{
		int value;

		if (is_dash_place(i))
		{
			if (text.bytes[i] != '-')
				return false;
			continue;
		}
		value = hex_value(text.bytes[i]);
		if (value < 0)
			return false;
		uuid->bytes[digits / 2] = (uint8_t)(uuid->bytes[digits / 2] << 4 | value);
		digits++;
	}
	return true;
}

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_LEN + 1])
{
	unsigned digits = 0;

	for (unsigned i = 0; i < UUID_TEXT_LEN; i++)
	{
		if (is_dash_place(i))
			text[i] = '-';
		else
		{
			uint8_t byte = uuid->bytes[digits / 2];

			text[i] = HEX_DIGITS[digits % 2 == 0 ? byte >> 4 : byte & 0xF];
			digits++;
		}
	}
	text[UUID_TEXT_LEN] = '\0';
}
