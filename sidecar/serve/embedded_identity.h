/*
 * embedded_identity: what makes a cluster this cluster and no other.
 *
 * Its identifier, eight bytes, is in the control file (global/pg_control) and in the head of each file of the
 * write-ahead log.  The control file also keeps a nonce for failed logins, and a CRC-32C of all before it.
 * Every server version begins it with the identifier; the rest differs, and is searched: the CRC is where the
 * checksum of the bytes before it stands, the nonce where the bytes are that pg_controldata prints, and in
 * the log the identifier itself is looked for.
 */
#ifndef MILLRACE_EMBEDDED_IDENTITY_H
#define MILLRACE_EMBEDDED_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

/* Points into bytes of a control file and of the one file of a write-ahead log. */
struct identity
{
	unsigned char *control, *nonce;
	size_t crc_at;
	unsigned char *log; /* where the log bears the identifier */
};

/* Where in a control file the nonce is that is in `report`, the output of pg_controldata; 0: nowhere. */
size_t identity_find_nonce(const unsigned char *control, size_t len, const char *report);
/* False: these are not as described above. */
bool identity_find(struct identity *identity, unsigned char *control, size_t control_len, size_t nonce_at,
				   unsigned char *log, size_t log_len);
/* Whether `report` names the identifier that we found. */
bool identity_agrees(const struct identity *identity, const char *report);
/* Makes it one that no other cluster has; false: the kernel has no random bytes. */
bool identity_renew(const struct identity *identity);

#endif
