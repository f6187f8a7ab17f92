/*
 * uuid: message ids.  New ones are version 7 (RFC 9562): they sort by time, which keeps the index on
 * them warm.  One generator a worker; its ids rise strictly.
 */
#ifndef MILLRACE_UUID_H
#define MILLRACE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define UUID_TEXT_LEN 36

struct uuid
{
	uint8_t bytes[16];
};

/* All zero at first; belongs to one thread. */
struct uuid_generator
{
	uint64_t milliseconds; /* of the last id */
	uint16_t sequence;	   /* 12 bits, within one millisecond */
	uint8_t random[1024];  /* drawn in bulk, a system call for 128 ids */
	unsigned random_left;
};

struct uuid uuid_new(struct uuid_generator *generator);
/* Any version, 8-4-4-4-12 hex digits of either case. */
bool uuid_parse(struct slice text, struct uuid *uuid);
/* Lowercase, with a NUL. */
void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_LEN + 1]);

#endif
