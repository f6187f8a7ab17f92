/*
 * embedded_identity: what makes a cluster this cluster and no other.
 *
 * Its identifier, eight bytes, is in the control file (global/pg_control) and in the head of each file of the
 * write-ahead log.  The control file also keeps a nonce for failed logins.  Every server version begins the control file with the
 * identifier, and ends what it keeps there with the nonce (32 bytes) and a CRC-32C of all before it.  What lies between differs,
 * so the CRC is searched: it is where the checksum of the bytes before it stands.  In the log the identifier is searched, too.
 */
#ifndef MILLRACE_EMBEDDED_IDENTITY_H
#define MILLRACE_EMBEDDED_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

/* Points into bytes of a control file and of the one file of a write-ahead log. */
struct identity
{
	unsigned char *control;
	size_t crc_at;
	unsigned char *log; /* where the log bears the identifier */
};

/* False: these are not as described above. */
bool identity_find(struct identity *identity, unsigned char *control, size_t control_len, unsigned char *log,
				   size_t log_len);
/* Whether `report`, the output of pg_controldata, names the identifier and the nonce that we found. */
bool identity_agrees(const struct identity *identity, const char *report);
/* Makes it one that no other cluster has; false: the kernel has no random bytes. */
bool identity_renew(const struct identity *identity);

#endif
