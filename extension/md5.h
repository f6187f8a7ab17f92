/*
 * md5.h: MD5 of a short text.
 *
 * The server's own goes through OpenSSL, which takes about ten times as long for the few bytes of a stream's id, and a consumer
 * group's read hashes one for every message.  Longer texts are the server's.
 */
#ifndef MILLRACE_MD5_H
#define MILLRACE_MD5_H

#include "postgres.h"

/* What fits one block together with its padding. */
#define MD5_SHORT_MAX 55

/* Returns the first eight bytes of the digest, big-endian.  len: at most MD5_SHORT_MAX. */
extern uint64 Md5ShortPrefix(const char *bytes, int len);

#endif
