/*
 * uuid: message ids.  New ones are version 7 (RFC 9562): they sort by time, which keeps the index on
 * them warm.  One generator a worker; its ids rise strictly.  Those of names are version 5.
 */
#ifndef MILLRACE_UUID_H
#define MILLRACE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define UUID_TEXT_LEN 36
#define UUID_MAX_NAME 512

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
/*
 * The id so many behind one that was made by uuid_new, for what belongs together; 0: that one.  They rise
 * strictly, too.
 */
struct uuid uuid_behind(const struct uuid *first, unsigned number);
/*
 * Version 5, of a name of at most UUID_MAX_NAME bytes within `space`.  False: it is longer, or libcrypto
 * computes no SHA-1.
 */
bool uuid_of_name(const struct uuid *space, struct slice name, struct uuid *uuid);
/* Any version, 8-4-4-4-12 hex digits of either case. */
bool uuid_parse(struct slice text, struct uuid *uuid);
/* Lowercase, with a NUL. */
void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_LEN + 1]);

#endif
