/*
 * md5.h: MD5 of a name, for consumer groups.
 *
 * The server's own goes through OpenSSL, which takes about ten times as long for the few bytes of a stream's
 * id, and a consumer group's read hashes one for every message; and where OpenSSL is told to be strict (FIPS)
 * it refuses.  Here the hash keeps nothing secret.
 */
#ifndef MILLRACE_MD5_H
#define MILLRACE_MD5_H

#include "postgres.h"

#define MD5_BLOCK 64

/* Returns the first eight bytes of the digest, big-endian. */
extern uint64 Md5Prefix(const char *bytes, size_t len);

#endif
